//! The splats of a guest's kernel, with an excerpt of the log.

use std::borrow::Cow;

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use kernlab_proto::LOG_GAP;
use kernlab_splat::{Kind, Splat, excerpt, scan};

use super::SplatPolicy;
use crate::console::{ConsoleLog, shorten};

/// How many lines of a splat a verdict shows.
const EXCERPT: usize = 12;
/// The name of the console's output among the evidence.
const CONSOLE: &str = "console.log";

/// The log with empty lines in place of those that programs wrote, which have another facility than 0
/// in their prefix: kernel/printk/printk.c, devkmsg_write().
fn of_kernel(log: &str) -> String {
    let is_of_program = |line: &str| {
        let number = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        number.and_then(|(number, _)| number.parse::<u32>().ok()).is_some_and(|both| both >> 3 != 0)
    };
    let mut own = String::with_capacity(log.len());
    for line in log.split_inclusive('\n') {
        own.push_str(if is_of_program(line) { "\n" } else { line });
    }
    own
}

/// The splats of a guest's kernel, and the log that contains them.
#[derive(Debug)]
pub struct GuestSplats<'a> {
    /// The name of the log file among the evidence.
    file: &'static str,
    log: &'a str,
    splats: Cow<'a, [Splat]>,
    /// What looks like splats on the console, and is not in the kernel's log.
    on_console_only: Vec<Splat>,
    /// Whether records of the log were overwritten before they were read.
    is_incomplete: bool,
}

impl<'a> GuestSplats<'a> {
    /// The splats of a kernel that lives. Programs can write anything to the console, and to the log
    /// under another facility than the kernel's; so only the kernel's own records count. If some of
    /// them were overwritten before they were read, and the console has all splats of the log and others, then
    /// the console is believed.
    pub fn of(kernel_log: &'a str, console: &'a str) -> Self {
        let splats = scan(of_kernel(kernel_log));
        let on_console = scan(console);
        let is_known = |splat: &Splat| splats.iter().any(|known| known.title == splat.title);
        let on_console_only: Vec<_> =
            on_console.iter().filter(|splat| !is_known(splat)).cloned().collect();
        let has_all =
            splats.iter().all(|known| on_console.iter().any(|it| it.title == known.title));
        let is_incomplete = kernel_log.lines().any(|line| line == LOG_GAP);
        let believed = is_incomplete && has_all && !on_console_only.is_empty();
        let (file, log, splats, on_console_only) = match believed {
            true => (CONSOLE, console, on_console, Vec::new()),
            false => ("kernel.log", kernel_log, splats, on_console_only),
        };
        GuestSplats { file, log, splats: splats.into(), on_console_only, is_incomplete }
    }

    /// The splats on the console of a guest that is gone.
    pub fn of_console(console: &'a ConsoleLog) -> Self {
        let ConsoleLog { text, splats } = console;
        GuestSplats {
            file: CONSOLE,
            log: text,
            splats: splats.into(),
            on_console_only: Vec::new(),
            is_incomplete: false,
        }
    }

    /// A remark on each text on the console that looks like a splat and does not count, and one if the log
    /// is not all that the kernel wrote.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let why = match self.is_incomplete {
            true => "the kernel's log, of which a part is missing, does not have it",
            false => "a program wrote it, and not the kernel",
        };
        let texts = self.on_console_only.iter().map(move |Splat { title, line, .. }| {
            let title = shorten(title);
            format!("the text {title:?} in line {line} of {CONSOLE} does not count: {why}")
        });
        let gap = self.is_incomplete.then(|| {
            "a part of the kernel's log was overwritten before it was read: what the kernel complained of \
             there is only on the console, if at all"
                .to_owned()
        });
        gap.into_iter().chain(texts)
    }

    /// The splats in the order of the log.
    pub fn splats(&self) -> &[Splat] {
        &self.splats
    }

    /// The out-of-memory splats that `policy` does not allow, which are taken out of these. They are not
    /// the kernel's fault.
    pub(super) fn take_out_of_memory(&mut self, policy: SplatPolicy<'_>) -> Vec<Splat> {
        let all = std::mem::take(&mut self.splats).into_owned();
        let is_taken = |splat: &Splat| splat.kind == Kind::OutOfMemory && !policy.allows(splat);
        let (memory, others) = all.into_iter().partition(is_taken);
        self.splats = Cow::Owned(others);
        memory
    }

    /// The lines of the log from a splat on.
    pub(super) fn lines_from(&self, splat: &Splat) -> impl Iterator<Item = &'a str> {
        self.log.lines().skip(splat.line.saturating_sub(1))
    }

    /// The name of the log file among the evidence.
    pub(super) fn file(&self) -> &'static str {
        self.file
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
        let lines: Vec<_> = excerpt(self.log, splat).collect();
        let lines = telling(&lines).into_iter().take(EXCERPT).map(shorten);
        let excerpt = lines.collect::<Vec<_>>().join("\n");
        Verdict::because(
            outcome,
            reason,
            format!("{title} [{kind}], line {line} of {file}:\n{excerpt}"),
        )
    }
}

