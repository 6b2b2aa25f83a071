//! Reads what a cell's tracer left on the host, and checks whether it can be trusted.

use kernlab_core::{
    cell::Cell,
    outcome::{Outcome, Reason, Verdict},
    record::Record,
};

use super::last_lines::{Stream, last_lines};
use crate::lab::{Exit, JobOutput};

/// The record that the tracer left of a cell, or the verdict if there is none to trust.
pub(super) fn record(output: &JobOutput, cell: &Cell) -> Result<Record, Verdict> {
    let died = |message: String| {
        let message = message + &last_lines(Stream::Stderr, &output.stderr);
        Verdict::because(Outcome::Fail, Reason::TracerDied, message)
    };
    match output.exit {
        Exit::Deadline => {
            let message = format!(
                "the scenario exceeded its timeout and was killed; the host ran the guest for {}",
                output.cpu_time
            );
            return Err(Verdict::because(Outcome::Timeout, Reason::DeadlineExceeded, message));
        }
        Exit::Signal(signal) => {
            return Err(died(format!("the tracer was killed by signal {signal}")));
        }
        Exit::Code(0) => {}
        Exit::Code(code) => return Err(died(format!("the tracer exited with code {code}"))),
    }
    if output.stuck {
        let message =
            "the tracer ended, and the guest's kernel holds a process that it left running";
        return Err(died(message.to_owned()));
    }
    if output.killed > 0 {
        return Err(died(format!("the tracer left {} processes running", output.killed)));
    }
    let record: Record = serde_json::from_slice(&output.result).map_err(|error| {
        let dropped = match output.dropped {
            0 => String::new(),
            bytes => format!(" ({bytes} bytes of output exceeded the limit and were dropped)"),
        };
        died(format!("the tracer's record can't be read: {error}{dropped}"))
    })?;
    if !record.is_of(cell) {
        let Record { backend, scenario, .. } = record;
        let asked = format!("expected {} under {}", cell.scenario, cell.backend);
        return Err(died(format!("the record is of {scenario} under {backend}: {asked}")));
    }
    Ok(record)
}

/// The stages of a trace, each with its milliseconds.
pub(crate) fn stages_in_the_guest(
    output: &JobOutput,
    record: &Record,
) -> impl Iterator<Item = (String, u64)> {
    // The guest's numbers can be anything.
    let measured = record.stages_us.values().fold(0_u64, |sum, us| sum.saturating_add(*us));
    let all = u64::try_from(output.guest_duration.as_micros()).unwrap_or(u64::MAX);
    let stages = record.stages_us.iter().map(|(stage, us)| (stage.clone(), *us));
    // The rest is the program's start before the first stage, and its end after the last one.
    let rest = ("start and end".to_owned(), all.saturating_sub(measured));
    stages.chain([rest]).map(|(stage, us)| (format!("trace/{stage}"), us / 1000))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use kernlab_core::{cell::BackendKind, plan::Unsupported, record::Decision};
    use rstest::rstest;

    use super::*;
    use crate::lab::CpuTime;

    fn output(exit: Exit, result: &[u8]) -> JobOutput {
        JobOutput {
            exit,
            stdout: vec![],
            stderr: b"thread main panicked\n".to_vec(),
            result: result.to_vec(),
            dropped: 0,
            killed: 0,
            stuck: false,
            duration: Duration::ZERO,
            cpu_time: CpuTime::default(),
            guest_duration: Duration::ZERO,
        }
    }

    fn cell() -> Cell {
        "debian-6.1/masked/aya/sys_write/threads".parse().unwrap()
    }

    fn record_of(backend: BackendKind, scenario: &str) -> Vec<u8> {
        let refusal = Unsupported { reason: Reason::MissingSymbol, message: "no f".to_owned() };
        let record = Record {
            backend,
            scenario: scenario.to_owned(),
            release: "6.1.0".to_owned(),
            discovered: None,
            decision: Decision::Unsupported(refusal),
            observation: None,
            stages_us: BTreeMap::new(),
        };
        serde_json::to_vec(&record).unwrap()
    }

    #[test]
    fn times_of_any_size_have_a_sum() {
        let output = output(Exit::Code(0), &[]);
        let mut record: Record =
            serde_json::from_slice(&record_of(BackendKind::Aya, "sys_write/threads")).unwrap();
        record.stages_us = ["load", "attach"].map(|stage| (stage.to_owned(), u64::MAX)).into();
        let stages: BTreeMap<_, _> = stages_in_the_guest(&output, &record).collect();
        assert_eq!(stages["trace/load"], u64::MAX / 1000);
        assert_eq!(stages["trace/start and end"], 0);
    }

    #[rstest]
    #[case::right(BackendKind::Aya, "sys_write/threads", None)]
    #[case::backend(
        BackendKind::Libbpf,
        "sys_write/threads",
        Some("of sys_write/threads under libbpf: expected sys_write/threads under aya")
    )]
    #[case::scenario(
        BackendKind::Aya,
        "sys_write/failed_write",
        Some("of sys_write/failed_write under aya")
    )]
    fn a_record_is_of_its_cell(
        #[case] backend: BackendKind,
        #[case] scenario: &str,
        #[case] expected: Option<&str>,
    ) {
        let output = output(Exit::Code(0), &record_of(backend, scenario));
        match (record(&output, &cell()), expected) {
            (Ok(_), None) => {}
            (Err(verdict), Some(expected)) => {
                assert_eq!(verdict.reason, Some(Reason::TracerDied));
                assert!(verdict.message.contains(expected), "{}", verdict.message);
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::running(|output: &mut JobOutput| output.killed = 2, "left 2 processes running")]
    #[case::stuck(|output: &mut JobOutput| output.stuck = true, "the guest's kernel holds a process")]
    #[case::cut(
        |output: &mut JobOutput| {
            output.result.truncate(40);
            output.dropped = 7;
        },
        "(7 bytes of output exceeded the limit and were dropped)"
    )]
    fn what_a_tracer_leaves_is_no_pass(#[case] change: fn(&mut JobOutput), #[case] expected: &str) {
        let mut output = output(Exit::Code(0), &record_of(BackendKind::Aya, "sys_write/threads"));
        change(&mut output);
        let verdict = record(&output, &cell()).unwrap_err();
        assert_eq!((verdict.outcome, verdict.reason), (Outcome::Fail, Some(Reason::TracerDied)));
        assert!(verdict.message.contains(expected), "{}", verdict.message);
    }

    #[rstest]
    #[case::killed(
        Exit::Signal(11),
        b"",
        Reason::TracerDied,
        "the tracer was killed by signal 11; stderr:\nthread main panicked"
    )]
    #[case::failed(Exit::Code(101), b"", Reason::TracerDied, "the tracer exited with code 101")]
    #[case::silent(Exit::Code(0), b"", Reason::TracerDied, "the tracer's record can't be read")]
    #[case::garbage(Exit::Code(0), b"{]", Reason::TracerDied, "the tracer's record can't be read")]
    #[case::endless(Exit::Deadline, b"", Reason::DeadlineExceeded, "exceeded its timeout")]
    fn a_tracer_that_dies_is_no_pass(
        #[case] exit: Exit,
        #[case] result: &[u8],
        #[case] reason: Reason,
        #[case] message: &str,
    ) {
        let verdict = record(&output(exit, result), &cell()).unwrap_err();
        assert_eq!(verdict.reason, Some(reason));
        assert!(verdict.message.contains(message), "{}", verdict.message);
    }
}
