/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Where the x86-64 calling convention puts arguments, seen from a probe on a function's entry. */
#pragma once

#include "tracer.h"

/*
 * A register of struct pt_regs (arch/x86/include/asm/ptrace.h), by its offset. Written as assembly
 * because the verifier accepts only constant offsets from the context, and the compiler would
 * merge the loads of several registers into one load from a variable offset.
 */
#define REGISTER(ctx, offset)                                                                   \
	({                                                                                      \
		__u64 value;                                                                    \
		asm volatile("%0 = *(u64 *)(%1 + " #offset ")" : "=r"(value) : "r"(ctx));       \
		value;                                                                          \
	})

/* Argument number `n`, counted from 1. A stack slot that can't be read is 0. */
static __always_inline __u64 argument(const struct ProgramConfig *config, void *ctx, __u32 n)
{
	__u64 value = 0;

	if (n == 1)
		return REGISTER(ctx, 112); /* di */
	if (n == 2)
		return REGISTER(ctx, 104); /* si */
	if (n == 3)
		return REGISTER(ctx, 96); /* dx */
	if (n == 4)
		return REGISTER(ctx, 88); /* cx */
	if (n == 5)
		return REGISTER(ctx, 72); /* r8 */
	if (n == 6)
		return REGISTER(ctx, 64); /* r9 */
	/* The return address is at the stack pointer, the seventh argument above it. */
	read_kernel(config, &value, sizeof(value), REGISTER(ctx, 152) + 8 * (__u64)(n - 6));
	return value;
}
