//! Boots kernels, runs cells in them, judges and reports.

#![warn(missing_docs)]

pub mod accel;
pub mod bench;
pub mod checkpoints;
pub mod console;
mod diff;
pub mod dossier;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod golden;
pub mod guest_programs;
mod host_processor;
pub mod image;
pub mod lab;
pub mod machine;
pub mod qemu;
pub mod report;
pub mod run;
mod sandbox;
pub mod site;
pub mod suite;
pub mod terminal;
mod untrusted;
pub mod unused;
pub mod verdict;
