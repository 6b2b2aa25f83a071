//! Faults of the machine: what becomes of a run, and of the next one.
//!
//! After each fault no process is left, no lock is held, no unfinished file stays, the verdict names the
//! fault, and the next run is right. `cargo xtask soak` does the same for hours, at random.

mod bench;
mod damage;
mod disk;
mod qemu;
mod together;
