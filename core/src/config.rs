//! The options that a kernel was built with: Documentation/kbuild/kconfig.rst.

use std::collections::BTreeMap;

/// Options that decide what a tracer finds, or where fields are.
pub const OPTIONS: &[&str] = &[
    "CONFIG_BPF_EVENTS",
    "CONFIG_BPF_SYSCALL",
    "CONFIG_CROSS_MEMORY_ATTACH",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_FPROBE",
    "CONFIG_FTRACE_SYSCALLS",
    "CONFIG_FUNCTION_ERROR_INJECTION",
    "CONFIG_HZ",
    "CONFIG_INET",
    "CONFIG_INOTIFY_USER",
    "CONFIG_IPV6",
    "CONFIG_KALLSYMS_ALL",
    "CONFIG_KEYS",
    "CONFIG_KPROBES",
    "CONFIG_PREEMPT_DYNAMIC",
    "CONFIG_PREEMPT_LAZY",
    "CONFIG_PREEMPT_RT",
    "CONFIG_RANDSTRUCT",
    "CONFIG_SECURITY",
    "CONFIG_UPROBE_EVENTS",
    "CONFIG_X86_KERNEL_IBT",
];

/// The values of [`OPTIONS`] in the text of a configuration. What it does not set is `n`.
pub fn options(text: &str) -> BTreeMap<String, String> {
    let set: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.trim().split_once('=')).collect();
    let value = |name: &&str| (*name).to_owned();
    OPTIONS
        .iter()
        .map(|name| (value(name), set.get(name).copied().unwrap_or("n").to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_off() {
        let options =
            options("CONFIG_KEYS=y\n# CONFIG_INET is not set\nCONFIG_HZ=250\nCONFIG_X=m\n");
        assert_eq!(options["CONFIG_KEYS"], "y");
        assert_eq!(options["CONFIG_INET"], "n");
        assert_eq!(options["CONFIG_HZ"], "250");
        assert_eq!(options.len(), OPTIONS.len());
    }
}
