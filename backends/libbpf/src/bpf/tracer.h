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
 * Events that user space should receive, whether or not there was room for them: those that it did not
 * are lost. A perf buffer's own record of losses comes only with the next event that finds room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EMITTED_SLOTS);
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

/* An address is not one to read. Helpers return 0 or a negative number. */
#define REFUSED_BY_GUARD 1

/* Both loaders rewrite the calls to bpf_probe_read where the kernel lacks bpf_probe_read_kernel. */
static __always_inline int read_kernel(const struct ProgramConfig *config, void *to, __u32 size,
				       __u64 address)
{
	if (address < config->kernel_address_min)
		return REFUSED_BY_GUARD;
	return bpf_probe_read_kernel(to, size, (const void *)address);
}

/* Whether an address can belong to the traced process. Its tag is for the helper to judge. */
static __always_inline int is_user(const struct ProgramConfig *config, __u64 address)
{
	return (address & ~config->user_address_tag) < config->user_address_end;
}

/* As read_kernel, for the memory of the traced process. */
static __always_inline int read_user(const struct ProgramConfig *config, void *to, __u32 size,
				     __u64 address)
{
	if (!is_user(config, address))
		return REFUSED_BY_GUARD;
	return bpf_probe_read_user(to, size, (const void *)address);
}

/* The pointer at `address`; 0 if it can't be read. */
static __always_inline __u64 pointer_at(const struct ProgramConfig *config, __u64 address)
{
	__u64 value;

	return read_kernel(config, &value, sizeof(value), address) ? 0 : value;
}

static __always_inline void read_kernel_str(const struct ProgramConfig *config, __u8 *to,
					    __u32 size, __u64 address)
{
	to[0] = 0;
	if (address >= config->kernel_address_min)
		bpf_probe_read_kernel_str(to, size, (const void *)address);
}

/* As read_kernel_str, for the memory of the traced process. */
static __always_inline void read_user_str(const struct ProgramConfig *config, __u8 *to, __u32 size,
					  __u64 address)
{
	to[0] = 0;
	if (is_user(config, address))
		bpf_probe_read_user_str(to, size, (const void *)address);
}

static __always_inline void fill_header(struct EventHeader *header)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	header->time = bpf_ktime_get_ns();
	header->tgid = pid_tgid >> 32;
	header->tid = pid_tgid;
	bpf_get_current_comm(header->comm, sizeof(header->comm));
}

static __always_inline void count_in(__u32 slot)
{
	__u64 *count = bpf_map_lookup_elem(&emitted, &slot);

	if (count)
		/* From 7.2 on another program may interrupt one on a syscall tracepoint. */
		__sync_fetch_and_add(count, 1);
}

static __always_inline void count_emitted(void)
{
	count_in(EMITTED);
}

/* An event that user space should receive, and why it won't: LOST_... */
static __always_inline void count_lost(__u32 cause)
{
	count_in(EMITTED);
	count_in(cause);
}

static __always_inline void emit(void *ctx, void *event, __u64 size)
{
	count_emitted();
#ifdef KERNLAB_RING
	bpf_ringbuf_output(&events, event, size, 0);
#else
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, size);
#endif
}

char _license[] SEC("license") = "Dual MIT/GPL";
