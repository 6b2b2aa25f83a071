//! `sys_write`: completed write(2) calls, joined from entry and exit.

use kernlab_abi::{EventHeader, ProgramConfig, SysWriteEvent};

use super::definition::{
    Definition, EventType, RawEvent, SKIPS, Wants, burst, listed, live, on_system_calls,
    probes_functions, refuse_full_pending, refuse_unseen_end, through,
};
use crate::{
    attach::{AttachPoint, kprobe, kretprobe},
    buffer::BufferKind,
    burst::Burst,
    decoder::{DecodeError, Decoder},
    event::Action,
    facts::KernelFacts,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "sys_write",
    scenarios: &[
        listed("files_and_pipes", "writes to files and pipes, with their results"),
        listed("failed_write", "writes that fail: no event, and nothing left behind"),
        listed("threads", "threads that are inside of write(2) at the same time"),
        listed(
            "moved_thread",
            "a thread that goes to another processor between calls, and inside of one",
        ),
        through(
            "moved_perf",
            BufferKind::Perf,
            "the same through the perf buffers of those processors",
        ),
        burst(
            "burst_ring",
            Burst::RING,
            "a burst of writes by many threads, through a ring buffer",
        ),
        burst("burst_perf", Burst::PERF, "the same through a perf buffer"),
        burst(
            "overflow_ring",
            Burst::OVERFLOW_RING,
            "more than a ring buffer holds: every lost event is counted",
        ),
        burst(
            "overflow_perf",
            Burst::OVERFLOW_PERF,
            "more than a perf buffer holds: every lost event is counted",
        ),
        live(
            "live_ring",
            BufferKind::Ring,
            "events that must wake their reader while the workload runs: ring buffer",
        ),
        live("live_perf", BufferKind::Perf, "the same through a perf buffer"),
        listed("killed_inside", "threads that are killed inside of write(2), by an exec"),
        burst(
            "full_pending",
            Burst::FULL_PENDING,
            "one more thread inside of write(2) than there is room for",
        ),
        burst(
            "unseen_end",
            Burst::UNSEEN_END,
            "a write whose end the kernel doesn't show: it is counted as lost",
        ),
    ],
    wants,
    attach,
    event: EventType::of::<SysWriteEvent>(),
};

/// What write(2) calls with its arguments, whichever way it was called: fs/read_write.c.
const KSYS_WRITE: &str = "ksys_write";

const TRACEPOINTS: [&str; 2] = ["sys_enter_write", "sys_exit_write"];

fn wants() -> Wants {
    Wants {
        functions: vec![KSYS_WRITE],
        symbols: SKIPS.to_vec(),
        tracepoints: TRACEPOINTS.to_vec(),
        ..Wants::default()
    }
}

/// Tracepoints, because they are stable; where programs on them are skipped, the function behind them,
/// for programs on kprobes can't be preempted.
fn attach(
    scenario: &Scenario,
    facts: &KernelFacts,
    _: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if probes_functions(scenario, facts) && facts.has_symbol(KSYS_WRITE) {
        refuse_full_pending(scenario)?;
        return Ok(vec![kprobe("write_entry", KSYS_WRITE), kretprobe("write_return", KSYS_WRITE)]);
    }
    refuse_unseen_end(scenario)?;
    // The BPF context of a syscall tracepoint has its arguments at 16 on every kernel, whatever the
    // tracepoint's format file says: struct syscall_tp_t, kernel/trace/trace_syscalls.c.
    on_system_calls(TRACEPOINTS.map(|name| (name, name)), facts)
}

// SAFETY: integers.
unsafe impl RawEvent for SysWriteEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn reserved(&self) -> u32 {
        self.reserved
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        Ok(Action::Write { fd: self.fd, count: self.count, ret: self.ret })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{
        outcome::Reason,
        plan::{
            plan,
            tests::{facts, scenario},
        },
    };

    const BY_TRACEPOINTS: &[&str] =
        &["tracepoint syscalls:sys_enter_write", "tracepoint syscalls:sys_exit_write"];
    const FUNCTION: &[&str] = &["kprobe ksys_write", "kretprobe ksys_write"];

    #[rstest]
    #[case::before_7_2("threads", &["ksys_write"], BY_TRACEPOINTS)]
    #[case::from_7_2("threads", &["ksys_write", "trace_call_bpf_faultable"], FUNCTION)]
    #[case::perf_buffer("burst_perf", &["ksys_write"], BY_TRACEPOINTS)]
    #[case::real_time("burst_perf", &["ksys_write", "rt_spin_lock"], FUNCTION)]
    #[case::ring_of_real_time("burst_ring", &["ksys_write", "rt_spin_lock"], BY_TRACEPOINTS)]
    #[case::renamed("threads", &["trace_call_bpf_faultable"], BY_TRACEPOINTS)]
    fn writes_are_traced_where_no_program_is_skipped(
        #[case] name: &str,
        #[case] symbols: &[&str],
        #[case] expected: &[&str],
    ) {
        let scenario = scenario(&format!("sys_write/{name}"));
        let plan = plan(scenario, &facts(symbols, None)).unwrap();
        let targets: Vec<_> = plan.attach.iter().map(|point| point.target.to_string()).collect();
        assert_eq!(targets, expected);
    }

    #[test]
    fn only_return_probes_miss_ends() {
        let unseen =
            |symbols: &[&str]| plan(scenario("sys_write/unseen_end"), &facts(symbols, None));
        let attach = unseen(&["ksys_write"]).unwrap().attach;
        let targets: Vec<_> = attach.iter().map(|point| point.target.to_string()).collect();
        assert_eq!(targets, FUNCTION);
        assert_eq!(unseen(&[]).unwrap_err().reason, Reason::MissingSymbol);
    }

    #[test]
    fn without_tracepoints_there_is_nothing_to_attach_to() {
        let mut facts = facts(&["ksys_write"], None);
        facts.tracepoints.remove("sys_exit_write");
        let refused = plan(scenario("sys_write/threads"), &facts);
        assert_eq!(refused.unwrap_err().reason, Reason::MissingConfig);
    }
}
