//! The outcome of anybody's BPF object in a guest: step by step, program by program. The tracer program's
//! command `object` writes it as JSON to its result pipe.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{cell::BackendKind, outcome::Reason};

/// Everything that was seen of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Which loader was used.
    pub backend: BackendKind,
    /// `uname -r`.
    pub release: String,
    /// The object could not be opened, so that nothing is known of its programs and maps; with Aya, which
    /// opens an object and creates its maps in one step, also that it could not do the latter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// Its programs, in the order of the loader. Each was loaded by itself.
    pub programs: Vec<ProgramRecord>,
    /// Its maps.
    pub maps: Vec<MapRecord>,
    /// Loading the whole object, as its author would: those programs that it doesn't mark as optional.
    /// None with Aya, which loads programs one by one anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<Step>,
    /// The loader loads programs whose CO-RE relocations it has not made, for want of type information:
    /// they read where fields were in the kernel that they were compiled for. libbpf refuses them, Aya
    /// doesn't.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unrelocated: bool,
}

/// The outcome of one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramRecord {
    /// Its function's name.
    pub name: String,
    /// Its section.
    pub section: String,
    /// Its type: `kprobe`, `tracing`, ..., as in [`PROGRAM_TYPES`](crate::bpf::PROGRAM_TYPES).
    pub program_type: String,
    /// Opening the object for this program.
    pub open: Step,
    /// Loading the program, with everything that it needs.
    pub load: Step,
    /// Attaching it to where its section says.
    pub attach: Step,
    /// How many instructions the verifier looked at, on all paths together. Also of a program that was
    /// refused, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_instructions: Option<u64>,
    /// How long the kernel took to load or to refuse it, in microseconds: one call of `BPF_PROG_LOAD`
    /// without a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_us: Option<u64>,
    /// The length of the program as the verifier left it, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xlated_bytes: Option<u32>,
    /// The length of its machine code in bytes; none if it is interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jited_bytes: Option<u32>,
    /// The end of the verifier's log, if the verifier refused the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier_log: Option<String>,
    /// What a refused program needs and the kernel lacks, found by trial: `helper bpf_ringbuf_output`, `map
    /// type ringbuf`, `program type lsm`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
}

/// The outcome of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRecord {
    /// Its name.
    pub name: String,
    /// Its type: `hash`, `ringbuf`, ....
    pub map_type: String,
    /// Creating it.
    pub create: Step,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It was done.
    Done,
    /// It failed.
    Failed(StepError),
    /// It was not tried, which is no failure; why not.
    Skipped(String),
}

impl Step {
    /// The outcome of something that was tried.
    pub fn of(result: Result<(), StepError>) -> Step {
        result.map_or_else(Step::Failed, |()| Step::Done)
    }

    /// The error, if it failed.
    pub fn error(&self) -> Option<&StepError> {
        match self {
            Step::Failed(error) => Some(error),
            Step::Done | Step::Skipped(_) => None,
        }
    }
}

/// What a step failed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// What failed.
    pub call: Call,
    /// With which number; none if the loader has no number for it.
    pub errno: Option<i32>,
    /// The loader's words, for people.
    pub message: String,
}

impl fmt::Display for StepError {
    /// `BPF_PROG_LOAD: Permission denied`: the loader's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.message)
    }
}

/// What can fail when an object is loaded and attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Reading the object.
    Open,
    /// Reading the kernel's type information, which is hidden or isn't there.
    KernelBtf,
    /// Looking for the program's function, tracepoint or hook in the kernel's type information.
    FindTarget,
    /// `BPF_BTF_LOAD`.
    BtfLoad,
    /// `BPF_MAP_CREATE`.
    MapCreate,
    /// `BPF_PROG_LOAD`.
    ProgramLoad,
    /// `perf_event_open(2)`.
    PerfEventOpen,
    /// `BPF_RAW_TRACEPOINT_OPEN`.
    RawTracepointOpen,
    /// `BPF_LINK_CREATE`.
    LinkCreate,
    /// Another command of bpf(2).
    OtherBpf,
    /// Something that the loader did itself: a relocation, a file in tracefs, an ioctl(2).
    Loader,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Call::Open => "open",
            Call::KernelBtf => "the kernel's BTF",
            Call::FindTarget => "the target in the kernel's BTF",
            Call::BtfLoad => "BPF_BTF_LOAD",
            Call::MapCreate => "BPF_MAP_CREATE",
            Call::ProgramLoad => "BPF_PROG_LOAD",
            Call::PerfEventOpen => "perf_event_open",
            Call::RawTracepointOpen => "BPF_RAW_TRACEPOINT_OPEN",
            Call::LinkCreate => "BPF_LINK_CREATE",
            Call::OtherBpf => "bpf",
            Call::Loader => "loader",
        })
    }
}

/// `ENOENT` and `ESRCH`: there is nothing of that name.
const NO_SUCH: [i32; 2] = [2, 3];

impl ProgramRecord {
    /// The first step that failed.
    pub fn error(&self) -> Option<&StepError> {
        [&self.open, &self.load, &self.attach].into_iter().find_map(Step::error)
    }

