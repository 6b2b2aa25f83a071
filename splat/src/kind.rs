//! What sort of trouble a splat tells of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The sort of trouble, as in `kernlab splat --json`; `docs/splat.md` explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `BUG()`, and what the kernel itself calls a bug and has no kind of its own.
    Bug,
    /// `WARN()` and its kin.
    Warning,
    /// A trap that the kernel didn't expect: divide error, invalid opcode, double fault, ...
    Oops,
    /// A general protection fault in the kernel.
    GeneralProtectionFault,
    /// The kernel touched an address that it must not touch.
    PageFault,
    /// `panic()` for a reason of its own: one that only follows another splat is part of that.
    Panic,
    /// The address sanitizer.
    Kasan,
    /// The sanitizer of uninitialised memory.
    Kmsan,
    /// The sanitizer of data races.
    Kcsan,
    /// The sampling detector of memory errors.
    Kfence,
    /// The sanitizer of undefined behaviour.
    Ubsan,
    /// The validator of locks and RCU, and the debugging of spinlocks.
    Lockdep,
    /// Sleeping or scheduling where that is forbidden.
    AtomicSleep,
    /// A CPU or task held up RCU for too long. A slow host can be the cause.
    RcuStall,
    /// A task has been waiting for too long. A slow host can be the cause.
    HungTask,
    /// A CPU didn't schedule for too long. A slow host can be the cause.
    SoftLockup,
    /// A CPU took no interrupt for too long. A slow host can be the cause.
    HardLockup,
    /// A pool of kernel workers got stuck. A slow host can be the cause.
    WorkqueueLockup,
    /// A network device can't go because something still refers to it.
    UnregisterNetdevice,
    /// A linked list is broken.
    ListCorruption,
    /// A reference count went where it must not go.
    RefcountCorruption,
    /// The slab allocator found its objects overwritten, or freed twice.
    SlabCorruption,
    /// The machine's memory is used up.
    OutOfMemory,
    /// Memory that nothing refers to any more.
    MemoryLeak,
}

impl Kind {
    /// Whether the kernel, or the task that it happened in, can't go on.
    pub fn is_crash(self) -> bool {
        matches!(self, Self::Bug | Self::Oops | Self::GeneralProtectionFault)
            || matches!(self, Self::PageFault | Self::Panic)
    }

    /// Whether time alone is what the kernel complains of, so that a host that didn't run the
    /// guest for a while explains it as well as a bug does.
    pub fn is_slowness(self) -> bool {
        matches!(self, Self::RcuStall | Self::HungTask | Self::SoftLockup)
            || matches!(self, Self::HardLockup | Self::WorkqueueLockup)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}
