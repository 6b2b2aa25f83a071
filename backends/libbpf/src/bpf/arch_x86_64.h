/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* The System V calling convention. Offsets are those of struct pt_regs, arch/x86/include/asm/ptrace.h. */
#pragma once

/* How many arguments are passed in registers. */
#define REGISTER_ARGUMENTS 6

#define ARGUMENT_1 112 /* di */
#define ARGUMENT_2 104 /* si */
#define ARGUMENT_3 96 /* dx */
#define ARGUMENT_4 88 /* cx */
#define ARGUMENT_5 72 /* r8 */
#define ARGUMENT_6 64 /* r9 */
#define RESULT 80 /* ax */
#define STACK_POINTER 152

/* In bytes from the stack pointer, where the return address is. */
#define FIRST_STACK_ARGUMENT 8
