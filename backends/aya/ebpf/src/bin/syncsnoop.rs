//! `syncsnoop`: calls of the sync(2) family, on entry.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use kernlab_abi::{
    CALL_FDATASYNC, CALL_FSYNC, CALL_MSYNC, CALL_SYNC, CALL_SYNC_FILE_RANGE, CALL_SYNCFS, SyncEvent,
};
use kernlab_aya_ebpf::{TracedThread, emit};

#[inline(always)]
fn sync_call(context: &TracePointContext, call: u32) -> Option<()> {
    let thread = TracedThread::current()?;
    let mut event = MaybeUninit::<SyncEvent>::uninit();
    let event = event.as_mut_ptr();
    // SAFETY: all fields, and so all bytes, of the event are written before it is emitted.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        (*event).call = call;
        (*event).reserved = 0;
        emit(context, event);
    }
    Some(())
}

/// One program per tracepoint: a number of a system call means nothing on another architecture.
macro_rules! sync_calls {
    ($($program:ident: $call:ident,)*) => {
        $(
            #[tracepoint]
            fn $program(context: TracePointContext) -> Option<()> {
                sync_call(&context, $call)
            }
        )*
    };
}

sync_calls! {
    sys_enter_sync: CALL_SYNC,
    sys_enter_syncfs: CALL_SYNCFS,
    sys_enter_fsync: CALL_FSYNC,
    sys_enter_fdatasync: CALL_FDATASYNC,
    sys_enter_msync: CALL_MSYNC,
    sys_enter_sync_file_range: CALL_SYNC_FILE_RANGE,
}
