/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Completed calls of a function in user space: its arguments on entry, its result on return. */
#include "arch_x86_64.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct PendingCall);
} pending SEC(".maps");

SEC("uprobe")
int user_call(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingCall call;

	if (!config)
		return 0;
#pragma unroll
	for (__u32 n = 1; n <= USER_ARGUMENTS; n++)
		call.arguments[n - 1] = user_argument(config, ctx, n);
	/* Where there is no room, the call is lost. */
	if (bpf_map_update_elem(&pending, &thread, &call, BPF_ANY))
		count_emitted();
	return 0;
}

SEC("uretprobe")
int user_return(void *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingCall *call = bpf_map_lookup_elem(&pending, &thread);
	struct UserCallEvent event;

	if (!call)
		return 0;
#pragma unroll
	for (__u32 n = 0; n < USER_ARGUMENTS; n++)
		event.arguments[n] = call->arguments[n];
	bpf_map_delete_elem(&pending, &thread);
	event.ret = return_value(ctx);
	fill_header(&event.header);
	emit(ctx, &event, sizeof(event));
	return 0;
}
