//! Watches which calls a loader makes. A loader says that something failed, but not always which call; and
//! before that it tries what the kernel can do, by calls that are meant to fail.
//!
//! Both loaders call the kernel by syscall(2), and the linker puts a function of ours in its place (build.rs).

use std::{
    cell::Cell,
    ffi::c_long,
    mem,
    time::{Duration, Instant},
};

use kernlab_core::object_record::Call;
use nix::errno::Errno;

use super::measure::{self, Attributes, Measured};

/// The names of the programs and maps that loaders try a kernel with, as far as the kernel keeps them:
/// libbpf's src/features.c, and aya/src/sys/bpf.rs.
const TRIALS: [&str; 7] = [
    "libbpf_nametest",
    "libbpf_global",
    "libbpf_mmap",
    "libbpf_det_bind",
    "det_arg_ctx",
    "aya_name_check",
    "aya_global",
];

/// A call that was made.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) call: Call,
    /// The program's or the map's name, as far as the kernel keeps it.
    pub(super) name: String,
    /// The type of the program or the map.
    pub(super) kind: u32,
    pub(super) result: Result<i32, i32>,
    pub(super) took: Duration,
    /// Of a program.
    pub(super) measured: Measured,
}

impl Watched {
    /// The number that it failed with.
    pub(super) fn errno(&self) -> Option<i32> {
        self.result.err()
    }

    /// Whether it is about a program or a map of the object. Loaders try the kernel with programs and
    /// maps that have no name, or one of theirs.
    pub(super) fn is_of_object(&self) -> bool {
        !self.name.is_empty() && !TRIALS.contains(&self.name.as_str())
    }
}

thread_local! {
    static CALLS: Cell<Option<Vec<Watched>>> = const { Cell::new(None) };
}

/// Does a step, and returns the calls that were made meanwhile.
pub(super) fn watch<T>(step: impl FnOnce() -> T) -> (T, Vec<Watched>) {
    CALLS.set(Some(Vec::new()));
    let result = step();
    (result, CALLS.take().unwrap_or_default())
}

unsafe extern "C" {
    fn __real_syscall(number: c_long, ...) -> c_long;
}

/// Every call of syscall(2) in this program arrives here.
///
/// # Safety
///
/// The same as for syscall(2): the arguments must suit the number.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_syscall(
    number: c_long,
    first: c_long,
    second: c_long,
    third: c_long,
    fourth: c_long,
    fifth: c_long,
    sixth: c_long,
) -> c_long {
    // SAFETY: the caller's promise. Where it passed fewer arguments, the kernel ignores the rest.
    let make = || unsafe { __real_syscall(number, first, second, third, fourth, fifth, sixth) };
    let is_bpf = number == libc::SYS_bpf;
    if !is_bpf && number != libc::SYS_perf_event_open {
        return make();
    }
    // Calls that are made to measure this one are not watched.
    let Some(mut calls) = CALLS.take() else { return make() };
    let call = if is_bpf { command(first) } else { Call::PerfEventOpen };
    // SAFETY: for bpf(2), the second argument points to attributes whose size is the third.
    let attributes =
        is_bpf.then(|| unsafe { Attributes::copy(second as *const u8, third as usize) });
    if let (Call::ProgramLoad, Some(attributes)) = (call, &attributes)
        && let Some(errno) = refused_before(attributes, &calls)
    {
        CALLS.set(Some(calls));
        Errno::set_raw(errno);
        return -1;
    }
    let started = Instant::now();
    let answer = make();
    let took = started.elapsed();
    let errno = Errno::last_raw();
    let result = if answer < 0 { Err(errno) } else { Ok(answer as i32) };
    let mut watched =
        Watched { call, name: String::new(), kind: 0, result, took, measured: Measured::default() };
    match (call, attributes) {
        (Call::MapCreate, Some(attributes)) => {
            (watched.name, watched.kind) = (attributes.map_name(), attributes.kind());
        }
        (Call::ProgramLoad, Some(attributes)) => {
            (watched.name, watched.kind) = (attributes.program_name(), attributes.kind());
            let is_known = |known: &Watched| known.call == call && known.name == watched.name;
            let known = calls.iter().any(is_known);
            if watched.is_of_object() && !known {
                // SAFETY: the loader still owns what the attributes point to.
                watched.measured = unsafe { measure::measure(&attributes, result) };
            }
        }
        _ => {}
    }
    calls.push(watched);
    CALLS.set(Some(mem::take(&mut calls)));
    Errno::set_raw(errno);
    answer
}

/// What a program was refused with that is only loaded again for its log, in one attempt after the other
/// until it fits: many seconds for a program that the verifier gave up on. Its log is there already.
fn refused_before(attributes: &Attributes, calls: &[Watched]) -> Option<i32> {
    let name = attributes.program_name();
    let first = calls.iter().find(|call| call.call == Call::ProgramLoad && call.name == name)?;
    let is_measured = first.is_of_object() && attributes.asks_for_log();
    first.errno().filter(|_| is_measured)
}

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
fn command(number: c_long) -> Call {
    match number {
        0 => Call::MapCreate,
        5 => Call::ProgramLoad,
        17 => Call::RawTracepointOpen,
        18 => Call::BtfLoad,
        28 => Call::LinkCreate,
        _ => Call::OtherBpf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_like_a_loader_s_is_not_one_of_its_trials() {
        let is_of_object = |name: &str| {
            let (call, result, took) = (Call::ProgramLoad, Ok(3), Duration::ZERO);
            let (name, measured) = (name.to_owned(), Measured::default());
            Watched { call, name, kind: 0, result, took, measured }.is_of_object()
        };
        assert!(["aya_loops", "libbpf_probe", "openat"].into_iter().all(is_of_object));
        assert!(!["", "aya_name_check", "libbpf_nametest"].into_iter().any(is_of_object));
    }
}
