//! `syncsnoop`: calls of the sync(2) family, on entry.

use kernlab_abi::{
    CALL_FDATASYNC, CALL_FSYNC, CALL_MSYNC, CALL_SYNC, CALL_SYNC_FILE_RANGE, CALL_SYNCFS,
    EventHeader, ProgramConfig, SyncEvent,
};

use super::definition::{Definition, EventType, RawEvent, Wants, listed};
use crate::{
    attach::{AttachPoint, tracepoint},
    decoder::{DecodeError, Decoder},
    event::{Action, SyncCall},
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "syncsnoop",
    scenarios: &[listed("every_call", "each call of the sync(2) family once")],
    wants,
    attach,
    event: EventType::of::<SyncEvent>(),
};

/// The entries of the calls: the first thing that can be seen of them, and the last that can be
/// relied on. 7.3 inlines `vfs_fsync_range` into fsync(2), fs/sync.c.
const TRACEPOINTS: [&str; 6] = [
    "sys_enter_sync",
    "sys_enter_syncfs",
    "sys_enter_fsync",
    "sys_enter_fdatasync",
    "sys_enter_msync",
    "sys_enter_sync_file_range",
];

fn wants() -> Wants {
    Wants { tracepoints: TRACEPOINTS.to_vec(), ..Wants::default() }
}

/// Every call that the kernel has: one that it lacks can't be made.
fn attach(
    _: &Scenario,
    facts: &KernelFacts,
    _: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let attach: Vec<AttachPoint> = TRACEPOINTS
        .into_iter()
        .filter(|&name| facts.has_tracepoint(name))
        .map(|name| tracepoint(name, name))
        .collect();
    if attach.is_empty() {
        return Err(Unsupported::new(
            Reason::MissingConfig,
            "system calls have no tracepoints: CONFIG_FTRACE_SYSCALLS",
        ));
    }
    Ok(attach)
}

impl SyncCall {
    /// All calls with their number in an event.
    const ALL: [(u32, SyncCall); 6] = [
        (CALL_SYNC, SyncCall::Sync),
        (CALL_SYNCFS, SyncCall::Syncfs),
        (CALL_FSYNC, SyncCall::Fsync),
        (CALL_FDATASYNC, SyncCall::Fdatasync),
        (CALL_MSYNC, SyncCall::Msync),
        (CALL_SYNC_FILE_RANGE, SyncCall::SyncFileRange),
    ];
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for SyncEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn reserved(&self) -> u32 {
        self.reserved
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        let call = SyncCall::ALL
            .into_iter()
            .find_map(|(number, call)| (number == self.call).then_some(call))
            .ok_or(DecodeError::SyncCall(self.call))?;
        Ok(Action::Sync { call })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::{
        super::tests::{decoded, header},
        *,
    };
    use crate::plan::{
        plan,
        tests::{facts, scenario},
    };

    fn call(number: u32) -> Result<Action, DecodeError> {
        let event = SyncEvent { header: header(), call: number, reserved: 0 };
        decoded("syncsnoop/every_call", &event)
    }

    #[rstest]
    #[case::all(&TRACEPOINTS)]
    #[case::some(&["sys_enter_sync", "sys_enter_msync"])]
    fn only_the_sync_calls_of_the_kernel_are_traced(#[case] tracepoints: &[&str]) {
        let tracepoints = tracepoints.iter().map(|&name| name.to_owned()).collect();
        let facts = KernelFacts { tracepoints, ..facts(&[], None) };
        let plan = plan(scenario("syncsnoop/every_call"), &facts).unwrap();
        let programs: BTreeSet<_> = plan.attach.into_iter().map(|point| point.program).collect();
        assert_eq!(programs, facts.tracepoints);
    }

    #[test]
    fn without_tracepoints_of_system_calls_there_is_no_syncsnoop() {
        let refused = plan(scenario("syncsnoop/every_call"), &facts(&[], None)).unwrap_err();
        assert_eq!(refused.reason, Reason::MissingConfig);
    }

    #[test]
    fn every_number_is_one_call_and_no_other_is_guessed() {
        for (number, expected) in SyncCall::ALL {
            assert_eq!(call(number), Ok(Action::Sync { call: expected }));
        }
        let unknown = SyncCall::ALL.len() as u32;
        assert_eq!(call(unknown), Err(DecodeError::SyncCall(unknown)));
    }
}
