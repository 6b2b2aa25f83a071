//! Attaches programs: through perf events, as every kernel since 4.17 can, or by their type.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::errno::Errno;

use super::{Command, bpf, own};

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
/// Where tracefs is mounted, today and before 4.1.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const KPROBE_TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";

nix::ioctl_write_int!(set_bpf, b'$', 8);
nix::ioctl_none!(enable, b'$', 0);

/// `PERF_ATTR_SIZE_VER1` of `struct perf_event_attr`, include/uapi/linux/perf_event.h.
#[derive(Default)]
#[repr(C)]
struct Attributes {
    event_type: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
}

/// Runs `program` at every entry of the system call `name`, until what is returned is dropped.
pub(crate) fn attach_syscall_entry(name: &str, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = |tracefs: &str| format!("{tracefs}/events/syscalls/sys_enter_{name}/id");
    let id = fs::read_to_string(path(TRACEFS[0]))
        .or_else(|_| fs::read_to_string(path(TRACEFS[1])))
        .and_then(|text| number(&text))?;
    let event =
        Attributes { event_type: PERF_TYPE_TRACEPOINT, config: id, ..Attributes::default() };
    attach(event, program)
}

/// Runs `program` at every entry of the kernel function `symbol`, until what is returned is dropped.
pub(crate) fn attach_kprobe(symbol: &str, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let event_type = fs::read_to_string(KPROBE_TYPE).and_then(|text| number(&text))?;
    let symbol = CString::new(symbol)?;
    let event = Attributes {
        event_type: event_type as u32,
        config1: symbol.as_ptr() as u64,
        ..Attributes::default()
    };
    attach(event, program)
}

/// `BPF_RAW_TRACEPOINT_OPEN`'s part of `union bpf_attr`.
#[repr(C)]
struct ByType {
    name: u64,
    program: u32,
    reserved: u32,
}

/// Runs a program at what it named when it was loaded, until what is returned is dropped.
pub(crate) fn attach_by_type(program: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let program = program.as_raw_fd().cast_unsigned();
    let mut attributes = ByType { name: 0, program, reserved: 0 };
    // SAFETY: there is no name to point to, and the call returns a new descriptor.
    Ok(unsafe { own(bpf(Command::RawTracepointOpen, &mut attributes)?) })
}

fn number(text: &str) -> io::Result<u64> {
    text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn attach(event: Attributes, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let event = Attributes { size: size_of::<Attributes>() as u32, ..event };
    // A program is run on every processor and for every process, whatever its event counts.
    let (pid, cpu, group) = (-1, 0, -1);
    // SAFETY: the attributes have the size that they name, what they point to outlives the call,
    // and it returns a new descriptor.
    let event = unsafe {
        let attributes = std::ptr::from_ref(&event);
        let fd = libc::syscall(
            libc::SYS_perf_event_open,
            attributes,
            pid,
            cpu,
            group,
            PERF_FLAG_FD_CLOEXEC,
        );
        own(Errno::result(fd)?)
    };
    // SAFETY: both requests take descriptors, and these are open.
    unsafe {
        set_bpf(event.as_raw_fd(), program.as_raw_fd() as libc::c_ulong)?;
        enable(event.as_raw_fd())?;
    }
    Ok(event)
}