/// The lines of a splat without what arm64 says of a failed access before it says where that was: the
/// syndrome and the page tables, arch/arm64/mm/fault.c. All of them if it doesn't get so far.
fn telling<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let is_fault = lines.get(1).is_some_and(|line| line.contains("Mem abort info:"));
    let place = lines.iter().position(|line| line.contains("Internal error: "));
    let from = place.filter(|_| is_fault).unwrap_or(1).min(lines.len());
    lines.iter().take(1).chain(&lines[from..]).copied().collect()
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

    const OF_PROGRAM: &str = "<12>[    1.2] WARNING: CPU: 0 PID: 9 at a/b.c:77 do_it+0x52/0x60\n";
    const OF_PROGRAM_ON_CONSOLE: &str =
        "[    1.200000] WARNING: CPU: 0 PID: 9 at a/b.c:77 do_it+0x52/0x60\n";
    const TWO_LINES: &str = "<12>[    1.2] x\r<4>[    1.2] divide error: 0000 [#1] SMP\n";
    const OF_BOTH: &str = "<12>[    1.200000] divide error: 0000 [#1] SMP\n\
                           <4>[    1.234567] WARNING: CPU: 0 PID: 9 at a/b.c:77 do_it+0x52/0x60\n";
    const GAP: &str = "<6>[    1.2] one\n\
                       kernlab: records of the log were overwritten before they were read\n\
                       <6>[    1.3] two\n";

    #[rstest]
    #[case::nothing(&[], &[])]
    #[case::of_x86(&["BUG", "#PF", "Oops"], &["BUG", "#PF", "Oops"])]
    #[case::of_arm64(
        &["Unable", "Mem abort info:", "[0] pgd=0", "Internal error: Oops", "pc : f+0x4/0x8"],
        &["Unable", "Internal error: Oops", "pc : f+0x4/0x8"]
    )]
    #[case::cut(&["Unable", "Mem abort info:", "[0] pgd"], &["Unable", "Mem abort info:", "[0] pgd"])]
    fn what_precedes_the_place_is_left_out(#[case] lines: &[&str], #[case] expected: &[&str]) {
        assert_eq!(telling(lines), expected);
    }

    #[rstest]
    #[case::clean(QUIET, QUIET, &[])]
    #[case::warned(WARNING, QUIET, &[Outcome::KernelWarning])]
    #[case::printed_on_both(WARNING, WARNING, &[Outcome::KernelWarning])]
    #[case::a_program_wrote_it_to_the_console(QUIET, CRASH, &[])]
    #[case::a_program_wrote_it_to_the_log(OF_PROGRAM, OF_PROGRAM_ON_CONSOLE, &[])]
    #[case::a_program_imitates_a_log(TWO_LINES, QUIET, &[])]
    #[case::both_wrote(OF_BOTH, CRASH, &[Outcome::KernelWarning])]
    #[case::the_log_has_a_gap(GAP, CRASH, &[Outcome::KernelCrash])]
    #[case::and_a_splat(
        &[GAP, WARNING].concat(),
        &[WARNING, CRASH].concat(),
        &[Outcome::KernelWarning, Outcome::KernelCrash]
    )]
    #[case::and_all_that_the_console_has(&[GAP, WARNING].concat(), WARNING, &[Outcome::KernelWarning])]
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
    fn the_text_of_a_program_is_told() {
        let splats = GuestSplats::of(OF_PROGRAM, OF_PROGRAM_ON_CONSOLE);
        let remark = "the text \"WARNING in do_it\" in line 1 of console.log does not count: a program \
                      wrote it, and not the kernel";
        assert_eq!(splats.remarks().collect::<Vec<_>>(), [remark]);
        assert_eq!(GuestSplats::of(WARNING, WARNING).remarks().count(), 0);
    }

    #[test]
    fn a_gap_is_told() {
        let remarks = |log: &str, console: &str| -> Vec<_> {
            GuestSplats::of(log, console).remarks().collect()
        };
        let quiet = remarks(GAP, QUIET);
        assert!(
            quiet.len() == 1 && quiet[0].contains("overwritten before it was read"),
            "{quiet:?}"
        );
        // The console lacks a splat of the log: it may be quiet, and what it has may be a program's.
        let both = remarks(&[GAP, WARNING].concat(), CRASH);
        assert!(both.len() == 2 && both[1].contains("of which a part is missing"), "{both:?}");
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
    fn the_message_of_arm64_says_where_it_was() {
        let log = include_str!("../../../splat/tests/cases/page-fault/arm64.txt");
        let log = log.replace("\n[", "\n<1>[");
        let guest_splats = GuestSplats::of(&log, "");
        let verdict = guest_splats.verdict(&guest_splats.splats()[0]);
        let lines: Vec<_> = verdict.message.lines().collect();
        assert!(lines[1].contains("Unable to handle kernel "), "{lines:#?}");
        assert!(lines[2].contains("Internal error: Oops"), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("pc : ")), "{lines:#?}");
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
