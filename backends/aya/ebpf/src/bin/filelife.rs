//! `filelife`: files that are created and unlinked, with the time between.
//!
//! A file is known by the address of its dentry, which is the same from creation to unlink, whatever
//! it is renamed to.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{kprobe, kretprobe, map},
    maps::{HashMap, PerCpuArray},
    programs::{ProbeContext, RetProbeContext},
};
use kernlab_abi::{
    FMODE_CREATED, FileLifeEvent, KIND_DIRECTORY, KIND_MASK, LOST_BIRTHS, LOST_PENDING,
    LOST_UNSEEN, MAX_BIRTHS, MAX_PENDING, PendingUnlink,
};
use kernlab_aya_ebpf::{
    FileReader, TracedThread,
    arch::{Arguments, return_value},
    count_lost, emit,
};

/// When each file was created, by its dentry. One whose creation fails in the end stays here, and is
/// overwritten if that dentry gets a file after all.
#[map(name = "births")]
static BIRTHS: HashMap<u64, u64> = HashMap::with_max_entries(MAX_BIRTHS, 0);

/// Calls under way, by thread: `pid_tgid`.
#[map(name = "pending")]
static PENDING: HashMap<u64, PendingUnlink> = HashMap::with_max_entries(MAX_PENDING, 0);

/// The event is too large for the stack.
#[map(name = "scratch")]
static SCRATCH: PerCpuArray<FileLifeEvent> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn born(dentry: u64) {
    // SAFETY: the helper has no requirements.
    let now = unsafe { bpf_ktime_get_ns() };
    // Where there is no room, the file's end will go unreported.
    if dentry != 0 && BIRTHS.insert(dentry, now, 0).is_err() {
        count_lost(LOST_BIRTHS);
    }
}

/// The inode of the directory that a dentry is in.
#[inline(always)]
fn directory_of(reader: FileReader, dentry: u64) -> u64 {
    let parent = reader.pointer(dentry, reader.layout.dentry_d_parent);
    reader.pointer(parent, reader.layout.dentry_d_inode)
}

/// Does nothing exist yet by a dentry's name, and would that be in a directory?
#[inline(always)]
fn is_vacant(reader: FileReader, dentry: u64) -> bool {
    let (memory, layout) = (reader.memory, reader.layout);
    let inode = memory.read::<u64>(dentry.wrapping_add(layout.dentry_d_inode.into()));
    if inode != Some(0) {
        return false;
    }
    let directory = directory_of(reader, dentry);
    let mode = memory.read::<u16>(directory.wrapping_add(layout.inode_i_mode.into()));
    mode.is_some_and(|mode| u32::from(mode) & KIND_MASK == KIND_DIRECTORY)
}

/// `security_inode_create(dir, dentry, mode)`, where open(2) tells nothing, and in the scenario `failed_unlink`.
/// A file that is there already is mistaken for new if the kernel has yet to look it up: it asks for permission
/// first (`lookup_open`, fs/namei.c).
#[kprobe]
fn create_allowed(context: ProbeContext) -> Option<()> {
    let reader = FileReader::new(TracedThread::current()?.config);
    born(Arguments::new(&context, reader.memory).get(2));
    Some(())
}

/// `vfs_open(path, file)`
#[kprobe]
fn open_created(context: ProbeContext) -> Option<()> {
    let reader = FileReader::new(TracedThread::current()?.config);
    let (memory, layout) = (reader.memory, reader.layout);
    let arguments = Arguments::new(&context, memory);
    let mode = memory.read::<u32>(arguments.get(2).wrapping_add(layout.file_f_mode.into()))?;
    if mode & FMODE_CREATED != 0 {
        born(reader.pointer(arguments.get(1), layout.path_dentry));
    }
    Some(())
}

/// `vfs_create(dir, dentry, ...)` up to 5.11, `(idmap, dir, dentry, ...)` up to 6.18 with a user
/// namespace for the idmap at first, `(idmap, dentry, ...)` since.
///
/// Where the plan can't tell, it is the argument by whose name nothing exists yet. The inode of a
/// directory doesn't pass for one: where a dentry has `d_inode`, an inode has `i_mapping` (RT:
/// `i_ino`), and that is never zero.
#[kprobe]
fn create_enter(context: ProbeContext) -> Option<()> {
    let config = TracedThread::current()?.config;
    let reader = FileReader::new(config);
    let arguments = Arguments::new(&context, reader.memory);
    let dentry = match config.create_dentry_argument {
        0 if is_vacant(reader, arguments.get(2)) => arguments.get(2),
        0 if is_vacant(reader, arguments.get(3)) => arguments.get(3),
        0 => return None,
        number => arguments.get(number),
    };
    born(dentry);
    Some(())
}

/// `vfs_unlink(dir, dentry, ...)` up to 5.11, `(idmap, dir, dentry, ...)` since.
///
/// Where the plan can't tell, the dentry is the argument that is in the directory before it. The
/// kernel insists on that as well: `may_delete`, fs/namei.c.
#[kprobe]
fn unlink_enter(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    // The return of the thread's last unlink was not seen, so that is lost.
    if PENDING.remove(thread.pid_tgid).is_ok() {
        count_lost(LOST_UNSEEN);
    }
    let config = thread.config;
    let reader = FileReader::new(config);
    let arguments = Arguments::new(&context, reader.memory);
    let dentry = match config.unlink_dentry_argument {
        0 if directory_of(reader, arguments.get(2)) == arguments.get(1) => arguments.get(2),
        0 if directory_of(reader, arguments.get(3)) == arguments.get(2) => arguments.get(3),
        0 => return None,
        number => arguments.get(number),
    };
    // SAFETY: the value is copied at once, and no other thread can unlink this file now.
    let born = unsafe { *BIRTHS.get_ptr(dentry)? };
    if PENDING.insert(thread.pid_tgid, PendingUnlink { dentry, born }, 0).is_err() {
        count_lost(LOST_PENDING);
    }
    Some(())
}

#[kretprobe]
fn unlink_exit(context: RetProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let pending = PENDING.get_ptr(thread.pid_tgid)?;
    // SAFETY: only this thread inserts or removes its entry, so the value stays until it is removed
    // below.
    let PendingUnlink { dentry, born } = unsafe { *pending };
    // If this failed, the loader would find the entry at the end.
    _ = PENDING.remove(thread.pid_tgid);
    if return_value(&context) as i32 != 0 {
        return None;
    }
    _ = BIRTHS.remove(dentry);
    let event = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the event is this CPU's slot of the map, which is initialised and which no other
    // program uses while this one runs.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        (*event).lifetime = (*event).header.time.wrapping_sub(born);
        // The caller still holds the dentry.
        FileReader::new(thread.config).write_name(dentry, &raw mut (*event).name);
        emit(&context, event);
    }
    Some(())
}
