/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Completed calls of a function in user space: its arguments on entry, its result on return.
 *
 * Programs on probes in user space can be preempted, and since 6.13 those that need 64 bytes of stack share
 * one with every other program of their kind on the same CPU (bpf_enable_priv_stack, kernel/bpf/verifier.c):
 * the next thread's call would overwrite this one's. So an event is built in the call's own entry.
 */
#include "arch.h"

/* Never written to: what an entry begins as. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct UserCallEvent);
} blank SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, struct UserCallKey);
	__type(value, struct UserCallEvent);
} pending SEC(".maps");

SEC("uprobe")
int user_call(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	struct UserCallKey key;
	const struct UserCallEvent *begin;
	struct UserCallEvent *call;
	__u32 zero = 0;

	if (!config)
		return 0;
	begin = bpf_map_lookup_elem(&blank, &zero);
	if (!begin)
		return 0;
	key.thread = bpf_get_current_pid_tgid();
	key.stack = stack_of_caller(ctx);
	/*
	 * A call that was left by longjmp(3), or that has jumped here and will end with the same return. Its
	 * result goes unseen, so that is lost.
	 */
	if (!bpf_map_delete_elem(&pending, &key))
		count_lost(LOST_UNSEEN);
	/* Where there is no room, the call is lost. */
	if (bpf_map_update_elem(&pending, &key, begin, BPF_ANY)) {
		count_lost(LOST_PENDING);
		return 0;
	}
	call = bpf_map_lookup_elem(&pending, &key);
	if (!call)
		return 0;
#pragma unroll
	for (__u32 n = 1; n <= USER_ARGUMENTS; n++)
		call->arguments[n - 1] = user_argument(config, ctx, n);
	return 0;
}

SEC("uretprobe")
int user_return(void *ctx)
{
	struct UserCallKey key = {
		.thread = bpf_get_current_pid_tgid(),
		.stack = stack_on_return(ctx),
	};
	struct UserCallEvent *call = bpf_map_lookup_elem(&pending, &key);

	if (!call)
		return 0;
	call->ret = return_value(ctx);
	fill_header(&call->header);
	emit(ctx, call, sizeof(*call));
	bpf_map_delete_elem(&pending, &key);
	return 0;
}
