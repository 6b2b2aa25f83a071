//! Loads programs.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::{Command, bpf, own};

/// What a program may be attached to: `enum bpf_prog_type`, include/uapi/linux/bpf.h.
#[derive(Clone, Copy)]
pub(crate) enum ProgramKind {
    Kprobe = 2,
    Tracepoint = 5,
}

/// `BPF_PROG_LOAD`'s part of `union bpf_attr`, as far as we use it.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// A program that the verifier accepted.
pub(crate) fn load(kind: ProgramKind, instructions: &[u64]) -> Result<OwnedFd, Errno> {
    let mut attributes = LoadAttributes {
        program_type: kind as u32,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: running_version(),
        flags: 0,
    };
    // SAFETY: instructions and license outlive the call, and it returns a new descriptor.
    Ok(unsafe { own(bpf(Command::ProgramLoad, &mut attributes)?) })
}

/// `LINUX_VERSION_CODE` of the running kernel, which kprobe programs must name before 5.0.
fn running_version() -> u32 {
    let release =
        nix::sys::utsname::uname().map(|uts| uts.release().to_owned()).unwrap_or_default();
    let release = release.to_string_lossy();
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (version, patch_level, sub_level) = (next(), next(), next());
    version << 16 | patch_level << 8 | sub_level.min(255)
}
