//! `socket_write`: completed writes to sockets, seen at the tracepoints of the system calls or at the
//! functions behind them; the plan decides.
//!
//! On entry the descriptor tells which socket it is: another thread may give the descriptor to
//! another file while the call is under way. On exit the socket tells its addresses: the call itself
//! may have given it some, as sendto(2) does to a socket without a port. A connection that was reset meanwhile
//! has no port any more (`inet_put_port`), so that is also read on entry.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_current_task,
    macros::{kprobe, kretprobe, map, tracepoint},
    maps::HashMap,
    programs::{ProbeContext, RetProbeContext, TracePointContext},
};
use kernlab_abi::{
    ADDRESS_WORDS, AF_INET6, LOST_PENDING, LOST_UNSEEN, MAX_PENDING, PendingSocketWrite,
    ProgramConfig, SocketWriteEvent,
};
use kernlab_aya_ebpf::{
    KernelMemory, TracedThread,
    arch::{return_value, syscall_argument},
    count_lost, emit, read_context, syscall,
};

/// Calls under way, by thread: `pid_tgid`.
#[map(name = "pending")]
static PENDING: HashMap<u64, PendingSocketWrite> = HashMap::with_max_entries(MAX_PENDING, 0);

/// The `struct sock` behind a descriptor of the current task, if it is one of a socket.
#[inline(always)]
fn sock_of_descriptor(config: &ProgramConfig, fd: u32) -> Option<u64> {
    let memory = KernelMemory::new(config);
    let layout = &config.layout;
    // SAFETY: the helper has no arguments and can't fail.
    let task = unsafe { bpf_get_current_task() };
    let files = memory.read_field(task, layout.task_struct_files)?;
    let table = memory.read_field(files, layout.files_struct_fdt)?;
    if fd >= memory.read_field(table, layout.fdtable_max_fds)? {
        return None;
    }
    let descriptors = memory.read_field::<u64>(table, layout.fdtable_fd)?;
    let file = memory.read::<u64>(descriptors.wrapping_add(8 * u64::from(fd)))?;
    if memory.read_field::<u64>(file, layout.file_f_op)? != config.socket_file_ops {
        return None;
    }
    let socket = memory.read_field(file, layout.file_private_data)?;
    memory.read_field(socket, layout.socket_sk)
}

#[tracepoint]
fn socket_write_enter(context: TracePointContext) -> Option<()> {
    // SAFETY: the offset is in the context of sys_enter_*.
    let fd = unsafe { read_context::<{ syscall::ARGUMENTS }>(context.as_ptr()) };
    enter(TracedThread::current()?, fd as i32)
}

#[tracepoint]
fn socket_write_exit(context: TracePointContext) -> Option<()> {
    // SAFETY: the offset is in the context of sys_exit_*.
    let ret = unsafe { read_context::<{ syscall::RETURNED }>(context.as_ptr()) };
    leave(&context, ret as i64)
}

#[kprobe]
fn socket_write_entry(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let fd = syscall_argument::<1>(&context, KernelMemory::new(thread.config))?;
    enter(thread, fd as i32)
}

#[kretprobe]
fn socket_write_return(context: RetProbeContext) -> Option<()> {
    leave(&context, return_value(&context) as i64)
}

#[inline(always)]
fn enter(thread: TracedThread, fd: i32) -> Option<()> {
    // What is there is of a call whose exit was not seen.
    if PENDING.remove(thread.pid_tgid).is_ok() {
        count_lost(LOST_UNSEEN);
    }
    let sock = sock_of_descriptor(thread.config, fd as u32)?;
    let local_port = local_port(thread.config, sock);
    let write = PendingSocketWrite { sock, fd, local_port, reserved: 0 };
    // Where there is no room, the call is lost.
    if PENDING.insert(thread.pid_tgid, write, 0).is_err() {
        count_lost(LOST_PENDING);
    }
    Some(())
}

#[inline(always)]
fn leave(context: &impl EbpfContext, ret: i64) -> Option<()> {
    let thread = TracedThread::current()?;
    let write = PENDING.get_ptr(thread.pid_tgid)?;
    // SAFETY: only this thread inserts or removes its entry, so the value stays until it is removed
    // below.
    let PendingSocketWrite { sock, fd, local_port, .. } = unsafe { *write };
    // If this failed, the loader would find the entry at the end.
    _ = PENDING.remove(thread.pid_tgid);
    if ret < 0 {
        return None;
    }
    let mut event = MaybeUninit::<SocketWriteEvent>::uninit();
    let event = event.as_mut_ptr();
    // SAFETY: all fields, and so all bytes, of the event are written before it is emitted.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        (*event).ret = ret;
        (*event).fd = fd;
        (*event).reserved = 0;
        write_five_tuple(thread.config, sock, event);
        if (*event).local_port == 0 {
            (*event).local_port = local_port;
        }
        emit(context, event);
    }
    Some(())
}

/// The port that a socket has, or 0.
#[inline(always)]
fn local_port(config: &ProgramConfig, sock: u64) -> u16 {
    let port = KernelMemory::new(config).read_field(sock, config.layout.sock_common_skc_num);
    port.unwrap_or_default()
}

/// Writes family, protocol, addresses and ports: 0 for what can't be read.
///
/// # Safety
///
/// `event` is valid for writes.
#[inline(always)]
unsafe fn write_five_tuple(config: &ProgramConfig, sock: u64, event: *mut SocketWriteEvent) {
    let memory = KernelMemory::new(config);
    let layout = &config.layout;
    let number = |field: u32| memory.read_field::<u16>(sock, field).unwrap_or_default();
    let family = number(layout.sock_common_skc_family);
    let address = |inet: u32, inet6: u32| -> [u32; ADDRESS_WORDS] {
        match family {
            AF_INET6 => memory.read_field(sock, inet6).unwrap_or_default(),
            _ => [memory.read_field(sock, inet).unwrap_or_default(), 0, 0, 0],
        }
    };
    // SAFETY: valid by this function's contract.
    unsafe {
        (*event).family = family;
        (*event).protocol = number(layout.sock_sk_protocol) & config.protocol_mask as u16;
        (*event).local_address =
            address(layout.sock_common_skc_rcv_saddr, layout.sock_common_skc_v6_rcv_saddr);
        (*event).remote_address =
            address(layout.sock_common_skc_daddr, layout.sock_common_skc_v6_daddr);
        (*event).local_port = local_port(config, sock);
        (*event).remote_port = number(layout.sock_common_skc_dport);
    }
}
