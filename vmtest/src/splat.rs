//! Finds what a kernel prints when something is wrong with it.

/// The beginnings of such lines, behind the time: Documentation/admin-guide/tainted-kernels.rst
/// and the places in the source that print them.
const BEGINNINGS: [&str; 12] = [
    "BUG: ",
    "WARNING: ",
    "INFO: rcu_",
    "INFO: task ",
    "INFO: possible ",
    "Kernel panic - not syncing",
    "Oops: ",
    "general protection fault",
    "rcu: INFO: rcu_",
    "UBSAN: ",
    "watchdog: BUG: ",
    "unregister_netdevice: waiting for ",
];

/// The first such line of a kernel's log, whose lines are `<priority>[time] text`.
pub fn first(kernel_log: &str) -> Option<&str> {
    kernel_log.lines().map(text).find(|line| BEGINNINGS.iter().any(|start| line.starts_with(start)))
}

/// A line without its priority, time and caller.
fn text(line: &str) -> &str {
    let line = match line.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((priority, rest)) if priority.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    };
    let mut line = line.trim_start();
    while let Some((_, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        line = rest.trim_start();
    }
    line
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "<4>[    1.234567] WARNING: CPU: 0 PID: 9 at arch/x86/mm/extable.c:77 ex_handler_uaccess+0x52/0x60",
        Some("WARNING: CPU: 0 PID: 9 at arch/x86/mm/extable.c:77 ex_handler_uaccess+0x52/0x60")
    )]
    #[case(
        "<3>[  2.0][   T12] BUG: sleeping function called",
        Some("BUG: sleeping function called")
    )]
    #[case("<6>[    0.000000] DEBUG: nothing", None)]
    #[case("<6>[    0.1] process said WARNING: all is well", None)]
    #[case("", None)]
    fn only_lines_that_begin_like_one_count(#[case] log: &str, #[case] expected: Option<&str>) {
        assert_eq!(first(log), expected);
    }
}
