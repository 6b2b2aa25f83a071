//! Suites: a user's own tracer with its workload and expectation, as `kernlab.toml` describes them.
//!
//! What is here performs no I/O but for reading that file: it reads the description, and compares
//! what a guest brought back with what was expected.

pub mod after;
pub mod assertion;
pub mod cargo;
pub(crate) mod cell;
pub mod condition;
pub mod data;
pub mod events;
mod expression;
pub mod feature;
mod gathered;
pub mod init;
pub mod invocation;
pub mod job;
pub mod manifest;
pub mod observed;
pub(crate) mod packed;
pub mod pattern;
pub mod payload;
pub mod platform;
pub(crate) mod proposals;
pub mod run;
mod selection;
pub mod separation;
pub(crate) mod spelling;
mod start;
mod targets;
pub mod test_program;
pub(crate) mod unmatched;
mod work;
