//! How much of a time the host really ran a guest.

use std::{fmt, time::Duration};

/// What a guest got of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// By our clock, and so by the guest's.
    pub passed: Duration,
    /// Of QEMU and its guest together.
    pub processor: Duration,
}

impl CpuTime {
    /// Whether the guest got too little of a processor to be blamed for what it did not do in time.
    ///
    /// A guest whose processor is stuck uses all that the host gives it: a third on a host with three
    /// times as much to do. One that stood still used what its cell takes anyway: a second or two of
    /// the twenty that the kernel's detectors wait for. One that sleeps looks starved: so this means
    /// something only where a kernel complains that its processor was busy.
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
