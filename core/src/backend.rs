//! What every backend can do: open a plan's programs and deliver their events.

use std::os::fd::BorrowedFd;

use crate::{cell::BackendKind, outcome::Reason, plan::ProbePlan};

/// An implementation of all tracers.
pub trait Backend {
    /// Which one.
    fn kind(&self) -> BackendKind;

    /// Loads and attaches the plan's programs.
    ///
    /// Events flow from the moment this returns until the session is finished or dropped.
    fn open(&self, plan: &ProbePlan) -> Result<Box<dyn Session>, BackendError>;
}

/// Programs that are loaded and attached.
pub trait Session {
    /// Descriptors that become readable when events wait.
    fn wait_on(&self) -> Vec<BorrowedFd<'_>>;

    /// Hands every waiting event to `sink`, as the bytes of one structure of `kernlab_abi`, and
    /// returns at once. Events of one CPU come in order.
    fn consume(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), BackendError>;

    /// Detaches the programs, hands over the last events and whatever was counted in a map instead of
    /// being reported call by call, and counts what went wrong.
    fn finish(self: Box<Self>, sink: &mut dyn FnMut(&[u8])) -> Result<Tally, BackendError>;
}

/// What a session knows at its end beside the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that found no room in the buffer or in a map, and calls that began and whose end went
    /// unseen.
    pub lost: u64,
    /// Runs of programs that the kernel left out: see [`skipped_runs`].
    pub skipped: u64,
    /// Entries in maps that must be empty when no call is under way.
    pub left_behind: u64,
}

/// How often the kernel did not run a program where it should have, from what
/// `/proc/self/fdinfo` says of the program's descriptor (`bpf_prog_show_fdinfo`,
/// kernel/bpf/syscall.c).
///
/// A program is not run inside of itself, or of a bpf(2) call, on the same CPU. From 7.2 on, those on
/// syscall tracepoints can be preempted (`trace_call_bpf_faultable`, kernel/trace/bpf_trace.c): while
/// a thread stands inside of a program, it is not run for the others. Kernels before 5.12 don't count,
/// and show no such line.
pub fn skipped_runs(fdinfo: &str) -> u64 {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
        .unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("pos:\t0\nprog_type:\t5\nrun_cnt:\t0\nrecursion_misses:\t12\n", 12)]
    #[case::before_5_12("pos:\t0\nprog_type:\t5\nrun_cnt:\t3\n", 0)]
    fn skipped_runs_are_read(#[case] fdinfo: &str, #[case] expected: u64) {
        assert_eq!(skipped_runs(fdinfo), expected);
    }
}
