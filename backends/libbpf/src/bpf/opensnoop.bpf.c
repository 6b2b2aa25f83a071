/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Completed openat(2) calls, whatever came of them: the arguments on entry, the name and the result on
 * exit, joined per thread. Either at the tracepoints or at the function behind them; the plan decides.
 *
 * The name is read on exit: by then the kernel itself has read it, so that its page is there.
 */
#include "arch.h"
#include "syscall.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct PendingOpen);
} pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct OpenEvent);
} scratch SEC(".maps");

static __always_inline int enter(__u64 name, __u32 flags)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingOpen call = { .name = name, .flags = flags };

	/* A call of this thread ended unseen, or this one will: user space is told of one event too few. */
	if (bpf_map_lookup_elem(&pending, &thread))
		count_lost(LOST_UNSEEN);
	if (bpf_map_update_elem(&pending, &thread, &call, BPF_ANY))
		count_lost(LOST_PENDING);
	return 0;
}

static __always_inline int leave(void *ctx, __s64 ret)
{
	const struct ProgramConfig *config = traced_config();
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingOpen *call;
	struct OpenEvent *event;
	__u32 zero = 0;
	__u64 name;

	if (!config)
		return 0;
	call = bpf_map_lookup_elem(&pending, &thread);
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!call || !event)
		return 0;
	name = call->name;
	event->flags = call->flags;
	event->ret = ret;
	bpf_map_delete_elem(&pending, &thread);
	read_user_str(config, event->name, sizeof(event->name), name);
	fill_header(&event->header);
	emit(ctx, event, sizeof(*event));
	return 0;
}

SEC("tracepoint")
int sys_enter_openat(struct sys_enter *ctx)
{
	return traced_config() ? enter(ctx->args[1], ctx->args[2]) : 0;
}

SEC("tracepoint")
int sys_exit_openat(struct sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("kprobe")
int open_entry(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	__u64 name, flags;

	if (!config || syscall_argument(config, ctx, 2, &name) ||
	    syscall_argument(config, ctx, 3, &flags))
		return 0;
	return enter(name, flags);
}

SEC("kretprobe")
int open_return(void *ctx)
{
	return leave(ctx, return_value(ctx));
}
