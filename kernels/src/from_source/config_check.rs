//! Compares the final configuration with the options that were requested.

use std::fmt;

use kernlab_core::arch::Arch;

use super::{
    config::{Config, Value},
    fragment::{OptionState, Requirement, requirements},
};

/// Options that the lab needs and the configuration lacks: at least one.
#[derive(Debug)]
pub struct Dropped(Vec<(&'static Requirement, Option<Value>)>);

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (requirement, found)) in self.0.iter().enumerate() {
            let Requirement { option, value, scope, why, .. } = requirement;
            let newline = if index == 0 { "" } else { "\n" };
            let found = match found {
                None => "is unknown to this source, or depends on an option that is off".to_owned(),
                Some(found) => format!("is {found}"),
            };
            write!(f, "{newline}  {option} {found}, and must be {value} for {scope}: {why}")?;
        }
        Ok(())
    }
}

/// Checks for every option that a kernel built by the lab must have.
pub(super) fn check(config: &Config, arch: Arch, btf: bool) -> Result<(), Dropped> {
    let must = requirements().iter().filter(|r| r.must_survive(arch, btf));
    let dropped = must.filter_map(|requirement| match requirement.state_in(config) {
        OptionState::Met | OptionState::TooOld => None,
        OptionState::Unsatisfied(found) => Some((requirement, found)),
    });
    let dropped: Vec<_> = dropped.collect();
    if dropped.is_empty() { Ok(()) } else { Err(Dropped(dropped)) }
}

/// Options of the entry's own configuration that ended up different, as `CONFIG_X=y, now n`.
pub(super) fn differences(asked: &Config, config: &Config) -> Vec<String> {
    let lost = asked.iter().filter(|(option, value)| !config.has(option, value));
    lost.map(|(option, value)| {
        let found = config.get(option).unwrap_or(&Value::NotSet);
        format!("{option}={value}, now {found}")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::fragment::fragment, *};

    fn configured(from: &str, to: &str) -> Config {
        let text = fragment(Arch::X86_64, false).replace(from, to);
        Config::parse(&format!("# Linux/x86 5.10.262 Kernel Configuration\n{text}")).unwrap()
    }

    #[test]
    fn what_was_dropped_is_named_with_who_needs_it() {
        let check = |config: &Config, btf| check(config, Arch::X86_64, btf);
        assert!(check(&configured("", ""), false).is_ok());
        let dropped = check(&configured("CONFIG_KEYS=y\n", ""), false).unwrap_err().to_string();
        assert!(dropped.starts_with("  CONFIG_KEYS is unknown to this source"), "{dropped}");
        assert!(dropped.contains("must be y for many_args/key_alloc: add_key(2)"), "{dropped}");
        let off = configured("CONFIG_INET=y", "# CONFIG_INET is not set");
        let dropped = check(&off, false).unwrap_err().to_string();
        assert!(
            dropped.starts_with("  CONFIG_INET is n, and must be y for every guest"),
            "{dropped}"
        );
        assert!(check(&configured("CONFIG_SMP=y\n", ""), false).is_ok(), "no tracer needs it");
        let dropped = check(&configured("", ""), true).unwrap_err().to_string();
        assert!(dropped.contains("CONFIG_DEBUG_INFO_BTF"), "{dropped}");
    }

    #[test]
    fn differences_from_what_the_entry_asked_for_are_told() {
        let asked =
            Config::parse("CONFIG_PREEMPT_RT=y\nCONFIG_SMP=y\n# CONFIG_X is not set").unwrap();
        let differences = differences(&asked, &configured("", ""));
        assert_eq!(differences, ["CONFIG_PREEMPT_RT=y, now n"]);
    }
}
