/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * The few kernel types and numbers that the programs use. No header of the build machine's kernel
 * is included, so that an object depends on nothing but its source and the compiler.
 */
#pragma once

typedef unsigned char __u8, uint8_t;
typedef unsigned short __u16, uint16_t, __be16, __sum16;
typedef unsigned int __u32, uint32_t, __be32, __wsum;
typedef unsigned long long __u64, uint64_t;
typedef signed char __s8;
typedef short __s16;
typedef int __s32, int32_t;
typedef long long __s64, int64_t;

/* include/uapi/linux/bpf.h */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
#define BPF_F_CURRENT_CPU 0xffffffffULL

#include <bpf/bpf_helpers.h>
#ifdef KERNLAB_CORE
#include <bpf/bpf_core_read.h>
#endif
