//! The lab's list of options, `kernels/kconfig/lab.config`: which options a kernel needs, what
//! needs them, and why.

use std::{fmt, sync::LazyLock};

use globset::{Glob, GlobMatcher};
use kernlab_core::{arch::Arch, scenario::Scenario};

use super::config::{Config, Value, assignment};
use crate::catalog::matrix::Release;

/// The list, in the kernel's own format.
const LAB: &str = include_str!("../../kconfig/lab.config");

/// One option of the list.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// The full name: `CONFIG_BPF_SYSCALL`.
    pub option: String,
    /// The required value: built in, or not set.
    pub value: Value,
    /// What needs it.
    pub scope: Scope,
    /// The only architecture whose kernels need or have the option, if there is one.
    arch: Option<Arch>,
    /// The first release that has the option.
    since: Option<Release>,
    /// The reason, in one or a few sentences.
    pub why: String,
}

/// What needs an option.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Everything that runs in a guest.
    Guest,
    /// Every tracer.
    Tracers,
    /// The scenarios that match the globs.
    Scenarios(Vec<GlobMatcher>),
    /// BTF in the image.
    Btf,
    /// Nothing: the option makes a kernel built by the lab boot faster, or makes it more like
    /// distributions' kernels.
    Build,
}

impl Scope {
    /// The scenarios that need the option, if only some scenarios do.
    pub fn scenarios(&self) -> impl Iterator<Item = &'static Scenario> {
        let globs = match self {
            Scope::Scenarios(globs) => globs.as_slice(),
            _ => &[],
        };
        Scenario::ALL
            .iter()
            .filter(|scenario| globs.iter().any(|g| g.is_match(scenario.to_string())))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Guest => f.write_str("every guest"),
            Scope::Tracers => f.write_str("every tracer"),
            Scope::Btf => f.write_str("BTF"),
            Scope::Build => f.write_str("nobody"),
            Scope::Scenarios(globs) => {
                let globs: Vec<_> = globs.iter().map(|matcher| matcher.glob().glob()).collect();
                f.write_str(&globs.join(", "))
            }
        }
    }
}

/// How a configuration meets a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionState {
    /// The option has the required value.
    Met,
    /// The release has no such option, and always has the feature behind it.
    TooOld,
    /// The option has a different value; `None` if it is not mentioned.
    Unsatisfied(Option<Value>),
}

impl Requirement {
    /// Whether a kernel with this configuration meets it.
    pub fn state_in(&self, config: &Config) -> OptionState {
        let before =
            |since: &Release| config.release.as_ref().is_some_and(|release| release < since);
        match config.get(&self.option) {
            _ if config.has(&self.option, &self.value) => OptionState::Met,
            None if self.since.as_ref().is_some_and(before) => OptionState::TooOld,
            found => OptionState::Unsatisfied(found.cloned()),
        }
    }

    /// Whether it is one for kernels of this architecture.
    pub(super) fn concerns(&self, arch: Arch) -> bool {
        self.arch.is_none_or(|only| only == arch)
    }

    /// Whether a kernel built by the lab must have the option.
    pub(super) fn must_survive(&self, arch: Arch, btf: bool) -> bool {
        match self.scope {
            _ if !self.concerns(arch) => false,
            Scope::Guest | Scope::Tracers | Scope::Scenarios(_) => true,
            Scope::Btf => btf,
            Scope::Build => false,
        }
    }

    /// The configuration line that sets the option.
    fn line(&self) -> String {
        let Requirement { option, value, .. } = self;
        match value {
            Value::NotSet => format!("# {option} is not set\n"),
            value => format!("{option}={value}\n"),
        }
    }
}

/// What the lab needs of a kernel's configuration: kernels/kconfig/lab.config.
pub fn requirements() -> &'static [Requirement] {
    static REQUIREMENTS: LazyLock<Vec<Requirement>> = LazyLock::new(|| match parse(LAB) {
        Ok(requirements) => requirements,
        Err(error) => unreachable!("a test reads lab.config: {error}"),
    });
    &REQUIREMENTS
}

/// The configuration fragment that a build starts from. Without `btf`, the options that generate
/// BTF are off.
pub(super) fn fragment(arch: Arch, btf: bool) -> String {
    let wanted = |requirement: &&Requirement| {
        requirement.concerns(arch) && (btf || !matches!(requirement.scope, Scope::Btf))
    };
    requirements().iter().filter(wanted).map(Requirement::line).collect()
}

/// Parses groups of options, each below a comment `# [who on ARCHITECTURE, since RELEASE] why`. The
/// comment at the head of the file is separate.
fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut requirements = Vec::new();
    for group in text.split("\n\n").skip(1) {
        let is_comment = |line: &&str| line.starts_with('#') && assignment(line).is_none();
        let comment: Vec<_> = group.lines().take_while(is_comment).collect();
        let lines = group.lines().skip(comment.len());
        let comment: Vec<_> =
            comment.iter().map(|line| line.trim_start_matches(['#', ' '])).collect();
        let comment = comment.join(" ");
        let (head, why) = comment
            .strip_prefix('[')
            .and_then(|comment| comment.split_once("] "))
            .ok_or_else(|| format!("no brackets say what needs the options of {comment:?}"))?;
        let (scope, arch, since) = head_of(head)?;
        for line in lines {
            let (option, value) = assignment(line).ok_or_else(|| format!("{line:?}"))?;
            requirements.push(Requirement {
                option: option.to_owned(),
                value,
                scope: scope.clone(),
                arch,
                since: since.clone(),
                why: why.to_owned(),
            });
        }
    }
    Ok(requirements)
}

