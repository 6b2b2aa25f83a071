//! What a suite expects, and what does not matter of what its tracer prints.

use std::collections::{BTreeMap, BTreeSet};

use kernlab_core::outcome::{Outcome, Reason};

use super::{FeatureCondition, Pattern, Stream};

/// What is replaced in output before it is compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Normalise {
    /// Rules for fields of JSON lines, by name, with dots for nested ones. They reach into the
    /// elements of lists.
    pub fields: BTreeMap<String, FieldRule>,
    /// The names of those rules that are the project's, for all suites.
    pub shared: BTreeSet<String>,
    /// Replacements in lines that are not JSON, in this order.
    pub replace: Vec<Replacement>,
}

/// What is done with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldRule {
    /// Each value gets a name, `<pid1>` for example. Fields with the same class of names share them.
    Alias {
        /// What the names begin with: the name of the field, unless the rule says another.
        class: String,
    },
    /// The field is left out.
    Drop,
}

/// A replacement in lines that are not JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Replacement {
    /// What is replaced, wherever it matches.
    pub pattern: Pattern,
    /// With what; `$1` is the first group.
    pub with: String,
}

/// What the order of events means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Order {
    /// It must be the same.
    #[default]
    Strict,
    /// It must be the same among events that have the same value in this field.
    PerField(String),
    /// Nothing: the events are a multiset.
    Unordered,
}

/// How the number of lost events is read from the tracer's output.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// Where it is printed.
    pub stream: Stream,
    /// What it looks like. Its one group is a number; those of all matches are added up.
    pub pattern: Pattern,
    /// How many may be lost.
    pub max: u64,
}

/// An outcome other than success that is right on some kernels.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// On which kernels.
    pub when: FeatureCondition,
    /// How the suite ends on them.
    pub outcome: ExpectedOutcome,
    /// With which reason in the report; any if there is none.
    pub code: Option<Reason>,
    /// Why that is right.
    pub reason: String,
    /// The day from which on a person should look at it again.
    pub review: Option<jiff::civil::Date>,
}

/// How a suite may end other than well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// The tracer fails, or its output is not what is expected.
    Fail,
    /// It does not end, or is not ready, in time.
    Timeout,
    /// The kernel warns.
    KernelWarning,
}

impl ExpectedOutcome {
    /// All, with the names that they have in reports.
    pub const ALL: [(&'static str, ExpectedOutcome); 3] = [
        ("fail", ExpectedOutcome::Fail),
        ("timeout", ExpectedOutcome::Timeout),
        ("kernel-warning", ExpectedOutcome::KernelWarning),
    ];

    /// The outcome of a cell that it is.
    pub fn outcome(self) -> Outcome {
        match self {
            ExpectedOutcome::Fail => Outcome::Fail,
            ExpectedOutcome::Timeout => Outcome::Timeout,
            ExpectedOutcome::KernelWarning => Outcome::KernelWarning,
        }
    }
}
