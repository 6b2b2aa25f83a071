//! The format of `kernlab.toml`, which describes a repository's suites.
//!
//! `docs/kernlab.schema.json` describes the same format to editors. Paths stay as they are written;
//! [`Project::dir`] is the directory that they start from.

mod guest;
mod matching;
mod project;
mod read;
mod suite;

pub use kernlab_core::cell::BtfMode;
pub use kernlab_kernels::DocumentError as ManifestError;

pub(super) use self::suite::{LONGEST_NAME, is_of_names};
pub use self::{
    guest::{Cgroup, FileSpec, GuestSpec, parse_memory},
    matching::{Expectation, ExpectedOutcome, FieldRule, Lost, Normalise, Order, Replacement},
    project::{FILE_NAME, Project},
    suite::{
        CargoSuite, CargoTests, Command, ObjectSubject, Ready, Stop, Subject, Suite, check_name,
    },
};
pub use super::{
    assertion::Assertion,
    condition::{Condition, Stream},
    feature::FeatureCondition,
    pattern::Pattern,
};

#[cfg(test)]
mod tests;
