//! A kernel's configuration: `.config`, `/boot/config-RELEASE`, `/proc/config.gz`.

use std::{collections::BTreeMap, fmt};

use crate::catalog::matrix::Release;

/// What an option is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `=y`: built in.
    BuiltIn,
    /// `=m`: a module.
    Module,
    /// `# ... is not set`.
    NotSet,
    /// A number or a string, as it is written.
    Other(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Value::BuiltIn => "y",
            Value::Module => "m",
            Value::NotSet => "n",
            Value::Other(text) => text,
        })
    }
}

/// A kernel's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The release in the first line, if there is one.
    pub(crate) release: Option<Release>,
    options: BTreeMap<String, Value>,
}

/// Text that is not a kernel configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A line is neither a comment nor an assignment.
    #[error("line {line} is neither a comment nor `CONFIG_X=...`: {text:?}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The beginning of the line.
        text: String,
    },
    /// There is no option.
    #[error("it has no options: expected lines such as CONFIG_BPF=y")]
    Empty,
}

impl Config {
    /// Parses the format that Kconfig writes. Among several assignments of an option, the last one
    /// wins.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Config::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                config.release = config.release.take().or_else(|| head_line(comment));
            } else if !line.is_empty() && assignment(line).is_none() {
                let text = line.chars().take(60).collect();
                return Err(ConfigError::Line { line: index + 1, text });
            }
            if let Some((option, value)) = assignment(line) {
                config.options.insert(option.to_owned(), value);
            }
        }
        if config.options.is_empty() {
            return Err(ConfigError::Empty);
        }
        Ok(config)
    }

    /// The value of an option such as `CONFIG_BPF`; `None` if it is not mentioned.
    pub fn get(&self, option: &str) -> Option<&Value> {
        self.options.get(option)
    }

    /// Whether it is only a part of a configuration: Kconfig writes the architecture and the release
    /// into a whole one.
    pub fn is_fragment(&self) -> bool {
        self.release.is_none() && self.architecture().is_none()
    }

    /// The architecture that it is for, as Kconfig names it; `None` if it doesn't say.
    pub fn architecture(&self) -> Option<&'static str> {
        const ARCHITECTURES: [&str; 12] = [
            "X86_64",
            "X86_32",
            "ARM64",
            "ARM",
            "RISCV",
            "PPC64",
            "PPC32",
            "S390",
            "LOONGARCH",
            "MIPS",
            "SPARC",
            "UML",
        ];
        let is_set = |name: &&str| self.has(&format!("CONFIG_{name}"), &Value::BuiltIn);
        ARCHITECTURES.into_iter().find(is_set)
    }

    /// Every option that is mentioned.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.options.iter().map(|(option, value)| (option.as_str(), value))
    }

    /// Whether the option has this value. An option that is not mentioned counts as not set.
    pub(crate) fn has(&self, option: &str, value: &Value) -> bool {
        self.get(option).unwrap_or(&Value::NotSet) == value
    }
}

/// `CONFIG_X=y` or `# CONFIG_X is not set`.
pub(super) fn assignment(line: &str) -> Option<(&str, Value)> {
    let named = |option: &str| {
        let name = option.strip_prefix("CONFIG_")?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(is_name)).then_some(())
    };
    if let Some(comment) = line.strip_prefix("# ") {
        let option = comment.strip_suffix(" is not set")?;
        return named(option).map(|()| (option, Value::NotSet));
    }
    let (option, value) = line.split_once('=')?;
    named(option)?;
    let value = match value {
        "y" => Value::BuiltIn,
        "m" => Value::Module,
        "n" => Value::NotSet,
        other => Value::Other(other.to_owned()),
    };
    Some((option, value))
}

/// `# Linux/x86 5.10.262 Kernel Configuration`, scripts/kconfig/confdata.c.
fn head_line(comment: &str) -> Option<Release> {
    let line = comment.trim().strip_suffix(" Kernel Configuration")?;
    Release::of_uname(line.split_whitespace().nth(1)?)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TEXT: &str = "\
#
# Automatically generated file; DO NOT EDIT.
# Linux/x86 5.10.262 Kernel Configuration
#
CONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) = 12\"
CONFIG_BPF=y
CONFIG_UNIX=m
# CONFIG_PCI is not set
CONFIG_NR_CPUS=8
CONFIG_TWICE=y
CONFIG_TWICE=n

# end of General setup
";

    #[test]
    fn every_form_of_an_option_is_read() {
        let config = Config::parse(TEXT).unwrap();
        assert_eq!(config.release, Some("5.10".parse().unwrap()));
        for (option, expected) in [
            ("CONFIG_BPF", Some("y")),
            ("CONFIG_UNIX", Some("m")),
            ("CONFIG_PCI", Some("n")),
            ("CONFIG_NR_CPUS", Some("8")),
            ("CONFIG_TWICE", Some("n")),
            ("CONFIG_ABSENT", None),
        ] {
            let found = config.get(option).map(ToString::to_string);
            assert_eq!(found.as_deref(), expected, "{option}");
        }
        assert!(config.has("CONFIG_ABSENT", &Value::NotSet));
        assert_eq!(config.iter().count(), 6);
    }

    #[rstest]
    #[case("", ConfigError::Empty)]
    #[case("# Linux/x86 5.10 Kernel Configuration\n", ConfigError::Empty)]
    #[case("CONFIG_BPF=y\n<html>\n", ConfigError::Line { line: 2, text: "<html>".to_owned() })]
    #[case("PATH=/bin\n", ConfigError::Line { line: 1, text: "PATH=/bin".to_owned() })]
    #[case("CONFIG_=y\n", ConfigError::Line { line: 1, text: "CONFIG_=y".to_owned() })]
    fn other_text_is_refused(#[case] text: &str, #[case] expected: ConfigError) {
        assert_eq!(Config::parse(text), Err(expected));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|CONFIG_|is not set|# |=|\n){0,60}") {
            drop(Config::parse(&text));
        }
    }
}
