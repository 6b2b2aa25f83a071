//! The pure part of kernlab: what is known of a kernel, what a tracer plans from it, what it
//! reported, and the words for a verdict.
//!
//! Nothing here performs I/O, knows QEMU or knows a BPF loader.
//!
//! What reads a kernel's dossier (`kernlab kernels dossier ID --json`) is useful by itself:
//!
//! ```
//! use kernlab_core::dossier::{Dossier, diff::Difference};
//!
//! # let old = include_bytes!("../tests/dossiers/debian-5.10.json");
//! # let new = include_bytes!("../tests/dossiers/debian-6.12.json");
//! let (old, new) = (Dossier::from_json(old)?, Dossier::from_json(new)?);
//! assert!(new.release.starts_with("6.12."));
//!
//! // Where a field is, and what a function takes.
//! let offset = old.field("qstr", "name").and_then(|field| field.aligned());
//! assert_eq!(offset, Some(8));
//! let unlink = new.prototype("vfs_unlink").expect("BTF describes it");
//! assert_eq!(unlink.parameters[0].type_name, "struct mnt_idmap *");
//! assert!(old.symbol("vfs_unlink").is_present());
//!
//! // What changed for the lab's tracers from one to the other.
//! let difference = Difference::between(&old, &new);
//! assert!(difference.to_string().contains("vfs_unlink has another prototype"));
//! # Ok::<(), kernlab_core::dossier::ReadError>(())
//! ```

#![warn(missing_docs)]

pub mod arch;
pub mod attach;
pub mod backend;
pub mod bpf;
pub mod btf;
pub mod buffer;
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
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ground_truth;
pub mod live;
pub mod losses;
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
