//! `filetop`: what each thread reads from and writes to each file, counted in the kernel.
//!
//! The file is taken on entry of `vfs_read` and `vfs_write`, the result where they or the system call
//! end. Calls that fail don't count, and bytes are those that were transferred, not those that were
//! asked for.
//!
//! A counter belongs to one thread, which is in one call at a time, so nothing is counted twice or
//! overwritten, and no addition needs to be atomic.
#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_NOEXIST,
    helpers::bpf_get_current_pid_tgid,
    macros::{kprobe, kretprobe, map, tracepoint},
    maps::{HashMap, PerCpuArray},
    programs::{ProbeContext, RetProbeContext, TracePointContext},
};
use kernlab_abi::{
    FileKey, FileTotals, LOST_PENDING, LOST_TOTALS, LOST_UNSEEN, MAX_PENDING, MAX_TOTALS,
    PendingTransfer,
};
use kernlab_aya_ebpf::{
    FileReader, TracedThread,
    arch::{Arguments, return_value},
    count_emitted, count_in, count_lost, read_context, syscall,
};

/// The transfer is too large for the stack. A kprobe isn't preempted, so the slot is ours.
#[map(name = "scratch")]
static SCRATCH: PerCpuArray<PendingTransfer> = PerCpuArray::with_max_entries(1, 0);

/// Calls under way, by thread: `pid_tgid`.
#[map(name = "pending")]
static PENDING: HashMap<u64, PendingTransfer> = HashMap::with_max_entries(MAX_PENDING, 0);

/// Read by the loader at the end of the session.
#[map(name = "totals")]
static TOTALS: HashMap<FileKey, FileTotals> = HashMap::with_max_entries(MAX_TOTALS, 0);

#[kprobe]
fn transfer_enter(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let config = thread.config;
    let reader = FileReader::new(config);
    let (memory, layout) = (reader.memory, reader.layout);
    let arguments = Arguments::new(&context, memory);
    // Up to 5.9 the kernel reads programs and modules for itself in this way.
    if arguments.get(2) >= config.kernel_address_min {
        return None;
    }
    let transfer = SCRATCH.get_ptr_mut(0)?;
    // The end of the thread's last call was not seen, so that is lost.
    if PENDING.get_ptr(thread.pid_tgid).is_some() {
        count_lost(LOST_UNSEEN);
    }

    let file = arguments.get(1);
    let inode = reader.pointer(file, layout.file_f_inode);
    let super_block = reader.pointer(inode, layout.inode_i_sb);
    let device = memory.read::<u32>(super_block.wrapping_add(layout.super_block_s_dev.into()));
    let mode = memory.read::<u16>(inode.wrapping_add(layout.inode_i_mode.into()));
    let path = file.wrapping_add(layout.file_f_path.into());
    // SAFETY: the transfer is this CPU's slot of the map, which is initialised and which no other
    // program uses while this one runs.
    let added = unsafe {
        let key = &raw mut (*transfer).key;
        (*key).thread = thread.pid_tgid;
        (*key).inode = reader.pointer(inode, layout.inode_i_ino);
        (*key).device = device.unwrap_or(0);
        let totals = &raw mut (*transfer).totals;
        (*totals).mode = mode.unwrap_or(0).into();
        reader.write_name(reader.pointer(path, layout.path_dentry), &raw mut (*totals).name);
        thread.write_header(&raw mut (*totals).header);
        let filled: &PendingTransfer = &*transfer;
        PENDING.insert(thread.pid_tgid, filled, 0)
    };
    // Where there is no room, the call is lost.
    if added.is_err() {
        count_lost(LOST_PENDING);
    }
    Some(())
}

/// The counters of the call that ends, if it did not fail.
#[inline(always)]
fn ended_transfer(returned: u64) -> Option<*mut FileTotals> {
    let thread = bpf_get_current_pid_tgid();
    let transfer = PENDING.get_ptr(thread)?;
    let totals = if returned as i64 >= 0 {
        // SAFETY: only this thread inserts or removes its entry, so the value stays until it is
        // removed below.
        unsafe { totals_of(transfer) }
    } else {
        None
    };
    // If this failed, the loader would find the entry at the end.
    _ = PENDING.remove(thread);
    totals
}

/// # Safety
///
/// `transfer` is valid for reads.
#[inline(always)]
unsafe fn totals_of(transfer: *const PendingTransfer) -> Option<*mut FileTotals> {
    // SAFETY: valid by this function's contract.
    let key = unsafe { (*transfer).key };
    if let Some(totals) = TOTALS.get_ptr_mut(key) {
        return Some(totals);
    }
    // One record more for the loader, or one call lost if there is no room.
    count_emitted();
    // SAFETY: valid by this function's contract.
    let first: &FileTotals = unsafe { &(*transfer).totals };
    _ = TOTALS.insert(key, first, BPF_NOEXIST.into());
    let added = TOTALS.get_ptr_mut(key);
    if added.is_none() {
        count_in(LOST_TOTALS);
    }
    added
}

#[inline(always)]
fn ended_read(returned: u64) -> Option<()> {
    let totals = ended_transfer(returned)?;
    // SAFETY: an entry of the map stays, and only this thread writes to it.
    unsafe {
        (*totals).reads += 1;
        (*totals).bytes_read += returned;
    }
    Some(())
}

#[inline(always)]
fn ended_write(returned: u64) -> Option<()> {
    let totals = ended_transfer(returned)?;
    // SAFETY: an entry of the map stays, and only this thread writes to it.
    unsafe {
        (*totals).writes += 1;
        (*totals).bytes_written += returned;
    }
    Some(())
}

/// The result of a system call, at the tracepoint of its end.
#[inline(always)]
fn returned(context: &TracePointContext) -> u64 {
    // SAFETY: the offset is in the context of every such tracepoint.
    unsafe { read_context::<{ syscall::RETURNED }>(context.as_ptr()) }
}

#[tracepoint]
fn read_exit(context: TracePointContext) -> Option<()> {
    ended_read(returned(&context))
}

#[tracepoint]
fn write_exit(context: TracePointContext) -> Option<()> {
    ended_write(returned(&context))
}

#[kretprobe]
fn read_return(context: RetProbeContext) -> Option<()> {
    ended_read(return_value(&context))
}

#[kretprobe]
fn write_return(context: RetProbeContext) -> Option<()> {
    ended_write(return_value(&context))
}
