/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Calls of the sync(2) family, on entry: whoever waits for the disk asked for it, done or not. */
#include "tracer.h"

static __always_inline int sync_call(void *ctx, __u32 call)
{
	struct SyncEvent event = { .call = call };

	if (!traced_config())
		return 0;
	fill_header(&event.header);
	emit(ctx, &event, sizeof(event));
	return 0;
}

/* One program per tracepoint: a number of a system call means nothing on another architecture. */
#define SYNC_CALL(name, call)                                                                   \
	SEC("tracepoint")                                                                       \
	int sys_enter_##name(void *ctx)                                                         \
	{                                                                                       \
		return sync_call(ctx, call);                                                    \
	}

SYNC_CALL(sync, CALL_SYNC)
SYNC_CALL(syncfs, CALL_SYNCFS)
SYNC_CALL(fsync, CALL_FSYNC)
SYNC_CALL(fdatasync, CALL_FDATASYNC)
SYNC_CALL(msync, CALL_MSYNC)
SYNC_CALL(sync_file_range, CALL_SYNC_FILE_RANGE)
