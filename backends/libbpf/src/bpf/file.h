/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Files, inodes and directory entries, as far as the programs read them. */
#pragma once

#include "tracer.h"

#ifdef KERNLAB_CORE
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	__u32 s_dev;
};

struct inode {
	__u16 i_mode;
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct inode *f_inode;
	struct path f_path;
	__u32 f_mode;
};

#pragma clang attribute pop
#endif

/* A dentry's name: that of the file in its directory. */
static __always_inline void dentry_name(const struct ProgramConfig *config, __u8 *to, __u32 size,
					__u64 dentry)
{
	__u64 name = dentry + FIELD_OFFSET(config, dentry, d_name) +
		     FIELD_OFFSET(config, qstr, name);

	read_kernel_str(config, to, size, pointer_at(config, name));
}
