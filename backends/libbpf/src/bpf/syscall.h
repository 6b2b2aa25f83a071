/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * What BPF sees of a syscall tracepoint, on every kernel, whatever the tracepoint's format file says:
 * struct syscall_tp_t and syscall_trace_enter, kernel/trace/trace_syscalls.c.
 */
#pragma once

#include "kernel.h"

struct sys_enter {
	__u64 reserved;
	__u64 number;
	__u64 args[6];
};

struct sys_exit {
	__u64 reserved;
	__u64 number;
	__s64 ret;
};
