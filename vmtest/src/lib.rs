//! Boots kernels, runs cells in them, judges and reports.

pub mod kernels;
pub mod places;
