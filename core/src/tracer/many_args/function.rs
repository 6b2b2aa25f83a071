//! Functions with more arguments than registers, and what their arguments are.

use std::fmt;

use crate::{btf::Prototype, facts::KernelFacts, scenario::Scenario};

/// A function whose calls the `many_args` tracer reports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// The kernel's symbol.
    pub(super) name: &'static str,
    /// The scenario that calls it.
    scenario: &'static str,
    /// What the kernel must be built with to have it.
    pub(super) needs: &'static str,
    /// In order.
    pub(super) parameters: &'static [Parameter],
    /// Was the parameter list different in another release?
    pub(super) changed_between_releases: bool,
    /// Symbols that its pointer arguments may be equal to.
    pub(super) pointees: &'static [&'static str],
}

/// One parameter of a [`Function`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// The name in reports: that of the newest release.
    pub(super) name: &'static str,
    /// Names in other releases.
    other_names: &'static [&'static str],
    /// How the argument is to be read.
    pub(super) class: Class,
}

/// What an argument's bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// 32 bits; the upper half of the register or slot is undefined.
    U32,
    /// 32 bits with a sign; the upper half is undefined.
    I32,
    /// 64 bits.
    U64,
    /// An address of either half.
    Pointer,
    /// The address of a string that is captured as well.
    Text,
}

const fn parameter(name: &'static str, class: Class) -> Parameter {
    Parameter { name, other_names: &[], class }
}

impl Function {
    /// Every function that a scenario calls.
    pub(super) const ALL: &'static [Function] = &[
        // security/keys/key.c: the same since 4.7 (commit 5ac7eace2d00).
        Function {
            name: "key_alloc",
            scenario: "key_alloc",
            needs: "CONFIG_KEYS",
            parameters: &[
                parameter("type", Class::Pointer),
                parameter("desc", Class::Text),
                parameter("uid", Class::U32),
                parameter("gid", Class::U32),
                parameter("cred", Class::Pointer),
                parameter("perm", Class::U32),
                parameter("flags", Class::U64),
                parameter("restrict_link", Class::Pointer),
            ],
            changed_between_releases: false,
            pointees: &["key_type_keyring", "key_type_user"],
        },
        // net/ipv4/ip_output.c: the same since 4.18 (commit 1cd7884dfd78).
        Function {
            name: "ip_make_skb",
            scenario: "ip_make_skb",
            needs: "CONFIG_INET",
            parameters: &[
                parameter("sk", Class::Pointer),
                parameter("fl4", Class::Pointer),
                parameter("getfrag", Class::Pointer),
                parameter("from", Class::Pointer),
                parameter("length", Class::I32),
                parameter("transhdrlen", Class::I32),
                parameter("ipc", Class::Pointer),
                parameter("rtp", Class::Pointer),
                parameter("cork", Class::Pointer),
                parameter("flags", Class::U32),
            ],
            changed_between_releases: false,
            pointees: &["ip_generic_getfrag"],
        },
        // mm/process_vm_access.c: the same since 3.2 (commit fcf634098c00).
        Function {
            name: "process_vm_rw",
            scenario: "process_vm_rw",
            needs: "CONFIG_CROSS_MEMORY_ATTACH",
            parameters: &[
                parameter("pid", Class::I32),
                parameter("lvec", Class::Pointer),
                parameter("liovcnt", Class::U64),
                parameter("rvec", Class::Pointer),
                parameter("riovcnt", Class::U64),
                parameter("flags", Class::U64),
                parameter("vm_write", Class::I32),
            ],
            changed_between_releases: false,
            pointees: &[],
        },
        // mm/gup.c: lost `tsk` in 5.9 (commit 64019a2e467a) and `vmas` in 6.5 (commit b2cac248191b).
        Function {
            name: "__get_user_pages",
            scenario: "get_user_pages",
            needs: "CONFIG_MMU",
            parameters: &[
                parameter("tsk", Class::Pointer),
                parameter("mm", Class::Pointer),
                parameter("start", Class::Pointer),
                parameter("nr_pages", Class::U64),
                parameter("gup_flags", Class::U32),
                parameter("pages", Class::Pointer),
                parameter("vmas", Class::Pointer),
                Parameter { name: "locked", other_names: &["nonblocking"], class: Class::Pointer },
            ],
            changed_between_releases: true,
            pointees: &[],
        },
    ];

    /// Data that one of its arguments points to, and that the symbol table does not list: the argument could
    /// not be told from others.
    pub(super) fn unlisted(&self, facts: &KernelFacts) -> Option<&'static str> {
        let is_data = |name: &&str| name.starts_with("key_type_");
        let mut data = self.pointees.iter().copied().filter(is_data);
        data.find(|name| !facts.symbols.contains_key(*name))
    }

    /// The function that a scenario of `many_args` is about.
    ///
    /// # Panics
    ///
    /// If the scenario belongs to another tracer.
    pub(super) fn of_scenario(scenario: &Scenario) -> &'static Function {
        Function::ALL
            .iter()
            .find(|function| function.scenario == scenario.name)
            .unwrap_or_else(|| panic!("no function belongs to {scenario}"))
    }

    /// Are these the parameters that we know how to read?
    pub(super) fn matches(&self, prototype: &Prototype) -> bool {
        self.parameters.len() == prototype.parameters.len()
            && self.parameters.iter().zip(&prototype.parameters).all(|(ours, theirs)| {
                ours.name == theirs.name || ours.other_names.contains(&theirs.name.as_str())
            })
    }

    /// The number, counted from 1, of the argument that is captured as a string.
    pub(super) fn text_argument(&self) -> Option<u32> {
        (1..)
            .zip(self.parameters)
            .find_map(|(number, parameter)| (parameter.class == Class::Text).then_some(number))
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parameters.iter().map(|parameter| parameter.name).collect();
        write!(f, "{}({})", self.name, names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracer::Tracer;

    #[test]
    fn every_scenario_of_many_args_has_its_function() {
        for scenario in Tracer::by_name("many_args").unwrap().scenarios() {
            let function = Function::of_scenario(scenario);
            assert!(function.parameters.len() > 6, "{function} fits in the registers");
            assert!(function.parameters.len() <= kernlab_abi::MAX_ARGUMENTS);
        }
    }

    #[test]
    fn a_lost_parameter_is_a_mismatch_and_an_old_name_is_not() {
        let function = Function::of_scenario(Scenario::by_id("many_args/get_user_pages").unwrap());
        let with_last = |last| {
            let names = ["tsk", "mm", "start", "nr_pages", "gup_flags", "pages", "vmas", last];
            Prototype::known(&names.map(|name| ("long", name)))
        };
        assert!(function.matches(&with_last("nonblocking")));
        assert!(function.matches(&with_last("locked")));
        let mut shorter = with_last("locked");
        shorter.parameters.remove(0);
        assert!(!function.matches(&shorter));
    }
}
