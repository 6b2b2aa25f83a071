//! Loads programs.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    sync::LazyLock,
};

use kernlab_core::elf::linux_version_code;
use nix::{
    errno::Errno,
    sys::utsname::{UtsName, uname},
};

use super::{Assembler, Command, Register, bpf, own};

/// What a program may be attached to: `enum bpf_prog_type`, include/uapi/linux/bpf.h.
#[derive(Clone, Copy)]
pub(crate) enum ProgramKind {
    Kprobe = 2,
    Tracepoint = 5,
}

/// `BPF_PROG_LOAD`'s part of `union bpf_attr`, as far as we use it. Kernels that know less of it insist
/// that the rest is zero.
#[derive(Default)]
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
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
    btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_count: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_count: u32,
    attach_btf_id: u32,
}

/// `BPF_PROG_TYPE_TRACING`.
const TRACING: u32 = 26;
/// `BPF_TRACE_FENTRY` of `enum bpf_attach_type`.
const TRACE_FENTRY: u32 = 24;

/// `struct bpf_prog_info`, include/uapi/linux/bpf.h, up to the last field that we read. Kernels that know
/// less of it leave the rest as it is, and insist that it is zero.
#[repr(C, align(8))]
#[derive(Default)]
struct ProgramInfo {
    program_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_bytes: u32,
    xlated_bytes: u32,
    others: [u64; 23],
    recursion_misses: u64,
    verified_instructions: u32,
    rest: u32,
}

/// What the kernel made of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Instructions that the verifier looked at; 0 before 5.16, which doesn't tell.
    pub(crate) verified_instructions: u32,
    /// The length of its instructions in bytes.
    pub(crate) xlated_bytes: u32,
    /// The length of its machine code; 0 if it is interpreted.
    pub(crate) jited_bytes: u32,
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
/// a thread stands inside of a program, it is not run for the others. Kernels before 6.7 don't count those of
/// kprobes and tracepoints.
pub(crate) fn skipped_runs(program: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(info(program)?.recursion_misses)
}

/// How long a program is.
pub(crate) fn sizes(program: BorrowedFd<'_>) -> Result<Sizes, Errno> {
    let ProgramInfo { verified_instructions, xlated_bytes, jited_bytes, .. } = info(program)?;
    Ok(Sizes { verified_instructions, xlated_bytes, jited_bytes })
}

