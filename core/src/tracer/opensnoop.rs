//! `opensnoop`: completed openat(2) calls, whatever came of them.

use kernlab_abi::{EventHeader, OpenEvent, ProgramConfig};

use super::definition::{
    Definition, EventType, RawEvent, SKIPS, Wants, burst, listed, live, on_system_calls,
    probes_functions, refuse_full_pending,
};
use crate::{
    arch::{Arch, SystemCall},
    attach::{AttachPoint, kprobe, kretprobe},
    buffer::BufferKind,
    burst::Burst,
    decoder::{DecodeError, Decoder},
    event::{Action, escape},
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "opensnoop",
    scenarios: &[
        listed(
            "opened",
            "calls of openat(2) that succeed, with their flags; on arm64 one by a tagged pointer",
        ),
        listed("failed_open", "calls that fail, each with its error"),
        listed("long_name", "names up to the longest that is kept"),
        listed("two_at_once", "two threads inside of openat(2) at the same time"),
        listed("high_fd", "descriptors and flags that 16 bits don't hold"),
        burst(
            "full_pending",
            Burst::FULL_PENDING,
            "one more thread inside of openat(2) than there is room for",
        ),
        live(
            "live_ring",
            BufferKind::Ring,
            "large events that must wake their reader while the workload runs",
        ),
        burst(
            "unseen_end",
            Burst::UNSEEN_END,
            "a call whose end the kernel doesn't show: it is counted as lost",
        ),
    ],
    wants,
    attach,
    event: EventType::of::<OpenEvent>(),
};

/// Entry and exit.
const TRACEPOINTS: [&str; 2] = ["sys_enter_openat", "sys_exit_openat"];

fn wants() -> Wants {
    Wants {
        system_calls: vec![SystemCall::Openat],
        symbols: SKIPS.to_vec(),
        tracepoints: TRACEPOINTS.to_vec(),
        ..Wants::default()
    }
}

/// Uses tracepoints, because a thread that blocks in openat(2), on a FIFO for example, holds nothing that
/// others need. Where programs on them are skipped, the syscall function is probed instead. Programs that can
/// be preempted would also share the memory that an event is built in, two of them on one CPU.
fn attach(
    scenario: &Scenario,
    facts: &KernelFacts,
    _: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if probes_functions(scenario, facts) {
        let openat = facts.arch.function_of(SystemCall::Openat);
        if !facts.has_symbol(openat) {
            let message = format!("the kernel has no {openat}");
            return Err(Unsupported::new(Reason::MissingSymbol, message));
        }
        refuse_full_pending(scenario)?;
        return Ok(vec![kprobe("open_entry", openat), kretprobe("open_return", openat)]);
    }
    on_system_calls(TRACEPOINTS.map(|name| (name, name)), facts)
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for OpenEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        let arch = Arch::of_this_program().unwrap_or_default();
        let flags = arch.generic_open_flags(self.flags);
        Ok(Action::Open { name: escape(&self.name), flags, ret: self.ret })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::plan::{
        plan,
        tests::{facts, scenario},
    };

    const BY_TRACEPOINTS: &[&str] =
        &["tracepoint syscalls:sys_enter_openat", "tracepoint syscalls:sys_exit_openat"];
    const BY_FUNCTION: &[&str] = &["kprobe __x64_sys_openat", "kretprobe __x64_sys_openat"];

    #[rstest]
    #[case::before_7_2(&["__x64_sys_openat"], 2, Ok(BY_TRACEPOINTS))]
    #[case::from_7_2(&["__x64_sys_openat", "trace_call_bpf_faultable"], 2, Ok(BY_FUNCTION))]
    #[case::renamed(&["trace_call_bpf_faultable"], 2, Err(Reason::MissingSymbol))]
    #[case::no_tracepoint(&["__x64_sys_openat"], 1, Err(Reason::MissingConfig))]
    fn opens_are_traced_where_programs_are_neither_skipped_nor_preempted(
        #[case] symbols: &[&str],
        #[case] tracepoints: usize,
        #[case] expected: Result<&[&str], Reason>,
    ) {
        let tracepoints = TRACEPOINTS[..tracepoints].iter().map(ToString::to_string).collect();
        let facts = KernelFacts { tracepoints, ..facts(symbols, None) };
        let planned = plan(scenario("opensnoop/opened"), &facts);
        let targets =
            planned.map(|plan| plan.attach.iter().map(|at| at.target.to_string()).collect());
        let expected = expected.map(|targets| targets.iter().map(ToString::to_string).collect());
        assert_eq!(targets.map_err(|error| error.reason), expected.map(|t: Vec<_>| t));
    }
}
