//! How much of a time span the host really ran a guest.

use std::{fmt, time::Duration};

/// The CPU time that a guest got within a time span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// The length of the time span, by the host's clock and so by the guest's.
    pub passed: Duration,
    /// The CPU time of QEMU and its guest together.
    pub processor: Duration,
}

impl CpuTime {
    /// Whether the guest got too little CPU time to be blamed for exceeding a timeout.
    ///
    /// A guest whose processor is stuck uses all that the host gives it: a third on a host with
    /// three times as much to do. A stopped guest uses only what its cell takes anyway: a second or
    /// two of the twenty that the kernel's detectors wait for. A sleeping guest looks starved, so
    /// this is meaningful only if a kernel complains that its processor was busy.
    pub fn is_starved(self) -> bool {
        self.processor < self.passed / 5
    }
}

impl fmt::Display for CpuTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CpuTime { passed, processor } = self;
        write!(f, "{:.1} of {:.1} s", processor.as_secs_f64(), passed.as_secs_f64())
    }
}
