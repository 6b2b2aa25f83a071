//! The verdict on what became of a user's BPF object.

use kernlab_core::{
    object_record::{ObjectRecord, ProgramRecord, Step},
    outcome::{Outcome, Reason, Verdict},
};

use crate::suite::manifest::ObjectSubject;

/// How many lines of the verifier's log a verdict shows.
const LINES: usize = 12;

/// The verdict, and what the user should know beside it. A program that can't be opened, loaded or attached
/// outranks one that is too complex.
pub(super) fn judge(object: &ObjectSubject, record: &ObjectRecord) -> (Verdict, Vec<String>) {
    if let Some(reason) = record.reason() {
        let verdict = Verdict::because(Outcome::Fail, reason, failures(record).join("\n"));
        return (verdict, Vec::new());
    }
    let not_attached = if object.attach { not_attached(record) } else { Vec::new() };
    if !not_attached.is_empty() && not_attached.len() == record.programs.len() {
        let message = format!("nothing was attached: {}", not_attached.join("; "));
        let verdict = Verdict::because(Outcome::Fail, Reason::AttachRefused, message);
        return (verdict, Vec::new());
    }
    let mut remarks = not_attached;
    if object.max_instructions.is_some() || object.max_growth_percent.is_some() {
        let unknown =
            record.programs.iter().filter(|program| program.verified_instructions.is_none());
        remarks.extend(unknown.map(|ProgramRecord { name, .. }| {
            format!(
                "{name}: this kernel does not tell how many instructions the verifier processed"
            )
        }));
    }
    (of_complexity(object, record), remarks)
}

/// The programs that no step attached, and why.
fn not_attached(record: &ObjectRecord) -> Vec<String> {
    let skipped = record.programs.iter().filter_map(|program| match &program.attach {
        Step::Skipped(why) => Some(format!("{} ({}): {why}", program.name, program.section)),
        Step::Done | Step::Failed(_) => None,
    });
    skipped.collect()
}

fn of_complexity(object: &ObjectSubject, record: &ObjectRecord) -> Verdict {
    let Some(max) = object.max_instructions else { return Verdict::pass() };
    let complex: Vec<_> = record
        .programs
        .iter()
        .filter_map(|program| {
            let count = program.verified_instructions.filter(|&count| count > max)?;
            Some(format!("{}: the verifier processed {count} instructions", program.name))
        })
        .collect();
    match complex.is_empty() {
        true => Verdict::pass(),
        false => {
            let message = format!("{}; {max} are allowed", complex.join(", "));
            Verdict::because(Outcome::Fail, Reason::TooManyInstructions, message)
        }
    }
}

/// What failed, a sentence each.
fn failures(record: &ObjectRecord) -> Vec<String> {
    let mut failures = Vec::new();
    failures.extend(record.error.as_ref().map(|error| format!("the object: {error}")));
    failures.extend(record.programs.iter().filter_map(failure));
    if failures.is_empty() {
        let whole = record.together.as_ref().and_then(Step::error);
        failures.extend(whole.map(|error| format!("all programs together: {error}")));
    }
    if failures.is_empty() && record.unrelocated {
        failures.push(format!(
            "{} loads it without its CO-RE relocations, for user space has no type information of this kernel: \
             its programs read where fields were in the kernel that it was compiled for",
            record.backend
        ));
    }
    failures
}

