//! Tries what the kernel's BPF can do. Raw system calls, because neither backend's loader may decide
//! for the other.

use kernlab_core::facts::Trial;
use nix::errno::Errno;

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_PROG_LOAD: libc::c_long = 5;

const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_FUNC_PROBE_READ_KERNEL: u32 = 113;

/// `BPF_MAP_CREATE`'s part of `union bpf_attr`, as far as we use it.
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// `BPF_PROG_LOAD`'s part of `union bpf_attr`, as far as we use it.
#[repr(C)]
struct ProgramAttributes {
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

fn bpf<T>(command: libc::c_long, attributes: &T) -> Result<(), Errno> {
    // SAFETY: the attributes are valid for reads of their size, and what they point to outlives the
    // call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    let fd = Errno::result(fd)?;
    // SAFETY: the descriptor is new and nobody else knows it.
    unsafe { libc::close(fd as i32) };
    Ok(())
}

fn answer(result: Result<(), Errno>) -> Trial {
    match result {
        Ok(()) => Trial::Yes,
        // An unknown map type, or an unknown helper.
        Err(Errno::EINVAL) => Trial::No,
        Err(errno) => Trial::CouldNotTell(errno as i32),
    }
}

/// Creates a ring buffer.
pub(crate) fn ring_buffer() -> Trial {
    let map_type = BPF_MAP_TYPE_RINGBUF;
    answer(bpf(
        BPF_MAP_CREATE,
        &MapAttributes { map_type, key_size: 0, value_size: 0, max_entries: 4096 },
    ))
}

/// Loads a kprobe program that calls the helper.
pub(crate) fn probe_read_kernel() -> Trial {
    // include/uapi/linux/bpf.h: opcode, registers (source << 4 | destination), offset, immediate.
    const fn instruction(opcode: u8, registers: u8, immediate: u32) -> u64 {
        opcode as u64 | (registers as u64) << 8 | (immediate as u64) << 32
    }
    let instructions = [
        instruction(0xbf, 0xa1, 0),                          // r1 = r10
        instruction(0x07, 0x01, -8i32 as u32),               // r1 += -8
        instruction(0xb7, 0x02, 8),                          // r2 = 8
        instruction(0xb7, 0x03, 0),                          // r3 = 0
        instruction(0x85, 0x00, BPF_FUNC_PROBE_READ_KERNEL), // call
        instruction(0xb7, 0x00, 0),                          // r0 = 0
        instruction(0x95, 0x00, 0),                          // exit
    ];
    answer(bpf(
        BPF_PROG_LOAD,
        &ProgramAttributes {
            program_type: BPF_PROG_TYPE_KPROBE,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: running_version(),
            flags: 0,
        },
    ))
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
