//! The programs that an entry names for its build.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

/// Programs that build a kernel. Each is a path or the name of a program on the `PATH`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The prefix of the compiler's and the binutils' names, as in Kbuild's `CROSS_COMPILE`:
    /// `x86_64-linux-gnu-`, `/opt/gcc-10/bin/`.
    #[serde(default, deserialize_with = "plain")]
    pub prefix: Option<PathBuf>,
    /// The compiler.
    #[serde(default, deserialize_with = "plain")]
    pub cc: Option<PathBuf>,
    /// The compiler for programs that run during the build; `cc` by default.
    #[serde(default, deserialize_with = "plain")]
    pub hostcc: Option<PathBuf>,
    /// The linker.
    #[serde(default, deserialize_with = "plain")]
    pub ld: Option<PathBuf>,
    /// The assembler, which the compiler runs.
    #[serde(rename = "as", default, deserialize_with = "plain")]
    pub assembler: Option<PathBuf>,
    /// The program that generates BTF.
    #[serde(default, deserialize_with = "plain")]
    pub pahole: Option<PathBuf>,
}

impl Toolchain {
    /// Makes relative paths start from a directory. A name without a slash is not a path.
    pub(crate) fn below(self, dir: &Path) -> Self {
        let join = |program: Option<PathBuf>| {
            program.map(|program| match program.as_os_str().as_encoded_bytes().contains(&b'/') {
                true => dir.join(program),
                false => program,
            })
        };
        Toolchain {
            prefix: join(self.prefix),
            cc: join(self.cc),
            hostcc: join(self.hostcc),
            ld: join(self.ld),
            assembler: join(self.assembler),
            pahole: join(self.pahole),
        }
    }
}

/// A program name that make and its shells read as one word.
fn plain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let program = String::deserialize(deserializer)?;
    let is_special = |c: char| c.is_whitespace() || "$;&|<>()'\"`\\#*?[]~=".contains(c);
    match program.chars().find(|&c| is_special(c)) {
        Some(special) => Err(de::Error::custom(format!(
            "{program:?} is not the name or the path of one program: make and the shell treat \
             {special:?} specially"
        ))),
        None => Ok(Some(program.into())),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_name("cc = \"gcc-10\"", None)]
    #[case::a_path("as = \"/opt/binutils-2.35/bin/as\"", None)]
    #[case::a_prefix("prefix = \"x86_64-linux-gnu-\"", None)]
    #[case::two_commands("cc = \"gcc; echo\"", Some("';'"))]
    #[case::a_blank("ld = \"/opt/my tools/ld\"", Some("' '"))]
    #[case::a_variable("pahole = \"/opt/$p/pahole\"", Some("'$'"))]
    fn a_program_is_one_word_of_make_and_the_shell(
        #[case] text: &str,
        #[case] special: Option<&str>,
    ) {
        let error = toml::from_str::<Toolchain>(text).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), special.is_some(), "{error:?}");
        assert!(special.is_none_or(|it| error.as_ref().unwrap().contains(it)), "{error:?}");
    }
}
