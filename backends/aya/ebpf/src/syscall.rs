//! What BPF sees of a syscall tracepoint, on every kernel, whatever the tracepoint's format file says:
//! `struct syscall_tp_t` and `syscall_trace_enter`, kernel/trace/trace_syscalls.c.

/// Offset of the first argument in the context of `sys_enter_*`; each argument has eight bytes.
pub const ARGUMENTS: usize = 16;

/// Offset of the return value in the context of `sys_exit_*`: eight bytes.
pub const RETURNED: usize = 16;
