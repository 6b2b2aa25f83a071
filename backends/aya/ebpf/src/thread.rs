//! The thread in whose name a program runs.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated},
    macros::map,
    maps::Array,
};
use kernlab_abi::{COMM_LEN, EventHeader, ProgramConfig};

/// Written by the loader before anything is attached.
#[map(name = "config")]
static CONFIG: Array<ProgramConfig> = Array::with_max_entries(1, 0);

/// A thread of the traced process.
#[derive(Clone, Copy)]
pub struct TracedThread {
    /// Process in the upper half, thread in the lower.
    pub pid_tgid: u64,
    /// The plan's decisions.
    pub config: &'static ProgramConfig,
}

impl TracedThread {
    /// The current thread, if it belongs to the traced process.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        let config = CONFIG.get(0)?;
        let pid_tgid = bpf_get_current_pid_tgid();
        ((pid_tgid >> 32) as u32 == config.tgid).then_some(TracedThread { pid_tgid, config })
    }

    /// Writes what every event starts with.
    ///
    /// # Safety
    ///
    /// `header` is valid for writes.
    #[inline(always)]
    pub unsafe fn write_header(self, header: *mut EventHeader) {
        // SAFETY: all fields are valid for writes by this function's contract, and the helper
        // writes no more than the `COMM_LEN` bytes of `comm`.
        unsafe {
            (*header).time = generated::bpf_ktime_get_ns();
            (*header).tgid = (self.pid_tgid >> 32) as u32;
            (*header).tid = self.pid_tgid as u32;
            generated::bpf_get_current_comm((&raw mut (*header).comm).cast(), COMM_LEN as u32);
        }
    }
}
