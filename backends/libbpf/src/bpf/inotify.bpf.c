/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * The halves of a rename, where the kernel hands them to an inotify group. Which argument is which
 * differs between kernels and comes from the plan.
 */
#include "arch.h"
#include "file.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct InotifyEvent);
} scratch SEC(".maps");

SEC("kprobe")
int inotify_rename(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	struct InotifyEvent *event;
	__u32 zero = 0, mask;
	__u64 name;

	if (!config)
		return 0;
	mask = argument(config, ctx, config->mask_argument);
	if (!(mask & RENAME_MASK))
		return 0;
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		return 0;
	name = argument(config, ctx, config->name_argument);
	if (config->name_kind == NAME_IS_QSTR)
		name = pointer_at(config, name + FIELD_OFFSET(config, qstr, name));
	fill_header(&event->header);
	event->mask = mask;
	event->cookie = argument(config, ctx, config->cookie_argument);
	read_kernel_str(config, event->name, sizeof(event->name), name);
	emit(ctx, event, sizeof(*event));
	return 0;
}
