//! Loads programs.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

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

/// `struct bpf_prog_info`, include/uapi/linux/bpf.h, up to the field that we read. Kernels that know less
/// of it leave the rest as it is, and insist that it is zero.
#[repr(C, align(8))]
#[derive(Default)]
struct ProgramInfo {
    others: [[u64; 13]; 2],
    recursion_misses: u64,
}

/// `BPF_OBJ_GET_INFO_BY_FD`'s part of `union bpf_attr`.
#[repr(C)]
struct InfoAttributes {
    fd: u32,
    info_size: u32,
    info: u64,
}

/// How often the kernel did not run a program where it should have (`bpf_prog_get_info_by_fd`,
/// kernel/bpf/syscall.c).
///
/// A program is not run inside of itself, or of a bpf(2) call, on the same CPU. From 7.2 on, those on
/// syscall tracepoints can be preempted (`trace_call_bpf_faultable`, kernel/trace/bpf_trace.c): while
/// a thread stands inside of a program, it is not run for the others. Kernels before 5.12 don't count.
pub(crate) fn skipped_runs(program: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut info = ProgramInfo::default();
    let mut attributes = InfoAttributes {
        fd: program.as_raw_fd().cast_unsigned(),
        info_size: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the kernel writes at most `info_size` bytes of integers to `info`, which outlives the call.
    unsafe { bpf(Command::ObjectGetInfo, &mut attributes) }?;
    Ok(info.recursion_misses)
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

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// As the kernel's headers have them.
    #[test]
    fn the_count_is_where_the_kernel_writes_it() {
        assert_eq!(
            offset_of!(ProgramInfo, recursion_misses),
            offset_of!(libbpf_sys::bpf_prog_info, recursion_misses)
        );
    }
}
