//! The pure part of kernlab: what is known of a kernel, what a tracer plans from it, what it
//! reported, and the words for a verdict.
//!
//! Nothing here performs I/O, knows QEMU or knows a BPF loader.

#![warn(missing_docs)]

pub mod arch;
pub mod attach;
pub mod backend;
pub mod bpf;
pub mod btf;
pub mod burst;
pub mod cell;
pub mod config;
pub mod cost;
pub mod decoder;
pub mod discovery;
pub mod dossier;
pub mod elf;
pub mod event;
pub mod facts;
pub mod ground_truth;
pub mod names;
pub mod needs;
pub mod normalise;
pub mod object_record;
pub mod outcome;
pub mod plan;
pub mod record;
pub mod scenario;
pub mod section;
pub mod socket;
pub mod tracepoint;
pub mod tracer;
pub mod unsupported;