fn head_of(head: &str) -> Result<(Scope, Option<Arch>, Option<Release>), String> {
    let (who, since) = match head.split_once(", since ") {
        None => (head, None),
        Some((who, since)) => (who, Some(since.parse()?)),
    };
    let (who, arch) = match who.split_once(" on ") {
        None => (who, None),
        Some((who, "x86-64")) => (who, Some(Arch::X86_64)),
        Some((who, "arm64")) => (who, Some(Arch::Aarch64)),
        Some((_, other)) => return Err(format!("{other} is not an architecture of the lab")),
    };
    let scope = match who {
        "guest" => Scope::Guest,
        "tracers" => Scope::Tracers,
        "btf" => Scope::Btf,
        "build" => Scope::Build,
        globs => {
            let glob = |glob| Glob::new(glob).map(|glob| glob.compile_matcher());
            let globs: Result<_, _> = globs.split(", ").map(glob).collect();
            Scope::Scenarios(globs.map_err(|error| error.to_string())?)
        }
    };
    Ok((scope, arch, since))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;

    #[test]
    fn the_list_can_be_read_and_every_option_is_explained_once() {
        let requirements = parse(LAB).unwrap();
        assert!(requirements.len() > 50, "{}", requirements.len());
        let mut seen = BTreeSet::new();
        for requirement in &requirements {
            let archs = Arch::ALL.into_iter().filter(|arch| requirement.concerns(*arch));
            for arch in archs {
                let is_new = seen.insert((&requirement.option, arch));
                assert!(is_new, "{} is listed twice for {arch}", requirement.option);
            }
            assert!(requirement.why.ends_with('.'), "{requirement:?}");
            if let Scope::Scenarios(globs) = &requirement.scope {
                for glob in globs {
                    let matches = |scenario: &&Scenario| glob.is_match(scenario.to_string());
                    let scenario = Scenario::ALL.iter().find(matches);
                    assert!(scenario.is_some(), "{} is not a scenario", glob.glob());
                }
                assert!(requirement.scope.scenarios().count() > 0);
            }
        }
    }

    #[test]
    fn type_information_is_built_only_where_it_is_wanted() {
        for arch in Arch::ALL {
            assert!(fragment(arch, true).contains("\nCONFIG_DEBUG_INFO_BTF=y\n"));
            let lines = fragment(arch, false);
            assert!(!lines.contains("DEBUG_INFO"));
            assert!(lines.contains("\n# CONFIG_EXPERT is not set\n"));
            let config = Config::parse(&lines).unwrap();
            let must = requirements().iter().filter(|r| r.must_survive(arch, false));
            let unmet = must.filter(|r| r.state_in(&config) != OptionState::Met);
            assert_eq!(unmet.map(|r| &r.option).collect::<Vec<_>>(), Vec::<&String>::new());
        }
    }

    #[rstest]
    #[case(Arch::X86_64, "CONFIG_PVH", "CONFIG_DEVMEM")]
    #[case(Arch::Aarch64, "CONFIG_SERIAL_AMBA_PL011_CONSOLE", "CONFIG_X86_IOPL_IOPERM")]
    fn options_of_another_architecture_are_left_out(
        #[case] arch: Arch,
        #[case] own: &str,
        #[case] other: &str,
    ) {
        let lines = fragment(arch, false);
        assert!(lines.contains(&format!("\n{own}=y\n")), "{lines}");
        assert!(!lines.contains(other), "{lines}");
    }

    #[test]
    fn an_architecture_that_the_lab_does_not_know_is_refused() {
        assert!(head_of("guest on riscv64, since 5.5").unwrap_err().starts_with("riscv64 is no"));
    }

    #[rstest]
    #[case::met("5.10", "CONFIG_X86_IOPL_IOPERM=y", OptionState::Met)]
    #[case::off(
        "5.10",
        "# CONFIG_X86_IOPL_IOPERM is not set",
        OptionState::Unsatisfied(Some(Value::NotSet))
    )]
    #[case::not_mentioned("5.10", "CONFIG_X=y", OptionState::Unsatisfied(None))]
    #[case::older_than_the_option("5.4", "CONFIG_X=y", OptionState::TooOld)]
    #[case::a_module(
        "5.4",
        "CONFIG_X86_IOPL_IOPERM=m",
        OptionState::Unsatisfied(Some(Value::Module))
    )]
    fn a_configuration_is_compared(
        #[case] release: &str,
        #[case] line: &str,
        #[case] expected: OptionState,
    ) {
        let text = format!("# Linux/x86 {release}.1 Kernel Configuration\n{line}\n");
        let config = Config::parse(&text).unwrap();
        let option = "CONFIG_X86_IOPL_IOPERM";
        let requirement = requirements().iter().find(|r| r.option == option).unwrap();
        assert_eq!(requirement.state_in(&config), expected);
    }
}
