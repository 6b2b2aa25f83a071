//! Boots kernels, runs cells in them, judges and reports.

pub mod accel;
pub mod console;
pub mod image;
pub mod kernels;
pub mod lab;
pub mod places;
pub mod qemu;
