//! Judging what a guest said, within a time, and whatever it said.
//!
//! Rules are written so that no input makes them panic or take long. Where one does, the cell says so
//! and no other cell is lost.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use kernlab_core::outcome::{Outcome, Reason, Verdict};

/// How long the verdict on one cell may take: what is usual takes milliseconds.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// As many bytes of output are judged in a second by the slowest build, if not more.
const SLOWEST: u64 = 1 << 20;

/// How long the verdict on this many bytes of output may take.
pub(crate) fn deadline_for(bytes: usize) -> Duration {
    DEADLINE + Duration::from_secs(bytes as u64 / SLOWEST)
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JudgingError {
    #[error(
        "the lab failed while it judged what the guest reported ({0}): this is a bug in kernlab"
    )]
    Panicked(String),
    #[error(
        "judging what the guest reported took longer than {} s: this is a bug in kernlab",
        .0.as_secs()
    )]
    TookTooLong(Duration),
    #[error("no thread could be started to judge what the guest reported")]
    NoThread(#[source] io::Error),
}

impl JudgingError {
    /// The verdict on the cell.
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::because(Outcome::Infra, Reason::JudgingFailed, kernlab_kernels::chain(self))
    }
}

/// Judges in a thread of its own, which is left behind if it doesn't end in time.
pub(crate) fn within<T: Send + 'static>(
    deadline: Duration,
    judge: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JudgingError> {
    let (sender, receiver) = channel();
    thread::Builder::new()
        .name("judge".to_owned())
        .spawn(move || {
            // Nobody may wait for it any more.
            let _ = sender.send(caught(judge));
        })
        .map_err(JudgingError::NoThread)?;
    match receiver.recv_timeout(deadline) {
        Ok(judged) => judged,
        Err(RecvTimeoutError::Timeout) => Err(JudgingError::TookTooLong(deadline)),
        Err(RecvTimeoutError::Disconnected) => {
            Err(JudgingError::Panicked("the thread ended".to_owned()))
        }
    }
}

/// Judges, and says so if that panics.
pub(crate) fn caught<T>(judge: impl FnOnce() -> T) -> Result<T, JudgingError> {
    catch_unwind(AssertUnwindSafe(judge)).map_err(|panic| JudgingError::Panicked(text(&*panic)))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_in_time_is_passed_on() {
        assert_eq!(within(DEADLINE, || 7).unwrap(), 7);
    }

    #[test]
    fn a_panic_is_infra_with_its_words() {
        let error = within(DEADLINE, || -> u8 { panic!("sum of {} overflows", 2) }).unwrap_err();
        let verdict = error.verdict();
        assert_eq!(
            (verdict.outcome, verdict.reason),
            (Outcome::Infra, Some(Reason::JudgingFailed))
        );
        assert!(verdict.message.contains("sum of 2 overflows"), "{}", verdict.message);
    }

    #[test]
    fn what_takes_too_long_is_infra() {
        let (held, holds) = channel::<()>();
        let error = within(Duration::from_millis(10), move || holds.recv()).unwrap_err();
        drop(held);
        assert!(error.verdict().message.contains("took longer than"), "{error}");
    }
}
