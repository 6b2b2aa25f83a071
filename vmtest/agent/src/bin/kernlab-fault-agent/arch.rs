//! What depends on the processor architecture that this program is compiled for: one file for each.

#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
mod this;

pub(crate) use self::this::*;
