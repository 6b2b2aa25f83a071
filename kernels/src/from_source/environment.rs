//! The environment variables that a build inherits from this process.
//!
//! make turns every environment variable into a make variable, and compilers read some too, so a
//! build gets only the variables listed here.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Variables that do not affect the result: where programs are (the key contains their versions),
/// and where they may write.
const NEUTRAL: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// Variables that tell compilers where headers and libraries are, and programs where other programs
/// are. A machine may need them, so they are passed on, and are part of the key.
const COVERED: [&str; 5] =
    ["CPATH", "C_INCLUDE_PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "PKG_CONFIG_PATH"];

/// Who built the kernel, where and when: fixed, so that builds are reproducible.
const FIXED: [(&str, &str); 5] = [
    ("LC_ALL", "C"),
    ("KBUILD_BUILD_USER", "builder"),
    ("KBUILD_BUILD_HOST", "kernlab"),
    ("KBUILD_BUILD_VERSION", "1"),
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
];

/// A search path for libraries without the directories that cargo and rustup add for what they run: nothing of
/// a kernel's build is there, and each checkout has others. `toolchain` is the end of rustup's.
fn without_cargo_s(path: &OsStr, toolchain: Option<&Path>) -> Option<OsString> {
    let is_profile = |dir: &Path| dir.join(".fingerprint").is_dir();
    let is_own = |dir: &PathBuf| {
        dir.ancestors().any(is_profile)
            || toolchain.is_some_and(|toolchain| dir.ends_with(toolchain))
            || dir.iter().any(|part| part == "rustlib")
    };
    let left = env::split_paths(path).filter(|dir| !is_own(dir));
    env::join_paths(left).ok().filter(|left| !left.is_empty())
}

/// The environment of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Environment(Vec<(String, OsString)>);

impl Environment {
    /// The part of this process's environment that builds inherit.
    pub(super) fn of_this_process() -> Self {
        Environment::of(env::vars_os())
    }

    fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let variables: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        let is_of_cargo = variables.iter().any(|(name, _)| name == "CARGO");
        let toolchain = variables.iter().find(|(name, _)| name == "RUSTUP_TOOLCHAIN");
        let toolchain = toolchain.map(|(_, name)| Path::new(name).join("lib"));
        let passed = variables.into_iter().filter_map(|(name, value)| {
            if !NEUTRAL.contains(&&*name) && !COVERED.contains(&&*name) {
                return None;
            }
            match is_of_cargo && name == "LD_LIBRARY_PATH" {
                true => Some((name, without_cargo_s(&value, toolchain.as_deref())?)),
                false => Some((name, value)),
            }
        });
        let mut passed: Vec<_> = passed.collect();
        passed.sort();
        Environment(passed)
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        let variable = self.0.iter().find(|(other, _)| other == name);
        variable.map(|(_, value)| value.as_os_str())
    }

    /// A copy with one more variable.
    pub(super) fn with(&self, name: &str, value: impl Into<OsString>) -> Self {
        let mut variables = self.0.clone();
        variables.retain(|(other, _)| other != name);
        variables.push((name.to_owned(), value.into()));
        Environment(variables)
    }

    /// One line for each variable that may affect the result.
    pub(super) fn identity(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.0.iter().filter(|(name, _)| COVERED.contains(&&**name)) {
            let _ = writeln!(text, "{name}={}", value.display());
        }
        text
    }

    /// Makes this the only environment of a command.
    pub(super) fn apply(&self, command: &mut Command) {
        command.env_clear().envs(self.0.iter().map(|(name, value)| (name, value))).envs(FIXED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn what_may_decide_the_result_is_covered_or_cleared() {
        let machine = environment(&[
            ("PATH", "/bin"),
            ("KCFLAGS", "-O0"),
            ("V", "1"),
            ("CPATH", "/opt/elfutils/include"),
            ("COMPILER_PATH", "/opt/as"),
        ]);
        assert_eq!(machine.identity(), "CPATH=/opt/elfutils/include\n");
        let mut command = Command::new("true");
        command.env("MAKEFLAGS", "-k");
        machine.with("COMPILER_PATH", "/ours").apply(&mut command);
        let set: Vec<_> = command.get_envs().map(|(name, _)| name.to_str().unwrap()).collect();
        let ours = FIXED.map(|(name, _)| name);
        let mut expected = [&["COMPILER_PATH", "CPATH", "PATH"][..], &ours].concat();
        expected.sort();
        assert_eq!(set, expected);
    }

    #[test]
    fn the_libraries_of_what_cargo_runs_make_no_other_kernel() {
        let target = tempfile::tempdir().unwrap();
        let debug = target.path().join("debug");
        std::fs::create_dir_all(debug.join(".fingerprint")).unwrap();
        let debug = debug.display();
        let cargo_s = format!(
            "{debug}/build/zstd-1/out:{debug}/deps:{debug}:/r/lib/rustlib/x/lib:/r/toolchains/1/lib"
        );
        let identity = |path: &str, more: &[(&str, &str)]| {
            environment(&[&[("LD_LIBRARY_PATH", path)], more].concat()).identity()
        };
        let by_cargo = [("CARGO", "/bin/cargo"), ("RUSTUP_TOOLCHAIN", "1")];
        assert_eq!(identity(&cargo_s, &by_cargo), "");
        let with_own = format!("{cargo_s}:/opt/lib");
        assert_eq!(identity(&with_own, &by_cargo), identity("/opt/lib", &[]));
        assert_eq!(identity(&with_own, &[]), format!("LD_LIBRARY_PATH={with_own}\n"));
    }

    #[test]
    fn only_what_may_decide_the_result_makes_another_kernel() {
        let [one, other] = ["/bin", "/opt/bin"].map(|path| environment(&[("PATH", path)]));
        assert_eq!(one.identity(), other.identity());
        assert_ne!(one.identity(), environment(&[("LIBRARY_PATH", "/lib")]).identity());
    }
}
