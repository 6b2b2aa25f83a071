//! Finds the crash in what a kernel printed.
//!
//! Not a verdict by itself: it explains why a guest that should have answered is gone or silent.

use super::{Log, log::shorten};

/// The longest excerpt, in lines.
const EXCERPT: usize = 60;

/// What a line says, once its prefix is gone, when a kernel begins to report its own end, in the
/// kernel's files that print it: kernel/panic.c, arch/x86/kernel/dumpstack.c, arch/x86/mm/fault.c,
/// arch/x86/kernel/traps.c, kernel/watchdog.c.
const TITLES: [&str; 9] = [
    "Kernel panic - not syncing",
    "Oops: ",
    "BUG: ",
    "kernel BUG at ",
    "general protection fault",
    "double fault",
    "invalid opcode: ",
    "divide error: ",
    "stack segment: ",
];

/// A kernel's report of its own end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The line that names it, without its time.
    pub title: String,
    /// That line and those that follow it.
    pub excerpt: String,
}

impl Crash {
    /// The first crash in the log.
    pub fn find(log: &Log) -> Option<Crash> {
        let text = log.text();
        let mut lines = text.lines().skip_while(|line| !is_title(message(line))).peekable();
        let title = message(lines.peek()?).to_owned();
        let excerpt = lines.take(EXCERPT).map(shorten).collect::<Vec<_>>().join("\n");
        Some(Crash { title: shorten(&title), excerpt })
    }
}

fn is_title(message: &str) -> bool {
    TITLES.iter().any(|title| message.starts_with(title))
}

/// A line without `[    1.234567]`, and without the processor or task that CONFIG_PRINTK_CALLER
/// puts behind it.
fn message(line: &str) -> &str {
    let mut message = line.trim_start();
    while let Some((inside, rest)) = message.strip_prefix('[').and_then(|rest| rest.split_once(']'))
    {
        let is_prefix = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '.' | 'T' | 'C');
        if !inside.chars().all(is_prefix) {
            break;
        }
        message = rest.trim_start();
    }
    message
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn log(text: &str) -> Log {
        let mut log = Log::default();
        log.append(text.as_bytes());
        log
    }

    #[rstest]
    #[case(
        "[    1.2] Kernel panic - not syncing: No working init found.",
        "Kernel panic - not syncing: No working init found."
    )]
    #[case(
        "[    1.2][    T1] BUG: unable to handle page fault for address: 0",
        "BUG: unable to handle page fault for address: 0"
    )]
    #[case("Oops: 0002 [#1] PREEMPT SMP", "Oops: 0002 [#1] PREEMPT SMP")]
    fn titles_lose_their_prefix(#[case] line: &str, #[case] title: &str) {
        let crash = Crash::find(&log(&format!("[    1.0] fine\r\n{line}\r\n[    1.3] more\r\n")));
        let crash = crash.unwrap();
        assert_eq!(crash.title, title);
        assert_eq!(crash.excerpt, format!("{line}\n[    1.3] more"));
    }

    #[rstest]
    #[case("[    0.0] ACPI BIOS Error (bug): A valid RSDP was not found")]
    #[case("[    0.0] Command line: oops=panic panic=-1")]
    #[case("a program said: Kernel panic - not syncing")]
    fn other_lines_are_no_crash(#[case] line: &str) {
        assert_eq!(Crash::find(&log(line)), None);
    }
}
