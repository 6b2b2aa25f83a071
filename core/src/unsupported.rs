//! Why a tracer can't work on a kernel.

use serde::{Deserialize, Serialize};

use crate::outcome::Reason;

/// Why a tracer can't work on a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// The code.
    pub reason: Reason,
    /// What is missing or different.
    pub message: String,
}

impl Unsupported {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Unsupported { reason, message: message.into() }
    }
}
