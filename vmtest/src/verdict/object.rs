//! The verdict on what became of a user's BPF object.

use kernlab_core::{
    object_record::{ObjectRecord, ProgramRecord, Step},
    outcome::{Outcome, Reason, Verdict},
};

use crate::suite::manifest::ObjectSubject;

/// How many lines of the verifier's log a verdict shows.
const LINES: usize = 12;

/// A program that can't be opened, loaded or attached outranks one that is too complex.
pub(super) fn verdict(object: &ObjectSubject, record: &ObjectRecord) -> Verdict {
    if let Some(reason) = record.reason() {
        return Verdict::because(Outcome::Fail, reason, failures(record).join("\n"));
    }
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
        let object = ObjectSubject {
            path: "probe.bpf.o".into(),
            attach: true,
            max_instructions: None,
            max_growth_percent: None,
        };
        let error = StepError { call: Call::Loader, errno: None, message: "no room".to_owned() };
        let record = ObjectRecord {
            backend: BackendKind::Libbpf,
            release: "6.1.0".to_owned(),
            error: None,
            programs: vec![program("a", Step::Done, 10)],
            maps: Vec::new(),
            unrelocated: false,
            together: Some(Step::Failed(error)),
        };
        let verdict = verdict(&object, &record);
        assert_eq!(verdict.reason, Some(Reason::LoadFailed), "{}", verdict.message);
        assert!(verdict.message.contains("no room"), "{}", verdict.message);
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
        let object = ObjectSubject {
            path: "probe.bpf.o".into(),
            attach: true,
            max_instructions: max,
            max_growth_percent: None,
        };
        let record = ObjectRecord {
            backend: BackendKind::Libbpf,
            release: "6.1.0".to_owned(),
            error: None,
            programs,
            maps: Vec::new(),
            unrelocated: false,
            together: Some(Step::Done),
        };
        let verdict = verdict(&object, &record);
        assert_eq!((verdict.reason, verdict.message.as_str()), (reason, message));
    }
}
