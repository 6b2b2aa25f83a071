//! Catches what libbpf prints, because its errors carry only a number and the verifier's words are
//! in its messages.

use std::sync::{Mutex, PoisonError};

use kernlab_core::{backend::BackendError, outcome::Reason};
use libbpf_rs::PrintLevel;

static MESSAGES: Mutex<String> = Mutex::new(String::new());

/// Longer logs keep their end, where the verifier says what it refused.
const MAX_BYTES: usize = 64 << 10;

/// From now on, libbpf's warnings are kept instead of printed.
pub(crate) fn capture() {
    take();
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_level, message| {
        MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).push_str(&message);
    })));
}

pub(crate) fn take() -> String {
    std::mem::take(&mut *MESSAGES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// An error with what libbpf said since the last one.
pub(crate) fn failure(stage: String, reason: Reason, source: libbpf_rs::Error) -> BackendError {
    let messages = take();
    // libbpf.c, bpf_object_load_prog: these lines enclose the verifier's log.
    let refused = messages.contains("-- BEGIN PROG LOAD LOG --");
    let start = messages.ceil_char_boundary(messages.len().saturating_sub(MAX_BYTES));
    BackendError {
        stage,
        reason: if refused { Reason::VerifierRejected } else { reason },
        verifier_log: (!messages.is_empty()).then(|| messages[start..].to_owned()),
        source: Some(Box::new(source)),
    }
}
