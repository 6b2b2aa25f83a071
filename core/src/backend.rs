//! What every backend can do: open a plan's programs and deliver their events.

use std::{collections::BTreeMap, os::fd::BorrowedFd};

use crate::{cell::BackendKind, losses::Losses, outcome::Reason, plan::ProbePlan};

/// An implementation of all tracers.
pub trait Backend {
    /// Which one.
    fn kind(&self) -> BackendKind;

    /// Loads the plan's programs, and opens the buffer for their events. Of the plan's attach points only
    /// the programs count, and its configuration is not read yet.
    fn load(&self, plan: &ProbePlan) -> Result<Box<dyn Programs>, BackendError>;

    /// Loads and attaches the plan's programs.
    ///
    /// Events flow from the moment this returns until the session is finished or dropped.
    fn open(&self, plan: &ProbePlan) -> Result<Box<dyn Session>, BackendError> {
        self.load(plan)?.attach(plan)
    }
}

/// Programs that the verifier accepted, and that are attached nowhere yet.
pub trait Programs {
    /// Configures the programs and attaches them, by a plan that [needs the same](ProbePlan::loads_like).
    fn attach(self: Box<Self>, plan: &ProbePlan) -> Result<Box<dyn Session>, BackendError>;
}

/// Programs that are loaded and attached.
pub trait Session {
    /// Descriptors that become readable when events wait.
    fn wait_on(&self) -> Vec<BorrowedFd<'_>>;

    /// Every program of the session.
    fn programs(&self) -> Vec<BorrowedFd<'_>>;

    /// Hands every waiting event to `sink`, as the bytes of one structure of `kernlab_abi`, and
    /// returns at once. Events of one CPU come in order.
    fn consume(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), BackendError>;

    /// Detaches the programs, hands over the last events and whatever was counted in a map instead of
    /// being reported call by call, and counts what went wrong.
    fn finish(self: Box<Self>, sink: &mut dyn FnMut(&[u8])) -> Result<Tally, BackendError>;
}

/// A map whose entries are the result of a session, and no state: see [`Tally::state`].
pub const RESULTS: &str = "totals";

/// What a session knows at its end beside the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that found no room in the buffer or in a map, and calls that began and whose end went
    /// unseen.
    pub lost: u64,
    /// Why, as far as that happened before the buffer.
    pub losses: Losses,
    /// How many entries each hash map has in which programs keep what is under way, by its name: all plain
    /// hash maps of the object but [`RESULTS`].
    pub state: BTreeMap<String, u64>,
}

/// Why a session could not be opened or continued.
#[derive(Debug, thiserror::Error)]
#[error("{stage}")]
pub struct BackendError {
    /// What was being done: a lowercase fragment, "loading sys_enter_write".
    pub stage: String,
    /// The reason code.
    pub reason: Reason,
    /// What the verifier said, where it was asked.
    pub verifier_log: Option<String>,
    /// The loader's own error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
