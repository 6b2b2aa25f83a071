//! What can happen to a cell between two runs.

use std::fmt;

use kernlab_core::outcome::{Outcome, Reason, Severity};
use serde::{Serialize, Serializer};

use super::super::CellReport;

/// What happened to a cell, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// It fails, and did not fail or exist before.
    NewFailure,
    /// It passed, and is now unsupported.
    NoLongerSupported,
    /// The verifier processes more instructions for a program than its suite allows.
    MoreInstructions,
    /// It no longer exists.
    Vanished,
    /// It fails, and the base side does not know whether it did before.
    FailingNotRunBefore,
    /// Its outcome is inconclusive.
    Inconclusive,
    /// It failed before and still does.
    StillFailing,
    /// Its verdict is the same, but its events changed.
    EventsChanged,
    /// It failed or was inconclusive, and is now as expected.
    Fixed,
    /// It was unsupported, and now passes.
    NewlySupported,
    /// It is still unsupported, but for another reason.
    UnsupportedOtherwise,
    /// Its kernel is new.
    NewKernel,
    /// It is new, but other cells of its kernel are not.
    NewCell,
    /// Only one of the two kernels has its BTF mode.
    NotComparable,
}

impl Category {
    /// The category of a cell that both sides have; none if its verdict is the same and expected.
    pub(super) fn of(old: &CellReport, new: &CellReport) -> Option<Self> {
        Self::between((old.outcome, old.reason), (new.outcome, new.reason))
    }

    /// Like [`Category::of`], for outcomes and their reasons.
    pub(crate) fn between(
        old: (Outcome, Option<Reason>),
        new: (Outcome, Option<Reason>),
    ) -> Option<Self> {
        match (old.0.severity(), new.0.severity()) {
            (_, Severity::Inconclusive) => Some(Category::Inconclusive),
            (Severity::Failure, Severity::Failure) => Some(Category::StillFailing),
            (Severity::Inconclusive, Severity::Failure) => Some(Category::FailingNotRunBefore),
            (Severity::Expected, Severity::Failure) => Some(Category::NewFailure),
            (Severity::Failure | Severity::Inconclusive, Severity::Expected) => {
                Some(Category::Fixed)
            }
            (Severity::Expected, Severity::Expected) => match (old.0, new.0) {
                (Outcome::Pass, Outcome::Pass) => None,
                (Outcome::Pass, _) => Some(Category::NoLongerSupported),
                (_, Outcome::Pass) => Some(Category::NewlySupported),
                _ if old.1 != new.1 => Some(Category::UnsupportedOtherwise),
                _ => None,
            },
        }
    }

    /// Whether the cell passes on both sides, so that both have events.
    pub(super) fn both_pass(old: &CellReport, new: &CellReport) -> bool {
        (old.outcome, new.outcome) == (Outcome::Pass, Outcome::Pass)
    }

    /// Whether the base side shows the cause.
    pub(super) fn tells_of_base(self) -> bool {
        matches!(self, Category::Fixed | Category::NewlySupported)
    }

    /// Whether to look for explanations.
    pub(super) fn is_new_trouble(self) -> bool {
        use Category::{FailingNotRunBefore, NewFailure, NoLongerSupported};
        matches!(self, NewFailure | NoLongerSupported | FailingNotRunBefore)
    }

    /// The severity for the exit code.
    pub fn severity(self) -> Severity {
        match self {
            Category::NewFailure
            | Category::NoLongerSupported
            | Category::MoreInstructions
            | Category::Vanished => Severity::Failure,
            Category::FailingNotRunBefore | Category::Inconclusive => Severity::Inconclusive,
            Category::StillFailing
            | Category::EventsChanged
            | Category::Fixed
            | Category::NewlySupported
            | Category::UnsupportedOtherwise
            | Category::NewKernel
            | Category::NewCell
            | Category::NotComparable => Severity::Expected,
        }
    }

    /// As in JSON: `new-failure`.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// As a heading: `new failure`.
    pub fn title(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Category::NewFailure => ("new-failure", "new failure"),
            Category::NoLongerSupported => ("no-longer-supported", "no longer supported"),
            Category::MoreInstructions => ("more-instructions", "more instructions"),
            Category::Vanished => ("vanished", "vanished"),
            Category::FailingNotRunBefore => {
                ("failing-not-run-before", "failing and not run before")
            }
            Category::Inconclusive => ("inconclusive", "inconclusive"),
            Category::StillFailing => ("still-failing", "still failing"),
            Category::EventsChanged => ("events-changed", "events changed"),
            Category::Fixed => ("fixed", "fixed"),
            Category::NewlySupported => ("newly-supported", "newly supported"),
            Category::UnsupportedOtherwise => {
                ("unsupported-otherwise", "unsupported for another reason")
            }
            Category::NewKernel => ("new-kernel", "new kernel"),
            Category::NewCell => ("new-cell", "new cell"),
            Category::NotComparable => ("not-comparable", "only one kernel has the BTF mode"),
        }
    }
}

impl Serialize for Category {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}