fn failure(program: &ProgramRecord) -> Option<String> {
    let error = program.error()?;
    let mut text = format!("{} ({}): {error}", program.name, program.section);
    if !program.lacking.is_empty() {
        text.push_str(&format!("; the kernel lacks {}", program.lacking.join(", ")));
    }
    if let Some(log) = &program.verifier_log {
        let lines: Vec<_> = log.trim_end().lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        text.push_str(&format!("; the end of the verifier's log:\n{last}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use kernlab_core::{
        cell::BackendKind,
        object_record::{Call, StepError},
    };
    use rstest::rstest;

    use super::*;

    fn program(name: &str, load: Step, instructions: u64) -> ProgramRecord {
        ProgramRecord {
            name: name.to_owned(),
            section: "kprobe/vfs_open".to_owned(),
            program_type: "kprobe".to_owned(),
            open: Step::Done,
            load,
            attach: Step::Done,
            verified_instructions: Some(instructions),
            load_us: Some(100),
            xlated_bytes: None,
            jited_bytes: None,
            verifier_log: None,
            lacking: Vec::new(),
        }
    }

    /// The outcome of an object whose programs are loaded together as this says.
    fn record(programs: Vec<ProgramRecord>, together: Step) -> ObjectRecord {
        ObjectRecord {
            backend: BackendKind::Libbpf,
            release: "6.1.0".to_owned(),
            error: None,
            programs,
            maps: Vec::new(),
            unrelocated: false,
            together: Some(together),
        }
    }

    fn subject(attach: bool, max_instructions: Option<u64>) -> ObjectSubject {
        let path = "probe.bpf.o".into();
        ObjectSubject { path, attach, max_instructions, max_growth_percent: None }
    }

    fn refused() -> ProgramRecord {
        let error = StepError {
            call: Call::ProgramLoad,
            errno: Some(13),
            message: "Permission denied".to_owned(),
        };
        let log = Some("0: r0 = 0\nR1 invalid mem access".to_owned());
        ProgramRecord { verifier_log: log, ..program("opened", Step::Failed(error), 40) }
    }

    #[test]
    fn programs_that_are_not_loaded_together_are_not_loaded() {
        let object = subject(true, None);
        let error = StepError { call: Call::Loader, errno: None, message: "no room".to_owned() };
        let record = record(vec![program("a", Step::Done, 10)], Step::Failed(error));
        let (verdict, _) = judge(&object, &record);
        assert_eq!(verdict.reason, Some(Reason::LoadFailed), "{}", verdict.message);
        assert!(verdict.message.contains("no room"), "{}", verdict.message);
    }

    #[test]
    fn relocations_that_were_not_made_are_told() {
        let record = record(vec![program("a", Step::Done, 10)], Step::Done);
        let record = ObjectRecord { backend: BackendKind::Aya, unrelocated: true, ..record };
        let (verdict, _) = judge(&subject(true, None), &record);
        assert_eq!(verdict.reason, Some(Reason::MissingBtf));
        assert!(
            verdict.message.starts_with("aya loads it without its CO-RE relocations"),
            "{verdict:?}"
        );
    }

    #[rstest]
    #[case::all_well(vec![program("a", Step::Done, 10)], None, None, "")]
    #[case::at_the_limit(vec![program("a", Step::Done, 10)], Some(10), None, "")]
    #[case::too_complex(
        vec![program("a", Step::Done, 11), program("b", Step::Done, 9)],
        Some(10),
        Some(Reason::TooManyInstructions),
        "a: the verifier processed 11 instructions; 10 are allowed"
    )]
    #[case::refused(
        vec![refused(), program("b", Step::Done, 11)],
        Some(10),
        Some(Reason::VerifierRejected),
        "opened (kprobe/vfs_open): BPF_PROG_LOAD: Permission denied; the end of the verifier's \
         log:\n0: r0 = 0\nR1 invalid mem access"
    )]
    fn programs_decide(
        #[case] programs: Vec<ProgramRecord>,
        #[case] max: Option<u64>,
        #[case] reason: Option<Reason>,
        #[case] message: &str,
    ) {
        let object = subject(true, max);
        let record = record(programs, Step::Done);
        let (verdict, remarks) = judge(&object, &record);
        assert_eq!((verdict.reason, verdict.message.as_str()), (reason, message));
        assert!(remarks.is_empty(), "{remarks:?}");
    }

    fn skipped(name: &str) -> ProgramRecord {
        let attach = Step::Skipped("not attached: its section names no attach point".to_owned());
        ProgramRecord { attach, ..program(name, Step::Done, 10) }
    }

    fn uncounted(name: &str) -> ProgramRecord {
        ProgramRecord { verified_instructions: None, ..program(name, Step::Done, 0) }
    }

    #[rstest]
    #[case::one_of_two(
        vec![skipped("a"), program("b", Step::Done, 10)],
        true,
        None,
        &["a (kprobe/vfs_open): not attached: its section names no attach point"]
    )]
    #[case::none(vec![skipped("a"), skipped("b")], true, Some(Reason::AttachRefused), &[])]
    #[case::not_asked_for(vec![skipped("a")], false, None, &[])]
    #[case::not_counted(
        vec![uncounted("a"), program("b", Step::Done, 10)],
        true,
        None,
        &["a: this kernel does not tell how many instructions the verifier processed"]
    )]
    fn what_was_not_tried_is_told(
        #[case] programs: Vec<ProgramRecord>,
        #[case] attach: bool,
        #[case] reason: Option<Reason>,
        #[case] expected: &[&str],
    ) {
        let object = subject(attach, Some(10));
        let record = record(programs, Step::Done);
        let (verdict, remarks) = judge(&object, &record);
        assert_eq!(verdict.reason, reason, "{}", verdict.message);
        assert_eq!(remarks, expected);
    }
}
