/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* All arguments of a function, those on the stack included. */
#include "arch.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct CallEvent);
} scratch SEC(".maps");

SEC("kprobe")
int function_call(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	struct CallEvent *event;
	__u32 zero = 0;

	if (!config)
		return 0;
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		return 0;
	fill_header(&event->header);
#pragma unroll
	for (__u32 n = 1; n <= MAX_ARGUMENTS; n++)
		if (n <= config->argument_count)
			event->arguments[n - 1] = argument(config, ctx, n);
	if (config->text_argument)
		read_kernel_str(config, event->text, sizeof(event->text),
				argument(config, ctx, config->text_argument));
	emit(ctx, event, sizeof(*event));
	return 0;
}
