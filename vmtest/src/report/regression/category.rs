//! What can happen to a cell between two runs.

use std::fmt;

use kernlab_core::outcome::{Outcome, Severity};
use serde::Serialize;

use super::super::CellReport;

/// What happened to a cell. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// It fails, and did not, or was not there.
    NewFailure,
    /// It passed, and now the plan says that it can't work.
    NoLongerSupported,
    /// It is no longer there.
    Vanished,
    /// Nothing can be said about it.
    Inconclusive,
    /// It fails, and did before.
    StillFailing,
    /// Its verdict is the same, its events are not.
    EventsChanged,
    /// It failed, or nothing could be said about it, and now it is as it should be.
    Fixed,
    /// The plan said that it can't work, and now it passes.
    NewlySupported,
    /// It can't work, now for another reason.
    UnsupportedOtherwise,
    /// It is of a kernel that was not there.
    NewKernel,
    /// It was not there, but others of its kernel were.
    NewCell,
    /// Of two kernels, only one has its BTF mode.
    NotComparable,
}

impl Category {
    /// What happened to a cell that is on both sides; none if its verdict is the same, and no failure.
    pub(super) fn of(old: &CellReport, new: &CellReport) -> Option<Self> {
        match (old.outcome.severity(), new.outcome.severity()) {
            (_, Severity::Inconclusive) => Some(Category::Inconclusive),
            (Severity::Failure, Severity::Failure) => Some(Category::StillFailing),
            (_, Severity::Failure) => Some(Category::NewFailure),
            (Severity::Failure | Severity::Inconclusive, Severity::Expected) => {
                Some(Category::Fixed)
            }
            (Severity::Expected, Severity::Expected) => match (old.outcome, new.outcome) {
                (Outcome::Pass, Outcome::Pass) => None,
                (Outcome::Pass, _) => Some(Category::NoLongerSupported),
                (_, Outcome::Pass) => Some(Category::NewlySupported),
                _ if old.reason != new.reason => Some(Category::UnsupportedOtherwise),
                _ => None,
            },
        }
    }

    /// Must there be events on both sides?
    pub(super) fn has_events(old: &CellReport, new: &CellReport) -> bool {
        (old.outcome, new.outcome) == (Outcome::Pass, Outcome::Pass)
    }

    /// Is the cause what was, and no longer is?
    pub(super) fn tells_of_base(self) -> bool {
        matches!(self, Category::Fixed | Category::NewlySupported)
    }

    /// Should somebody find out what changed?
    pub(super) fn is_new_trouble(self) -> bool {
        matches!(self, Category::NewFailure | Category::NoLongerSupported)
    }

    /// What it means for the exit code.
    pub fn severity(self) -> Severity {
        match self {
            Category::NewFailure | Category::NoLongerSupported | Category::Vanished => {
                Severity::Failure
            }
            Category::Inconclusive => Severity::Inconclusive,
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

    /// As a part of an address: `new-failure`.
    pub(in crate::report) fn slug(self) -> String {
        self.title().replace(' ', "-").to_lowercase()
    }

    /// As a heading: `new failure`.
    pub fn title(self) -> &'static str {
        match self {
            Category::NewFailure => "new failure",
            Category::NoLongerSupported => "no longer supported",
            Category::Vanished => "vanished",
            Category::Inconclusive => "inconclusive",
            Category::StillFailing => "still failing",
            Category::EventsChanged => "events changed",
            Category::Fixed => "fixed",
            Category::NewlySupported => "newly supported",
            Category::UnsupportedOtherwise => "unsupported for another reason",
            Category::NewKernel => "new kernel",
            Category::NewCell => "new cell",
            Category::NotComparable => "only one kernel has the BTF mode",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}
