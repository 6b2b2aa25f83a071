//! `guarded_read`: reads of kernel memory at addresses that can't be trusted.

use kernlab_abi::{
    EventHeader, ProgramConfig, READ_DONE, READ_LEN, READ_REFUSED_BY_GUARD, READ_REFUSED_BY_KERNEL,
    ReadEvent,
};

use super::definition::{Definition, EventType, RawEvent, Wants, listed, on_system_calls};
use crate::{
    attach::AttachPoint,
    decoder::{DecodeError, Decoder},
    event::{Action, ReadOutcome},
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "guarded_read",
    scenarios: &[
        listed(
            "hostile_pointers",
            "addresses that no program may read: user space, not canonical, not mapped",
        ),
        listed(
            "unguarded",
            "the same read without a guard, at addresses that every kernel refuses itself",
        ),
    ],
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
    facts: &KernelFacts,
    _: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    // The workload needs an address whose content it knows: the kernel's banner.
    if !facts.lists_data() && !facts.kcore {
        let message = "the symbol table does not list linux_banner, and there is no /proc/kcore to \
                       look for it: CONFIG_KALLSYMS_ALL, CONFIG_PROC_KCORE";
        return Err(Unsupported::new(Reason::MissingConfig, message));
    }
    let program = if scenario.name == "unguarded" { "unguarded_read" } else { "guarded_read" };
    on_system_calls([(program, CALL)], facts)
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for ReadEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn reserved(&self) -> u32 {
        self.reserved
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        let outcome = match self.outcome {
            READ_DONE => ReadOutcome::Read(self.bytes.escape_ascii().to_string()),
            READ_REFUSED_BY_GUARD | READ_REFUSED_BY_KERNEL if self.bytes != [0; READ_LEN] => {
                return Err(DecodeError::RefusedRead(self.bytes));
            }
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
    #[case(0, *b"Linux\0ve", Ok(ReadOutcome::Read("Linux\\x00ve".to_owned())))]
    #[case(1, [0; 8], Ok(ReadOutcome::RefusedByGuard))]
    #[case(2, [0; 8], Ok(ReadOutcome::RefusedByKernel))]
    #[case(1, *b"Linux\0ve", Err(DecodeError::RefusedRead(*b"Linux\0ve")))]
    #[case(2, *b"Linux\0ve", Err(DecodeError::RefusedRead(*b"Linux\0ve")))]
    #[case(3, [0; 8], Err(DecodeError::ReadOutcome(3)))]
    fn an_outcome_is_read_or_refused(
        #[case] outcome: u32,
        #[case] bytes: [u8; READ_LEN],
        #[case] expected: Result<ReadOutcome, DecodeError>,
    ) {
        let event = ReadEvent { header: header(), address: 5, bytes, outcome, reserved: 0 };
        let action = decoded("guarded_read/hostile_pointers", &event);
        assert_eq!(action, expected.map(|outcome| Action::Read { address: 5, outcome }));
    }
}
