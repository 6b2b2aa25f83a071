/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* What depends on the architecture of the kernel that is probed. The build defines it. */
#pragma once

#if defined(__TARGET_ARCH_x86)
#include "arch_x86_64.h"
#elif defined(__TARGET_ARCH_arm64)
#include "arch_aarch64.h"
#else
#error "no calling convention for this architecture: write a sibling of arch_x86_64.h"
#endif
