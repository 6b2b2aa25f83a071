/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Where a function finds its arguments and leaves its result, seen from a probe on its entry or return. It is
 * the same in the kernel and in user space, for arguments of at most eight bytes.
 *
 * What differs between architectures is in a file for each, which the build chooses: offsets of registers in
 * the context, and where the first argument on the stack is.
 */
#pragma once

#include "tracer.h"

#if defined(__TARGET_ARCH_x86)
#include "arch_x86_64.h"
#elif defined(__TARGET_ARCH_arm64)
#include "arch_aarch64.h"
#else
#error "no calling convention for this architecture: write a sibling of arch_x86_64.h"
#endif

/*
 * A register, by its offset in the context. Written as assembly because the verifier accepts only constant
 * offsets from the context, and the compiler would merge the loads of several registers into one load from a
 * variable offset.
 */
#define REGISTER(ctx, offset)                                                                   \
	({                                                                                      \
		__u64 value;                                                                    \
		asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(value) : "r"(ctx), "i"(offset));   \
		value;                                                                          \
	})

/* Argument number `n`, counted from 1, of those that are passed in registers. */
static __always_inline __u64 register_argument(void *ctx, __u32 n)
{
	if (n == 1)
		return REGISTER(ctx, ARGUMENT_1);
	if (n == 2)
		return REGISTER(ctx, ARGUMENT_2);
	if (n == 3)
		return REGISTER(ctx, ARGUMENT_3);
	if (n == 4)
		return REGISTER(ctx, ARGUMENT_4);
	if (n == 5)
		return REGISTER(ctx, ARGUMENT_5);
#if REGISTER_ARGUMENTS == 6
	return REGISTER(ctx, ARGUMENT_6);
#else
	if (n == 6)
		return REGISTER(ctx, ARGUMENT_6);
	if (n == 7)
		return REGISTER(ctx, ARGUMENT_7);
	return REGISTER(ctx, ARGUMENT_8);
#endif
}

/* On entry, what the stack pointer will be when the function has returned: where its arguments begin. */
static __always_inline __u64 stack_of_caller(void *ctx)
{
	return REGISTER(ctx, STACK_POINTER) + FIRST_STACK_ARGUMENT;
}

/* The address of argument number `n` of those on the stack, where each has eight bytes. */
static __always_inline __u64 stack_argument(void *ctx, __u32 n)
{
	return stack_of_caller(ctx) + 8 * (n - REGISTER_ARGUMENTS - 1);
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
 * (arch/{x86,arm64}/include/asm/syscall_wrapper.h). There, they are in the same registers as a function's.
 */
static __always_inline int syscall_argument(const struct ProgramConfig *config, void *ctx, __u32 n,
					    __u64 *to)
{
	__u32 offset = n == 1 ? ARGUMENT_1 : n == 2 ? ARGUMENT_2 : ARGUMENT_3;

	return read_kernel(config, to, sizeof(*to), register_argument(ctx, 1) + offset);
}

/* The stack pointer of a function's caller, where the function returns. */
static __always_inline __u64 stack_on_return(void *ctx)
{
	return REGISTER(ctx, STACK_POINTER);
}

/* The result of a function, where it returns. */
static __always_inline __u64 return_value(void *ctx)
{
	return REGISTER(ctx, RESULT);
}
