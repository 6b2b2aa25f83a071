//! `sock_alloc`: sockets at the moment that they get their file.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use kernlab_abi::SockAllocEvent;
use kernlab_aya_ebpf::{KernelMemory, TracedThread, arch::Arguments, emit};

#[kprobe]
fn sock_alloc(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let memory = KernelMemory::new(thread.config);
    let layout = &thread.config.layout;
    let socket = Arguments::new(&context, memory).get(1);
    let socket_type = memory.read_field(socket, layout.socket_type)?;
    let operations = memory.read_field::<u64>(socket, layout.socket_ops)?;
    let family = memory.read_field::<u32>(operations, layout.proto_ops_family)?;
    let mut event = MaybeUninit::<SockAllocEvent>::uninit();
    let event = event.as_mut_ptr();
    // SAFETY: all fields, and so all bytes, of the event are written before it is emitted.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        (*event).socket_type = socket_type;
        (*event).family = family as u16;
        (*event).reserved = 0;
        emit(&context, event);
    }
    Some(())
}
