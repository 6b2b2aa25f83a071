//! What depends on the architecture of the kernel that is probed.

#[cfg(bpf_target_arch = "aarch64")]
mod aarch64;
#[cfg(bpf_target_arch = "x86_64")]
mod x86_64;

#[cfg(bpf_target_arch = "aarch64")]
pub use aarch64::{Arguments, return_value, syscall_argument};
#[cfg(bpf_target_arch = "x86_64")]
pub use x86_64::{Arguments, return_value, syscall_argument};

#[cfg(not(any(bpf_target_arch = "aarch64", bpf_target_arch = "x86_64")))]
compile_error!("no calling convention for this architecture: write a sibling of arch/x86_64.rs");
