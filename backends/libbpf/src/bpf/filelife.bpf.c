/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Files that are created and unlinked, with the time between. A file is known by the address of its
 * dentry, which is the same from creation to unlink, whatever it is renamed to.
 */
#include "arch.h"
#include "file.h"

/* When each file was created. One whose creation fails in the end stays here, and is overwritten if
 * that dentry gets a file after all. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BIRTHS);
	__type(key, __u64);
	__type(value, __u64);
} births SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct PendingUnlink);
} pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct FileLifeEvent);
} scratch SEC(".maps");

static __always_inline void born(__u64 dentry)
{
	__u64 now = bpf_ktime_get_ns();

	/* Where there is no room, the file's end will go unreported. */
	if (dentry && bpf_map_update_elem(&births, &dentry, &now, BPF_ANY))
		count_lost(LOST_BIRTHS);
}

/* The inode of the directory that a dentry is in. */
static __always_inline __u64 directory_of(const struct ProgramConfig *config, __u64 dentry)
{
	__u64 parent = pointer_at(config, dentry + FIELD_OFFSET(config, dentry, d_parent));

	return pointer_at(config, parent + FIELD_OFFSET(config, dentry, d_inode));
}

/* Does nothing exist yet by a dentry's name, and would that be in a directory? */
static __always_inline int is_vacant(const struct ProgramConfig *config, __u64 dentry)
{
	__u64 inode;
	__u16 mode;

	if (read_kernel(config, &inode, sizeof(inode),
			dentry + FIELD_OFFSET(config, dentry, d_inode)) || inode)
		return 0;
	inode = directory_of(config, dentry);
	if (read_kernel(config, &mode, sizeof(mode), inode + FIELD_OFFSET(config, inode, i_mode)))
		return 0;
	return (mode & KIND_MASK) == KIND_DIRECTORY;
}

/*
 * security_inode_create(dir, dentry, mode), where open(2) tells nothing, and in the scenario failed_unlink. A
 * file that is there already is mistaken for new if the kernel has yet to look it up: it asks for permission first
 * (lookup_open, fs/namei.c).
 */
SEC("kprobe")
int create_allowed(void *ctx)
{
	const struct ProgramConfig *config = traced_config();

	if (config)
		born(argument(config, ctx, 2));
	return 0;
}

/* vfs_open(path, file) */
SEC("kprobe")
int open_created(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	__u32 mode = 0;

	if (!config)
		return 0;
	read_kernel(config, &mode, sizeof(mode),
		    argument(config, ctx, 2) + FIELD_OFFSET(config, file, f_mode));
	if (mode & FMODE_CREATED)
		born(pointer_at(config, argument(config, ctx, 1) +
						FIELD_OFFSET(config, path, dentry)));
	return 0;
}

/*
 * vfs_create(dir, dentry, ...) up to 5.11, (idmap, dir, dentry, ...) up to 6.18 with a user
 * namespace for the idmap at first, (idmap, dentry, ...) since. Where the plan can't tell, it is the
 * argument by whose name nothing exists yet. The inode of a directory doesn't pass for one: where a
 * dentry has d_inode, an inode has i_mapping (RT: i_ino), and that is never zero.
 */
SEC("kprobe")
int create_enter(void *ctx)
{
	const struct ProgramConfig *config = traced_config();
	__u32 number;

	if (!config)
		return 0;
	number = config->create_dentry_argument;
	if (number)
		born(argument(config, ctx, number));
	else if (is_vacant(config, argument(config, ctx, 2)))
		born(argument(config, ctx, 2));
	else if (is_vacant(config, argument(config, ctx, 3)))
		born(argument(config, ctx, 3));
	return 0;
}

/*
 * vfs_unlink(dir, dentry, ...) up to 5.11, (idmap, dir, dentry, ...) since. Where the plan can't
 * tell, it is the argument that is in the directory before it. The kernel insists on that as well:
 * may_delete, fs/namei.c.
 */
static __always_inline __u64 unlinked_dentry(const struct ProgramConfig *config, void *ctx)
{
	__u32 number = config->unlink_dentry_argument;

	if (number)
		return argument(config, ctx, number);
	if (directory_of(config, argument(config, ctx, 2)) == argument(config, ctx, 1))
		return argument(config, ctx, 2);
	if (directory_of(config, argument(config, ctx, 3)) == argument(config, ctx, 2))
		return argument(config, ctx, 3);
	return 0;
}

SEC("kprobe")
int unlink_enter(void *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	const struct ProgramConfig *config = traced_config();
	struct PendingUnlink unlink = {};
	__u64 *birth;

	if (!config)
		return 0;
	/* The return of the thread's last unlink was not seen, so that is lost. */
	if (!bpf_map_delete_elem(&pending, &thread))
		count_lost(LOST_UNSEEN);
	unlink.dentry = unlinked_dentry(config, ctx);
	birth = bpf_map_lookup_elem(&births, &unlink.dentry);
	if (!birth)
		return 0;
	unlink.born = *birth;
	if (bpf_map_update_elem(&pending, &thread, &unlink, BPF_ANY))
		count_lost(LOST_PENDING);
	return 0;
}

SEC("kretprobe")
int unlink_exit(void *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	const struct ProgramConfig *config = traced_config();
	struct PendingUnlink *found, unlink;
	struct FileLifeEvent *event;
	__u32 zero = 0;

	if (!config)
		return 0;
	found = bpf_map_lookup_elem(&pending, &thread);
	if (!found)
		return 0;
	unlink = *found;
	bpf_map_delete_elem(&pending, &thread);
	if ((__s32)return_value(ctx))
		return 0;
	bpf_map_delete_elem(&births, &unlink.dentry);
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		return 0;
	fill_header(&event->header);
	event->lifetime = event->header.time - unlink.born;
	/* The caller still holds the dentry. */
	dentry_name(config, event->name, sizeof(event->name), unlink.dentry);
	emit(ctx, event, sizeof(*event));
	return 0;
}
