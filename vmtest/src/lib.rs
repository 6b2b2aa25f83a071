//! Boots kernels, runs cells in them, judges and reports.

pub mod accel;
pub mod bench;
pub mod checkpoints;
pub mod console;
pub mod dossier;
pub mod golden;
pub mod image;
mod interruption;
pub mod kernels;
pub mod lab;
pub mod machine;
pub mod paths;
pub mod program;
pub mod qemu;
pub mod report;
pub mod run;
pub mod verdict;
