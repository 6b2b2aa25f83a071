/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Where the arm64 calling convention puts arguments and results, seen from a probe on a function's
 * entry or return. It is the same in the kernel and in user space, for arguments of eight bytes.
 */
#pragma once

#include "tracer.h"

/*
 * A register of struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h), by its offset. Written as
 * assembly because the verifier accepts only constant offsets from the context, and the compiler would
 * merge the loads of several registers into one load from a variable offset.
 */
#define REGISTER(ctx, offset)                                                                   \
	({                                                                                      \
		__u64 value;                                                                    \
		asm volatile("%0 = *(u64 *)(%1 + " #offset ")" : "=r"(value) : "r"(ctx));       \
		value;                                                                          \
	})

/* Arguments that are passed in registers. */
#define REGISTER_ARGUMENTS 8

/* Argument number `n`, counted from 1, of those that are passed in registers. */
static __always_inline __u64 register_argument(void *ctx, __u32 n)
{
	if (n == 1)
		return REGISTER(ctx, 0); /* x0 */
	if (n == 2)
		return REGISTER(ctx, 8); /* x1 */
	if (n == 3)
		return REGISTER(ctx, 16); /* x2 */
	if (n == 4)
		return REGISTER(ctx, 24); /* x3 */
	if (n == 5)
		return REGISTER(ctx, 32); /* x4 */
	if (n == 6)
		return REGISTER(ctx, 40); /* x5 */
	if (n == 7)
		return REGISTER(ctx, 48); /* x6 */
	return REGISTER(ctx, 56); /* x7 */
}

/*
 * The address of argument number `n` of those on the stack. The ninth is at the stack pointer: the
 * return address is in a register.
 */
static __always_inline __u64 stack_argument(void *ctx, __u32 n)
{
	return REGISTER(ctx, 248) + 8 * (__u64)(n - 9);
}

/* Argument number `n` of a kernel function. A stack slot that can't be read is 0. */
static __always_inline __u64 argument(const struct ProgramConfig *config, void *ctx, __u32 n)
{
	__u64 value = 0;

	if (n <= REGISTER_ARGUMENTS)
		return register_argument(ctx, n);
	read_kernel(config, &value, sizeof(value), stack_argument(ctx, n));
	return value;
}

/* Argument number `n` of a function in user space. A stack slot that can't be read is 0. */
static __always_inline __u64 user_argument(const struct ProgramConfig *config, void *ctx, __u32 n)
{
	__u64 value = 0;

	if (n <= REGISTER_ARGUMENTS)
		return register_argument(ctx, n);
	read_user(config, &value, sizeof(value), stack_argument(ctx, n));
	return value;
}

/*
 * Argument number `n` of a system call, one of the first three, at the entry of what the system call table
 * has for it: a function whose one parameter points to the caller's registers
 * (arch/arm64/include/asm/syscall_wrapper.h).
 */
static __always_inline int syscall_argument(const struct ProgramConfig *config, void *ctx, __u32 n,
					    __u64 *to)
{
	__u32 offset = 8 * (n - 1); /* x0, x1, x2 */

	return read_kernel(config, to, sizeof(*to), register_argument(ctx, 1) + offset);
}

/* The result of a function, where it returns. */
static __always_inline __u64 return_value(void *ctx)
{
	return REGISTER(ctx, 0); /* x0 */
}