fn info(program: BorrowedFd<'_>) -> Result<ProgramInfo, Errno> {
    let mut info = ProgramInfo::default();
    let mut attributes = InfoAttributes {
        fd: program.as_raw_fd().cast_unsigned(),
        info_size: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the kernel writes at most `info_size` bytes of integers to `info`, which outlives the call.
    unsafe { bpf(Command::ObjectGetInfo, &mut attributes) }?;
    Ok(info)
}

/// A program that the verifier accepted.
pub(crate) fn load(kind: ProgramKind, instructions: &[u64]) -> Result<OwnedFd, Errno> {
    load_of_type(kind as u32, instructions)
}

/// Loads the shortest program, with the verifier's log.
pub(crate) fn load_with_log(level: u32, log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut program = Assembler::default();
    program.set(Register::R0, 0).exit();
    let kprobe = LoadAttributes { program_type: ProgramKind::Kprobe as u32, ..Default::default() };
    load_logged(kprobe, &program.finish(), level, log)
}

/// A program, of a type that the kernel may not know, that the verifier accepted.
pub(crate) fn load_of_type(program_type: u32, instructions: &[u64]) -> Result<OwnedFd, Errno> {
    let attributes = LoadAttributes { program_type, ..Default::default() };
    load_logged(attributes, instructions, 0, &mut [])
}

/// A program for the entry of the function that has this number in the kernel's BTF.
pub(crate) fn load_for_entry(function: u32, instructions: &[u64]) -> Result<OwnedFd, Errno> {
    let attributes = LoadAttributes {
        program_type: TRACING,
        expected_attach_type: TRACE_FENTRY,
        attach_btf_id: function,
        ..Default::default()
    };
    load_logged(attributes, instructions, 0, &mut [])
}

fn load_logged(
    attributes: LoadAttributes,
    instructions: &[u64],
    level: u32,
    log: &mut [u8],
) -> Result<OwnedFd, Errno> {
    let mut attributes = LoadAttributes {
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: level,
        log_size: log.len() as u32,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kernel_version: version_code(),
        ..attributes
    };
    // SAFETY: instructions, license and log outlive the call, and it returns a new descriptor.
    Ok(unsafe { own(bpf(Command::ProgramLoad, &mut attributes)?) })
}

/// `LINUX_VERSION_CODE` of the running kernel, which kprobe programs must name before 5.0. Without a vDSO, it is
/// what the release says.
fn version_code() -> u32 {
    static CODE: LazyLock<u32> = LazyLock::new(|| {
        let of_vdso = vdso().ok().and_then(|vdso| linux_version_code(&vdso));
        of_vdso.unwrap_or_else(|| of_release(&uname().map_or_else(|_| String::new(), release)))
    });
    *CODE
}

fn release(names: UtsName) -> String {
    names.release().to_string_lossy().into_owned()
}

fn of_release(release: &str) -> u32 {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (version, patch_level, sub_level) = (next(), next(), next());
    version << 16 | patch_level << 8 | sub_level.min(255)
}

/// The shared object that the kernel maps into every process: vdso(7).
fn vdso() -> io::Result<Vec<u8>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let addresses = maps.lines().find_map(|line| line.strip_suffix("[vdso]")?.split_once(' '));
    let bounds = addresses.and_then(|(range, _)| range.split_once('-'));
    let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
    let bounds = bounds.and_then(|(from, to)| Some((hexadecimal(from)?, hexadecimal(to)?)));
    let (from, to) = bounds.ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = vec![0; (to - from) as usize];
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// As the kernel's headers have them.
    #[test]
    fn numbers_are_where_the_kernel_writes_them() {
        let ours = [
            offset_of!(ProgramInfo, jited_bytes),
            offset_of!(ProgramInfo, xlated_bytes),
            offset_of!(ProgramInfo, recursion_misses),
            offset_of!(ProgramInfo, verified_instructions),
        ];
        let theirs = [
            offset_of!(libbpf_sys::bpf_prog_info, jited_prog_len),
            offset_of!(libbpf_sys::bpf_prog_info, xlated_prog_len),
            offset_of!(libbpf_sys::bpf_prog_info, recursion_misses),
            offset_of!(libbpf_sys::bpf_prog_info, verified_insns),
        ];
        assert_eq!(ours, theirs);
        // The kernel fills in no more than it is asked for.
        assert!(size_of::<ProgramInfo>() >= theirs[3] + size_of::<u32>());
    }

    #[test]
    fn the_vdso_tells_the_version_of_the_release() {
        assert_eq!(of_release("5.4.300-7-generic"), 0x0005_04ff);
        // The last number differs on some distributions.
        let code = linux_version_code(&vdso().unwrap()).unwrap();
        assert_eq!(code >> 8, of_release(&release(uname().unwrap())) >> 8);
    }

    #[test]
    fn attributes_are_where_the_kernel_reads_them() {
        use libbpf_sys::bpf_attr__bindgen_ty_4 as Theirs;

        let ours = [
            offset_of!(LoadAttributes, expected_attach_type),
            offset_of!(LoadAttributes, attach_btf_id),
        ];
        let theirs = [offset_of!(Theirs, expected_attach_type), offset_of!(Theirs, attach_btf_id)];
        assert_eq!(ours, theirs);
        assert_eq!(TRACING, libbpf_sys::BPF_PROG_TYPE_TRACING);
        assert_eq!(TRACE_FENTRY, libbpf_sys::BPF_TRACE_FENTRY);
    }
}
