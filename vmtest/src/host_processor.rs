//! What tells this machine's processor from others.

use std::fs;

/// The fields of /proc/cpuinfo that tell processors apart: of x86-64, and of arm64.
const OF_PROCESSOR: [&str; 10] = [
    "vendor_id",
    "cpu family",
    "model",
    "stepping",
    "flags",
    "Features",
    "CPU implementer",
    "CPU variant",
    "CPU part",
    "CPU revision",
];

/// What /proc/cpuinfo says of this machine's first processor.
pub(crate) fn of_host() -> String {
    first(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

/// Whether this machine's processor has five-level page tables, which a guest of KVM may use then.
pub(crate) fn has_five_level_paging() -> bool {
    has_flag(&of_host(), "la57")
}

fn has_flag(processor: &str, flag: &str) -> bool {
    processor.split_whitespace().any(|word| word == flag)
}

/// What /proc/cpuinfo says of the first processor, without what varies, such as its clock.
fn first(cpuinfo: &str) -> String {
    let first = cpuinfo.split("\n\n").next().unwrap_or_default();
    let is_told = |line: &&str| OF_PROCESSOR.iter().any(|name| line.starts_with(name));
    first.lines().filter(is_told).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_both_architectures_are_told_apart() {
        let x86_64 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 1\ncpu MHz\t\t: 2445.4\n\
                      flags\t\t: fpu la57\n\n";
        let told = "vendor_id\t: AuthenticAMD\nmodel\t\t: 1\nflags\t\t: fpu la57";
        assert_eq!(first(x86_64), told);
        assert!(has_flag("flags\t\t: fpu la57 vme", "la57"));
        assert!(!has_flag("flags\t\t: fpu la57x", "la57"));
        let aarch64 = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n\n\
                       processor\t: 1\nCPU part\t: 0xd0b\n";
        assert_eq!(first(aarch64), "Features\t: fp asimd\nCPU part\t: 0xd0c");
    }
}
