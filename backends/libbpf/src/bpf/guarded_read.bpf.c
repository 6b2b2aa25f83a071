/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Reads kernel memory at an address that the traced process chose: the argument of a system call that
 * does nothing with it.
 */
#include "tracer.h"
#include "syscall.h"

/* `status` is what the attempt returned. */
static __always_inline int report(void *ctx, __u64 address, __u64 bytes, int status)
{
	struct ReadEvent event = { .address = address };

	if (status == REFUSED_BY_GUARD)
		event.outcome = READ_REFUSED_BY_GUARD;
	else
		event.outcome = status ? READ_REFUSED_BY_KERNEL : READ_DONE;
	_Static_assert(sizeof(bytes) == sizeof(event.bytes), "as many bytes as a register has");
	__builtin_memcpy(event.bytes, &bytes, sizeof(bytes));
	fill_header(&event.header);
	emit(ctx, &event, sizeof(event));
	return 0;
}

SEC("tracepoint")
int guarded_read(struct sys_enter *ctx)
{
	const struct ProgramConfig *config = traced_config();
	__u64 address = ctx->args[0], bytes = 0;
	int status;

	if (!config)
		return 0;
	status = read_kernel(config, &bytes, sizeof(bytes), address);
	return report(ctx, address, bytes, status);
}

/* What all other programs never do: see kernel_address_min. */
SEC("tracepoint")
int unguarded_read(struct sys_enter *ctx)
{
	__u64 address = ctx->args[0], bytes = 0;
	int status;

	if (!traced_config())
		return 0;
	status = bpf_probe_read_kernel(&bytes, sizeof(bytes), (const void *)address);
	return report(ctx, address, bytes, status);
}
