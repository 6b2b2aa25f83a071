//! The tracers as Rust programs, loaded with Aya.
//!
//! Rust programs carry no CO-RE relocations, so field offsets always come from the plan's layout,
//! and the kernel's BTF is never needed. The programs are in `ebpf`, a package of its own that
//! `build.rs` compiles; the objects are part of this library.

pub mod any_object;
mod attach;
mod backend;
mod buffer;
mod error;
mod objects;
mod session;
mod state;
mod totals;

pub use backend::AyaBackend;
pub use objects::object;

#[cfg(test)]
#[path = "../build/check.rs"]
mod check;
