//! Workloads that misbehave.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    process::exit,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::signal::{Signal, raise},
};

/// Does this in place of a workload's actions.
pub(crate) fn workload(way: &str) -> io::Result<()> {
    println!();
    io::read_to_string(io::stdin())?;
    raise(Signal::SIGSTOP)?;
    match way {
        "fails" => {
            raise(Signal::SIGSTOP)?;
            eprintln!("the disk is full");
            exit(1);
        }
        "leaves-a-program" => {
            leave_a_program()?;
            raise(Signal::SIGSTOP)?;
            println!(r#"{{"names": {{}}, "did": []}}"#);
            exit(0)
        }
        other => panic!("unknown workload {other:?}"),
    }
}

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const PROGRAM_LOAD: libc::c_long = 5;
const PROGRAM_ATTACH: libc::c_long = 8;

/// `BPF_PROG_LOAD`'s part of `union bpf_attr`.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: *const u64,
    license: *const libc::c_char,
    rest: [u64; 3],
}

/// `BPF_PROG_ATTACH`'s part of it.
#[repr(C)]
struct AttachAttributes {
    target: i32,
    program: i32,
    attach_type: u32,
    flags: u32,
}

/// Attaches the shortest program to the control group of all processes, where it stays.
fn leave_a_program() -> io::Result<()> {
    const PLACE: &str = "/tmp/cgroup";
    const CGROUP_SKB: u32 = 8;
    const EGRESS: u32 = 1;
    /// r0 = 1; exit: packets may leave.
    const INSTRUCTIONS: [u64; 2] = [0x1_0000_00b7, 0x95];
    fs::create_dir(PLACE)?;
    mount(Some("none"), PLACE, Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
    let load = LoadAttributes {
        program_type: CGROUP_SKB,
        instruction_count: 2,
        instructions: INSTRUCTIONS.as_ptr(),
        license: c"GPL".as_ptr(),
        rest: [0; 3],
    };
    // SAFETY: instructions and licence outlive the call, which returns a new descriptor.
    let program = unsafe { OwnedFd::from_raw_fd(bpf(PROGRAM_LOAD, &load)? as i32) };
    let target = File::open(PLACE)?;
    let attach = AttachAttributes {
        target: target.as_raw_fd(),
        program: program.as_raw_fd(),
        attach_type: EGRESS,
        flags: 0,
    };
    // SAFETY: the attributes point to nothing.
    unsafe { bpf(PROGRAM_ATTACH, &attach) }.map(drop)
}

/// # Safety
///
/// The attributes must be those of the command, and what they point to must be valid.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    let attributes = std::ptr::from_ref(attributes);
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    Ok(Errno::result(result)?)
}
