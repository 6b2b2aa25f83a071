//! One function for each target: what must hold is in the module `fuzzing` of each crate, where tests run it
//! as well. Here, the work that an input may cost is bounded on top.

#![warn(missing_docs)]

use std::time::Duration;

use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    time::{ClockId, clock_gettime},
};

/// What any input may cost, in processor time of an instrumented build.
const ONCE: Duration = Duration::from_secs(1);
/// What each of its bytes may cost on top: what is quadratic in some kilobytes costs more.
const PER_BYTE: Duration = Duration::from_micros(100);

/// Gives handlers of signals a stack of their own, or no input would be kept that overflows the stack:
/// libFuzzer adds its handlers in the way that it finds here.
pub fn prepare() {
    let stack: &'static mut [u8] = Box::leak(vec![0; 1 << 18].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: stack.len(),
    };
    // SAFETY: the memory is never freed, and nothing else uses it.
    let set = unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
    assert_eq!(set, 0, "no stack for handlers");
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::SA_ONSTACK, SigSet::empty());
    // SAFETY: no handler of ours is called.
    unsafe { sigaction(Signal::SIGSEGV, &action) }.expect("the action is valid");
}

/// Runs a target, whose work must be linear in the length of its input.
fn within_bounds(bytes: &[u8], target: fn(&[u8]) -> bool) {
    let began = processor_time();
    target(bytes);
    let took = processor_time().saturating_sub(began);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let allowed = ONCE + PER_BYTE * length;
    assert!(took <= allowed, "{took:?} for {length} bytes, {allowed:?} are allowed");
}

/// That of this thread: what else the machine does has no part in it.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every kernel has it").into()
}

/// Type information of a kernel, or of an object.
pub fn btf(bytes: &[u8]) {
    within_bounds(bytes, kernlab_core::fuzzing::btf);
}

/// A dossier, as a guest reports it and as it is kept.
pub fn dossier(bytes: &[u8]) {
    within_bounds(bytes, kernlab_core::fuzzing::dossier);
}

/// The protocol between host and guest, in both directions.
pub fn frames(bytes: &[u8]) {
    within_bounds(bytes, kernlab_proto::fuzzing::frames);
}

/// A kernel's image, a module, type information in a file of its own.
pub fn image(bytes: &[u8]) {
    within_bounds(bytes, kernlab_kernels::fuzzing::image);
}

/// The texts of a kernel: symbols, formats of tracepoints, options, the verifier's log.
pub fn kernel_text(bytes: &[u8]) {
    within_bounds(bytes, kernlab_core::fuzzing::kernel_text);
}

/// kernlab.toml, with its expressions; splats.toml.
pub fn manifest(bytes: &[u8]) {
    within_bounds(bytes, kernlab_vmtest::fuzzing::manifest);
}

/// kernels.toml, kernels.lock, a kernel's configuration.
pub fn matrix(bytes: &[u8]) {
    within_bounds(bytes, kernlab_kernels::fuzzing::matrix);
}

/// An object of BPF programs, or a file with some inside of it.
pub fn object(bytes: &[u8]) {
    within_bounds(bytes, kernlab_core::fuzzing::object);
}

/// What a tracer prints, the console of its guest, and what the conductor reports.
pub fn output(bytes: &[u8]) {
    within_bounds(bytes, kernlab_vmtest::fuzzing::output);
}

/// A package or an archive: deb, RPM, tar, cpio.
pub fn package(bytes: &[u8]) {
    within_bounds(bytes, kernlab_kernels::fuzzing::package);
}

/// What comes out of a guest of the lab: events, and the record.
pub fn record(bytes: &[u8]) {
    within_bounds(bytes, kernlab_core::fuzzing::record);
}

/// report.json, and all that is made of it.
pub fn report(bytes: &[u8]) {
    within_bounds(bytes, kernlab_vmtest::fuzzing::report);
}

/// A document of a repository: release files, indexes, signatures.
pub fn repository(bytes: &[u8]) {
    within_bounds(bytes, kernlab_kernels::fuzzing::repository);
}

/// An archive that becomes the root of a guest.
pub fn root_archive(bytes: &[u8]) {
    within_bounds(bytes, kernlab_vmtest::fuzzing::root_archive);
}

/// A kernel's log in any form.
pub fn splat(bytes: &[u8]) {
    within_bounds(bytes, kernlab_splat::fuzzing::log);
}

/// What test runners list; a program, or a script.
pub fn tests(bytes: &[u8]) {
    within_bounds(bytes, kernlab_vmtest::fuzzing::tests);
}
