/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Sockets at the moment that they get their file. */
#include "arch.h"

#ifdef KERNLAB_CORE
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct proto_ops {
	int family;
};

struct socket {
	short type;
	const struct proto_ops *ops;
};

#pragma clang attribute pop
#endif

SEC("kprobe")
int sock_alloc(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	struct SockAllocEvent event = {};
	__u64 socket, ops;
	__u32 family;

	if (!config)
		return 0;
	socket = argument(config, ctx, 1);
	ops = pointer_at(config, socket + FIELD_OFFSET(config, socket, ops));
	if (read_kernel(config, &event.socket_type, sizeof(event.socket_type),
			socket + FIELD_OFFSET(config, socket, type)) ||
	    read_kernel(config, &family, sizeof(family),
			ops + FIELD_OFFSET(config, proto_ops, family)))
		return 0;
	event.family = family;
	fill_header(&event.header);
	emit(ctx, &event, sizeof(event));
	return 0;
}
