//! The splats of a guest's kernel, with an excerpt of the log.

use std::borrow::Cow;

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use kernlab_splat::{Splat, excerpt, scan};

use crate::console::{ConsoleLog, shorten};

/// How many lines of a splat a verdict shows.
const EXCERPT: usize = 12;

/// The splats of a guest's kernel, and the log that contains them.
#[derive(Debug)]
pub struct GuestSplats<'a> {
    /// The name of the log file among the evidence.
    file: &'static str,
    log: &'a str,
    splats: Cow<'a, [Splat]>,
}

impl<'a> GuestSplats<'a> {
    /// The splats of the kernel's log, or of the console if only that has any: a dying kernel's
    /// last lines reach only the console.
    pub fn of(kernel_log: &'a str, console: &'a str) -> Self {
        let splats = scan(kernel_log);
        if splats.is_empty() {
            let splats = scan(console).into();
            return GuestSplats { file: "console.log", log: console, splats };
        }
        GuestSplats { file: "kernel.log", log: kernel_log, splats: splats.into() }
    }

    /// The splats on the console of a guest that is gone.
    pub fn of_console(console: &'a ConsoleLog) -> Self {
        let ConsoleLog { text, splats } = console;
        GuestSplats { file: "console.log", log: text, splats: splats.into() }
    }

    /// The splats in the order of the log.
    pub fn splats(&self) -> &[Splat] {
        &self.splats
    }

    /// The verdict that one splat gives a cell.
    pub fn verdict(&self, splat: &Splat) -> Verdict {
        let (outcome, reason) = if splat.kind.is_crash() {
            (Outcome::KernelCrash, Reason::KernelPanicked)
        } else {
            (Outcome::KernelWarning, Reason::KernelWarned)
        };
        let (Splat { title, kind, line, .. }, file) = (splat, self.file);
        let title = shorten(title);
        let lines = excerpt(self.log, splat).take(EXCERPT).map(shorten);
        let excerpt = lines.collect::<Vec<_>>().join("\n");
        Verdict::because(
            outcome,
            reason,
            format!("{title} [{kind}], line {line} of {file}:\n{excerpt}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const QUIET: &str = "<6>[    0.1] process said WARNING: all is well\n";
    const WARNING: &str = "<4>[    1.2] other\n\
                           <4>[    1.234567] WARNING: CPU: 0 PID: 9 at a/b.c:77 do_it+0x52/0x60\n";
    const CRASH: &str = "[    2.000001] general protection fault: 0000 [#1] SMP\n\
                         [    2.000002] RIP: 0010:do_that+0x1/0x2\n";

    #[rstest]
    #[case::clean(QUIET, QUIET, &[])]
    #[case::warned(WARNING, QUIET, &[Outcome::KernelWarning])]
    #[case::printed_on_both(WARNING, WARNING, &[Outcome::KernelWarning])]
    #[case::only_the_console_has_it(QUIET, CRASH, &[Outcome::KernelCrash])]
    fn a_splat_is_a_verdict(
        #[case] kernel_log: &str,
        #[case] console: &str,
        #[case] expected: &[Outcome],
    ) {
        let guest_splats = GuestSplats::of(kernel_log, console);
        let outcomes =
            guest_splats.splats().iter().map(|splat| guest_splats.verdict(splat).outcome);
        assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_message_has_title_place_and_excerpt() {
        let guest_splats = GuestSplats::of(WARNING, "");
        let verdict = guest_splats.verdict(&guest_splats.splats()[0]);
        let (head, excerpt) = verdict.message.split_once('\n').unwrap();
        assert_eq!(head, "WARNING in do_it [warning], line 2 of kernel.log:");
        assert_eq!(excerpt, WARNING.lines().nth(1).unwrap());
    }

    #[test]
    fn a_hostile_guest_fills_no_report() {
        let log = format!(
            "[    1.000001] WARNING: CPU: 0 PID: 9 at a.c:7 {}\u{1b}[2J",
            "x".repeat(1 << 20)
        );
        let guest_splats = GuestSplats::of(&log, "");
        let message = guest_splats.verdict(&guest_splats.splats()[0]).message;
        assert!(message.len() < 1000 && !message.contains('\u{1b}'), "{} bytes", message.len());
    }
}