    /// Why it can't be used; none if nothing failed. It follows from what failed with which number, and
    /// from what the kernel was found to lack, never from anybody's words.
    pub fn reason(&self) -> Option<Reason> {
        let error = self.error()?;
        Some(match error.call {
            Call::KernelBtf => Reason::MissingBtf,
            Call::FindTarget => Reason::MissingSymbol,
            _ if self.attach.error().is_some() => match error.errno {
                Some(errno) if NO_SUCH.contains(&errno) => Reason::MissingSymbol,
                _ => Reason::AttachRefused,
            },
            _ if !self.lacking.is_empty() => Reason::HelperUnavailable,
            Call::ProgramLoad if self.verifier_log.is_some() => Reason::VerifierRejected,
            _ => Reason::LoadFailed,
        })
    }
}

impl ObjectRecord {
    /// Why the object can't be used as a whole: that of the first program that can't be; none if all can
    /// be.
    pub fn reason(&self) -> Option<Reason> {
        let opened = self.error.as_ref().map(|error| match error.call {
            Call::KernelBtf => Reason::MissingBtf,
            _ => Reason::LoadFailed,
        });
        let whole = || self.together.as_ref().and_then(Step::error).map(|_| Reason::LoadFailed);
        let unrelocated = || self.unrelocated.then_some(Reason::MissingBtf);
        let by_program = || self.programs.iter().find_map(ProgramRecord::reason);
        opened.or_else(by_program).or_else(whole).or_else(unrelocated)
    }
}

/// How many instructions the verifier looked at, as the last line of its log says: `processed 42 insns
/// (limit 1000000) max_states_per_insn 0 ...`. A measurement that older kernels give nowhere else.
pub fn processed_instructions(log: &str) -> Option<u64> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("processed "))?;
    line.split(' ').next()?.trim_end_matches(',').parse().ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn failed(call: Call, errno: i32) -> Step {
        Step::Failed(StepError { call, errno: Some(errno), message: "no".to_owned() })
    }

    fn record(load: Step, attach: Step) -> ProgramRecord {
        ProgramRecord {
            name: "opened".to_owned(),
            section: "kprobe/vfs_open".to_owned(),
            program_type: "kprobe".to_owned(),
            open: Step::Done,
            load,
            attach,
            verified_instructions: None,
            load_us: None,
            xlated_bytes: None,
            jited_bytes: None,
            verifier_log: None,
            lacking: Vec::new(),
        }
    }

    #[rstest]
    #[case(Step::Done, Step::Done, None)]
    #[case(Step::Done, Step::Skipped("its section names no attach point".to_owned()), None)]
    #[case(failed(Call::KernelBtf, 3), Step::Done, Some(Reason::MissingBtf))]
    #[case(failed(Call::FindTarget, 3), Step::Done, Some(Reason::MissingSymbol))]
    #[case(failed(Call::MapCreate, 22), Step::Done, Some(Reason::LoadFailed))]
    #[case(failed(Call::ProgramLoad, 1), Step::Done, Some(Reason::LoadFailed))]
    #[case(Step::Done, failed(Call::PerfEventOpen, 2), Some(Reason::MissingSymbol))]
    #[case(Step::Done, failed(Call::Loader, 2), Some(Reason::MissingSymbol))]
    #[case(Step::Done, failed(Call::PerfEventOpen, 22), Some(Reason::AttachRefused))]
    #[case(Step::Done, failed(Call::LinkCreate, 95), Some(Reason::AttachRefused))]
    fn the_failed_call_tells_the_reason(
        #[case] load: Step,
        #[case] attach: Step,
        #[case] reason: Option<Reason>,
    ) {
        assert_eq!(record(load, attach).reason(), reason);
    }

    #[rstest]
    #[case(
        "0: (b7) r0 = 0\n1: (95) exit\nprocessed 2 insns (limit 131072), stack depth 0\n",
        Some(2)
    )]
    #[case(
        "verification time 112 usec\nstack depth 0\nprocessed 1000001 insns (limit 1000000) x\n",
        Some(1_000_001)
    )]
    #[case("0: (b7) r0 = 0\n", None)]
    fn the_end_of_a_log_counts_instructions(#[case] log: &str, #[case] expected: Option<u64>) {
        assert_eq!(processed_instructions(log), expected);
    }

    #[test]
    fn a_log_or_something_lacking_tells_why_a_program_was_refused() {
        let mut refused = record(failed(Call::ProgramLoad, 13), Step::Done);
        refused.verifier_log = Some("R1 invalid mem access".to_owned());
        assert_eq!(refused.reason(), Some(Reason::VerifierRejected));
        refused.lacking = vec!["helper bpf_ringbuf_output".to_owned()];
        assert_eq!(refused.reason(), Some(Reason::HelperUnavailable));
    }

    #[test]
    fn a_record_reads_back_what_it_writes() {
        let record = ObjectRecord {
            backend: BackendKind::Libbpf,
            release: "6.1.0".to_owned(),
            error: None,
            programs: vec![record(Step::Done, failed(Call::PerfEventOpen, 2))],
            maps: Vec::new(),
            together: Some(Step::Done),
            unrelocated: false,
        };
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<ObjectRecord>(&json).unwrap(), record);
        assert_eq!(record.reason(), Some(Reason::MissingSymbol));
    }

    #[test]
    fn programs_that_read_at_the_wrong_places_are_not_fine() {
        let record = ObjectRecord {
            backend: BackendKind::Aya,
            release: "6.1.0".to_owned(),
            error: None,
            programs: vec![record(Step::Done, Step::Done)],
            maps: Vec::new(),
            together: None,
            unrelocated: true,
        };
        assert_eq!(record.reason(), Some(Reason::MissingBtf));
    }
}
