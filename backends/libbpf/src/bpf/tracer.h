/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * What all tracers share: their configuration, guarded reads, and the way events leave.
 *
 * Compiled in four variants: KERNLAB_RING or a perf buffer; KERNLAB_CORE or the plan's layout. They
 * are separate objects because 4.18's verifier refuses an unknown helper even in a branch that is
 * never taken.
 */
#pragma once

#include "kernel.h"
#include "abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ProgramConfig);
} config SEC(".maps");

struct {
#ifdef KERNLAB_RING
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
#else
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
#endif
} events SEC(".maps");

/*
 * Events handed to the buffer, whether or not it had room: what user space did not receive of them is
 * lost. A perf buffer's own record of losses comes only with the next event that finds room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} emitted SEC(".maps");

/* The offset of a field: relocated against the kernel's BTF, or taken from the plan. */
#ifdef KERNLAB_CORE
#define FIELD_OFFSET(config, structure, field) bpf_core_field_offset(struct structure, field)
#else
#define FIELD_OFFSET(config, structure, field) ((config)->layout.structure##_##field)
#endif

/* The configuration, if the current process is the traced one. */
static __always_inline const struct ProgramConfig *traced_config(void)
{
	__u32 zero = 0;
	const struct ProgramConfig *found = bpf_map_lookup_elem(&config, &zero);

	if (!found || found->tgid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	return found;
}

/* Both loaders rewrite the call to bpf_probe_read where the kernel lacks bpf_probe_read_kernel. */
static __always_inline int read_kernel(const struct ProgramConfig *config, void *to, __u32 size,
				       __u64 address)
{
	if (address < config->kernel_address_min)
		return -1;
	return bpf_probe_read_kernel(to, size, (const void *)address);
}

static __always_inline void read_kernel_str(const struct ProgramConfig *config, __u8 *to,
					    __u32 size, __u64 address)
{
	to[0] = 0;
	if (address >= config->kernel_address_min)
		bpf_probe_read_kernel_str(to, size, (const void *)address);
}

static __always_inline void fill_header(struct EventHeader *header)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	header->time = bpf_ktime_get_ns();
	header->tgid = pid_tgid >> 32;
	header->tid = pid_tgid;
	bpf_get_current_comm(header->comm, sizeof(header->comm));
}

static __always_inline void emit(void *ctx, void *event, __u64 size)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&emitted, &zero);

	if (count)
		*count += 1;
#ifdef KERNLAB_RING
	bpf_ringbuf_output(&events, event, size, 0);
#else
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, size);
#endif
}

char _license[] SEC("license") = "Dual MIT/GPL";
