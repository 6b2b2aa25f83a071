//! Finds splats, and the crash among them, in a console's output.
//!
//! This is no verdict by itself: it explains why a guest is gone or does not answer.

use kernlab_splat::{Splat, scan};

use super::{Log, log::shorten};

/// The longest excerpt, in lines.
const EXCERPT: usize = 60;

/// The complete output of a console, with its splats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleLog {
    /// The text, with normalised line ends.
    pub text: String,
    /// Its splats, in the order of the text.
    pub splats: Vec<Splat>,
}

impl ConsoleLog {
    /// Scans a log.
    pub fn of(log: &Log) -> Self {
        let text = log.text();
        let splats = scan(&text);
        ConsoleLog { text, splats }
    }
}

/// A kernel's report of its own crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// What happened and where, as `kernlab splat` names it.
    pub title: String,
    /// The line where the report begins, and the lines after it.
    pub excerpt: String,
}

impl Crash {
    /// The first crash in a log. A warning, or a complaint about slowness, is a crash only if it
    /// made the kernel panic.
    pub fn find(ConsoleLog { text, splats }: &ConsoleLog) -> Option<Crash> {
        let panicked = || text.lines().any(|line| line.contains("Kernel panic - not syncing"));
        let crash = splats.iter().find(|splat| splat.kind.is_crash());
        let crash = crash.or_else(|| splats.last().filter(|_| panicked()))?;
        let lines = text.lines().skip(crash.line - 1);
        let excerpt = lines.take(EXCERPT).map(shorten).collect::<Vec<_>>().join("\n");
        Some(Crash { title: shorten(&crash.title), excerpt })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn log(text: &str) -> ConsoleLog {
        let mut log = Log::default();
        log.append(text.as_bytes());
        ConsoleLog::of(&log)
    }

    const STUCK: &str =
        "[    9.100000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [tracer:9]";

    #[rstest]
    #[case::panic(
        &["[    1.200000] Kernel panic - not syncing: No working init found."],
        "kernel panic: No working init found"
    )]
    #[case::with_a_caller(
        &[
            "[    1.200000][    T1] BUG: unable to handle page fault for address: 0",
            "[    1.300000][    T1] RIP: 0010:do_it+0x1/0x2"
        ],
        "BUG: unable to handle kernel paging request in do_it"
    )]
    #[case::told_to_panic(
        &[STUCK, "[    9.200000] Kernel panic - not syncing: softlockup: hung tasks"],
        "BUG: soft lockup"
    )]
    fn a_crash_has_a_title_and_all_that_follows(#[case] lines: &[&str], #[case] title: &str) {
        let text = lines.join("\r\n");
        let crash =
            Crash::find(&log(&format!("[    1.000000] fine\r\n{text}\r\n[    9.300000] more\r\n")));
        let crash = crash.unwrap();
        assert_eq!(crash.title, title);
        assert_eq!(crash.excerpt, format!("{}\n[    9.300000] more", lines.join("\n")));
    }

    #[rstest]
    #[case::of_firmware("[    0.000000] ACPI BIOS Error (bug): A valid RSDP was not found")]
    #[case::of_the_command_line("[    0.000000] Command line: oops=panic panic=-1")]
    #[case::of_a_program("a program said: Kernel panic - not syncing")]
    #[case::of_time(STUCK)]
    fn other_lines_are_no_crash(#[case] line: &str) {
        assert_eq!(Crash::find(&log(line)), None);
    }
}
