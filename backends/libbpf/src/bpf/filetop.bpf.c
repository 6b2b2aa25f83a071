/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * What each thread reads from and writes to each file, counted in the kernel: the file on entry of
 * vfs_read and vfs_write, the result where they or the system call end. Calls that fail don't count,
 * and bytes are those that were transferred, not those that were asked for.
 *
 * A counter belongs to one thread, which is in one call at a time, so nothing is counted twice or
 * overwritten, and no addition needs to be atomic.
 */
#include "arch.h"
#include "file.h"
#include "syscall.h"

/* The transfer is too large for the stack. A kprobe isn't preempted, so the slot is ours. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct PendingTransfer);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct PendingTransfer);
} pending SEC(".maps");

/* Read by the loader at the end of the session. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TOTALS);
	__type(key, struct FileKey);
	__type(value, struct FileTotals);
} totals SEC(".maps");

SEC("kprobe")
int transfer_enter(void *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	const struct ProgramConfig *config = traced_config();
	struct PendingTransfer *transfer;
	__u64 file, inode, super_block;
	__u32 zero = 0;
	__u16 mode = 0;

	if (!config)
		return 0;
	/* Up to 5.9 the kernel reads programs and modules for itself in this way. */
	if (argument(config, ctx, 2) >= config->kernel_address_min)
		return 0;
	transfer = bpf_map_lookup_elem(&scratch, &zero);
	if (!transfer)
		return 0;
	/* The end of the thread's last call was not seen, so that is lost. */
	if (bpf_map_lookup_elem(&pending, &thread))
		count_lost(LOST_UNSEEN);

	file = argument(config, ctx, 1);
	inode = pointer_at(config, file + FIELD_OFFSET(config, file, f_inode));
	super_block = pointer_at(config, inode + FIELD_OFFSET(config, inode, i_sb));
	transfer->key.thread = thread;
	transfer->key.inode = pointer_at(config, inode + FIELD_OFFSET(config, inode, i_ino));
	transfer->key.device = 0;
	read_kernel(config, &transfer->key.device, sizeof(transfer->key.device),
		    super_block + FIELD_OFFSET(config, super_block, s_dev));

	read_kernel(config, &mode, sizeof(mode), inode + FIELD_OFFSET(config, inode, i_mode));
	transfer->totals.mode = mode;
	dentry_name(config, transfer->totals.name, sizeof(transfer->totals.name),
		    pointer_at(config, file + FIELD_OFFSET(config, file, f_path) +
					       FIELD_OFFSET(config, path, dentry)));
	fill_header(&transfer->totals.header);
	/* Where there is no room, the call is lost. */
	if (bpf_map_update_elem(&pending, &thread, transfer, BPF_ANY))
		count_lost(LOST_PENDING);
	return 0;
}

/* The counters of the call that ends, if it did not fail. */
static __always_inline struct FileTotals *ended_transfer(__s64 ret)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct PendingTransfer *transfer = bpf_map_lookup_elem(&pending, &thread);
	struct FileTotals *found = 0;
	struct FileKey key;

	if (!transfer)
		return 0;
	if (ret >= 0) {
		key = transfer->key;
		found = bpf_map_lookup_elem(&totals, &key);
		if (!found) {
			/* One record more for the loader, or one call lost if there is no room. */
			count_emitted();
			bpf_map_update_elem(&totals, &key, &transfer->totals, BPF_NOEXIST);
			found = bpf_map_lookup_elem(&totals, &key);
			if (!found)
				count_in(LOST_TOTALS);
		}
	}
	bpf_map_delete_elem(&pending, &thread);
	return found;
}

static __always_inline int ended_read(__s64 ret)
{
	struct FileTotals *file = ended_transfer(ret);

	if (file) {
		file->reads += 1;
		file->bytes_read += ret;
	}
	return 0;
}

static __always_inline int ended_write(__s64 ret)
{
	struct FileTotals *file = ended_transfer(ret);

	if (file) {
		file->writes += 1;
		file->bytes_written += ret;
	}
	return 0;
}

/* The system call ends, or where the plan prefers that, the function. */

SEC("tracepoint")
int read_exit(struct sys_exit *ctx)
{
	return ended_read(ctx->ret);
}

SEC("tracepoint")
int write_exit(struct sys_exit *ctx)
{
	return ended_write(ctx->ret);
}

SEC("kretprobe")
int read_return(void *ctx)
{
	return ended_read(return_value(ctx));
}

SEC("kretprobe")
int write_return(void *ctx)
{
	return ended_write(return_value(ctx));
}
