/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Completed write(2) calls: the arguments on entry, the result on exit, joined per thread. */
#include "tracer.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct PendingWrite);
} pending SEC(".maps");

/*
 * struct syscall_tp_t, kernel/trace/trace_syscalls.c: what BPF sees of a syscall tracepoint, on
 * every kernel, whatever the tracepoint's format file says.
 */
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

SEC("tracepoint")
int sys_enter_write(struct sys_enter *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingWrite write = { .count = ctx->args[2], .fd = ctx->args[0] };

	if (traced_config())
		bpf_map_update_elem(&pending, &thread, &write, BPF_ANY);
	return 0;
}

SEC("tracepoint")
int sys_exit_write(struct sys_exit *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingWrite *write = bpf_map_lookup_elem(&pending, &thread);
	struct SysWriteEvent event = {};

	if (!write)
		return 0;
	event.count = write->count;
	event.fd = write->fd;
	bpf_map_delete_elem(&pending, &thread);
	event.ret = ctx->ret;
	if (event.ret < 0)
		return 0;
	fill_header(&event.header);
	emit(ctx, &event, sizeof(event));
	return 0;
}
