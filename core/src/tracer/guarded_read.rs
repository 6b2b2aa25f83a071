//! `guarded_read`: reads of kernel memory at addresses that can't be trusted.

use std::fmt;

use kernlab_abi::{
    EventHeader, ProgramConfig, READ_DONE, READ_REFUSED_BY_GUARD, READ_REFUSED_BY_KERNEL, ReadEvent,
};
use serde::{Deserialize, Serialize};

use super::{Definition, EventType, RawEvent, Wants};
use crate::{
    event::{Action, DecodeError, Decoder},
    facts::KernelFacts,
    plan::{AttachPoint, Unsupported, tracepoint},
    scenario::Scenario,
};

pub(super) const TRACER: Definition = Definition {
    name: "guarded_read",
    scenarios: &["hostile_pointers", "unguarded"],
    wants,
    attach,
    event: EventType::of::<ReadEvent>(),
};

/// The entry of a call that has an argument and next to no effect.
const CALL: &str = "sys_enter_getpgid";

fn wants() -> Wants {
    Wants { tracepoints: vec![CALL], ..Wants::default() }
}

/// The workload hands addresses over as the argument of a system call that does nothing with them.
fn attach(
    scenario: &Scenario,
    _: &KernelFacts,
    _: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let program = if scenario.name == "unguarded" { "unguarded_read" } else { "guarded_read" };
    Ok(vec![tracepoint(program, CALL)])
}

/// What came of an attempt to read kernel memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadOutcome {
    /// These bytes were there, those outside of printable ASCII escaped.
    Read(String),
    /// The program refused the address.
    RefusedByGuard,
    /// The kernel refused the address.
    RefusedByKernel,
}

impl fmt::Display for ReadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadOutcome::Read(bytes) => write!(f, "\"{bytes}\""),
            ReadOutcome::RefusedByGuard => f.write_str("refused by the guard"),
            ReadOutcome::RefusedByKernel => f.write_str("refused by the kernel"),
        }
    }
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for ReadEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        let outcome = match self.outcome {
            READ_DONE => ReadOutcome::Read(self.bytes.escape_ascii().to_string()),
            READ_REFUSED_BY_GUARD => ReadOutcome::RefusedByGuard,
            READ_REFUSED_BY_KERNEL => ReadOutcome::RefusedByKernel,
            other => return Err(DecodeError::ReadOutcome(other)),
        };
        Ok(Action::Read { address: self.address, outcome })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        super::tests::{decoded, header},
        *,
    };

    #[rstest]
    #[case(0, Ok(ReadOutcome::Read("Linux\\x00ve".to_owned())))]
    #[case(1, Ok(ReadOutcome::RefusedByGuard))]
    #[case(2, Ok(ReadOutcome::RefusedByKernel))]
    #[case(3, Err(DecodeError::ReadOutcome(3)))]
    fn an_outcome_is_read_or_refused(
        #[case] outcome: u32,
        #[case] expected: Result<ReadOutcome, DecodeError>,
    ) {
        let bytes = *b"Linux\0ve";
        let event = ReadEvent { header: header(), address: 5, bytes, outcome, reserved: 0 };
        let action = decoded("guarded_read/hostile_pointers", &event);
        assert_eq!(action, expected.map(|outcome| Action::Read { address: 5, outcome }));
    }
}
