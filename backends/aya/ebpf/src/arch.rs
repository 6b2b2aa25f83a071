//! What depends on the architecture of the kernel that is probed.

#[cfg(bpf_target_arch = "x86_64")]
mod x86_64;

#[cfg(bpf_target_arch = "x86_64")]
pub use x86_64::{Arguments, return_value, syscall_argument};

#[cfg(not(bpf_target_arch = "x86_64"))]
compile_error!("no calling convention for this architecture: write a sibling of arch/x86_64.rs");
