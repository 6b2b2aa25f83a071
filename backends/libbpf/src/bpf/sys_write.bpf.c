/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Completed write(2) calls: the arguments on entry, the result on exit, joined per thread. Either at the
 * tracepoints or at the function behind them; the plan decides.
 */
#include "arch.h"
#include "syscall.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct PendingWrite);
} pending SEC(".maps");

static __always_inline int enter(__s32 fd, __u64 count)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingWrite write = { .count = count, .fd = fd };

	if (!traced_config())
		return 0;
	/* A call of this thread ended unseen, or this one will: user space is told of one event too few. */
	if (bpf_map_lookup_elem(&pending, &thread))
		count_lost(LOST_UNSEEN);
	if (bpf_map_update_elem(&pending, &thread, &write, BPF_ANY))
		count_lost(LOST_PENDING);
	return 0;
}

static __always_inline int leave(void *ctx, __s64 ret)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingWrite *write = bpf_map_lookup_elem(&pending, &thread);
	struct SysWriteEvent event = {};

	if (!write)
		return 0;
	event.count = write->count;
	event.fd = write->fd;
	bpf_map_delete_elem(&pending, &thread);
	event.ret = ret;
	if (event.ret < 0)
		return 0;
	fill_header(&event.header);
	emit(ctx, &event, sizeof(event));
	return 0;
}

SEC("tracepoint")
int sys_enter_write(struct sys_enter *ctx)
{
	return enter(ctx->args[0], ctx->args[2]);
}

SEC("tracepoint")
int sys_exit_write(struct sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("kprobe")
int write_entry(void *ctx)
{
	return enter(register_argument(ctx, 1), register_argument(ctx, 3));
}

SEC("kretprobe")
int write_return(void *ctx)
{
	return leave(ctx, return_value(ctx));
}
