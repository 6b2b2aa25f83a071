//! `inotify`: rename notifications, on their way to an inotify group.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{kprobe, map},
    maps::PerCpuArray,
    programs::ProbeContext,
};
use kernlab_abi::{InotifyEvent, NAME_IS_QSTR, RENAME_MASK};
use kernlab_aya_ebpf::{KernelMemory, TracedThread, arch::Arguments, emit};

/// The event is too large for the stack.
#[map(name = "scratch")]
static SCRATCH: PerCpuArray<InotifyEvent> = PerCpuArray::with_max_entries(1, 0);

#[kprobe]
fn inotify_rename(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let config = thread.config;
    let memory = KernelMemory::new(config);
    let arguments = Arguments::new(&context, memory);
    let mask = arguments.get(config.mask_argument) as u32;
    if mask & RENAME_MASK == 0 {
        return None;
    }
    let mut name = arguments.get(config.name_argument);
    if config.name_kind == NAME_IS_QSTR {
        name = memory.read_u64(name.wrapping_add(config.layout.qstr_name.into()));
    }
    let event = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the event is this CPU's slot of the map, which is initialised and which no other
    // program uses while this one runs.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        (*event).mask = mask;
        (*event).cookie = arguments.get(config.cookie_argument) as u32;
        memory.read_string(name, &raw mut (*event).name);
        emit(&context, event);
    }
    Some(())
}
