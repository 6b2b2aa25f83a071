/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * The calling convention of arm64, AAPCS64. Offsets are those of struct user_pt_regs,
 * arch/arm64/include/uapi/asm/ptrace.h.
 */
#pragma once

/* How many arguments are passed in registers. */
#define REGISTER_ARGUMENTS 8

#define ARGUMENT_1 0 /* x0 */
#define ARGUMENT_2 8 /* x1 */
#define ARGUMENT_3 16 /* x2 */
#define ARGUMENT_4 24 /* x3 */
#define ARGUMENT_5 32 /* x4 */
#define ARGUMENT_6 40 /* x5 */
#define ARGUMENT_7 48 /* x6 */
#define ARGUMENT_8 56 /* x7 */
#define RESULT 0 /* x0 */
#define STACK_POINTER 248

/* In bytes from the stack pointer: the return address is in a register. */
#define FIRST_STACK_ARGUMENT 0
