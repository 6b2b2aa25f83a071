//! `many_args`: all arguments of a function that has more of them than registers.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{kprobe, map},
    maps::PerCpuArray,
    programs::ProbeContext,
};
use kernlab_abi::{CallEvent, MAX_ARGUMENTS};
use kernlab_aya_ebpf::{KernelMemory, TracedThread, arch::Arguments, emit};

/// The event is too large for the stack.
#[map(name = "scratch")]
static SCRATCH: PerCpuArray<CallEvent> = PerCpuArray::with_max_entries(1, 0);

/// Captures the arguments of these numbers, as far as there are so many, without a loop.
macro_rules! capture {
    ($arguments:ident, $count:expr => $to:expr; $($number:literal)*) => {
        const _: () = assert!([$($number),*].len() == MAX_ARGUMENTS);
        $(
            if $count >= $number {
                $to[$number - 1] = $arguments.get($number);
            }
        )*
    };
}

#[kprobe]
fn function_call(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let config = thread.config;
    let memory = KernelMemory::new(config);
    let arguments = Arguments::new(&context, memory);
    let event = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the event is this CPU's slot of the map, which is initialised and which no other
    // program uses while this one runs.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        capture!(arguments, config.argument_count => (*event).arguments; 1 2 3 4 5 6 7 8 9 10 11 12);
        if config.text_argument != 0 {
            let text = arguments.get(config.text_argument);
            memory.read_string(text, &raw mut (*event).text);
        }
        emit(&context, event);
    }
    Some(())
}
