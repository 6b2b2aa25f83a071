//! Where the programs of `sys_write` go.

use super::{AttachPoint, kprobe, kretprobe, tracepoint};
use crate::facts::KernelFacts;

/// A kernel that has this runs the programs on syscall tracepoints preemptible
/// (kernel/trace/bpf_trace.c, from 7.2 on): while a thread stands inside of one, the others on its CPU
/// go unseen, for whole time slices, and entries without exits are joined with exits without entries.
pub(crate) const FAULTABLE: &str = "trace_call_bpf_faultable";

/// What write(2) calls with its arguments, whichever way it was called: fs/read_write.c.
pub(crate) const KSYS_WRITE: &str = "ksys_write";

/// Tracepoints, because they are stable; where programs on them are skipped, the function behind them,
/// for programs on kprobes can't be preempted.
pub(super) fn attach(facts: &KernelFacts) -> Vec<AttachPoint> {
    if [FAULTABLE, KSYS_WRITE].into_iter().all(|name| facts.has_symbol(name)) {
        return vec![kprobe("write_entry", KSYS_WRITE), kretprobe("write_return", KSYS_WRITE)];
    }
    // The BPF context of a syscall tracepoint has its arguments at 16 on every kernel, whatever the
    // tracepoint's format file says: struct syscall_tp_t, kernel/trace/trace_syscalls.c.
    ["sys_enter_write", "sys_exit_write"].map(|name| tracepoint(name, "syscalls", name)).to_vec()
}
