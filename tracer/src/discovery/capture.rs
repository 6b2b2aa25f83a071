//! Captures calls of a kernel function that our own process causes, with whatever the arguments
//! point to, before the function can change it.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use kernlab_core::{
    discovery::{ARGUMENTS, Call, TARGET_BYTES},
    plan::ReadHelper,
};

use crate::{
    arch,
    bpf::{
        self, Array, Assembler, Condition, FUNC_GET_CURRENT_PID_TGID, FUNC_MAP_LOOKUP_ELEM,
        ProgramKind,
        Register::{Frame, R0, R1, R2, R3, R6, R7, R8, R9},
        Width,
    },
};

/// Calls that are captured at most. More are counted.
const MAX_CALLS: u32 = 16;

/// How the program reads.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) helper: ReadHelper,
    pub(super) kernel_address_min: u64,
    /// `offsetof(struct qstr, name)`.
    pub(super) qstr_name: u32,
}

/// Captures until it is asked for the calls.
pub(super) struct Capture {
    count: Array,
    calls: Array,
    attached: OwnedFd,
}

impl Capture {
    /// Starts with the next call of `function`.
    pub(super) fn start(function: &str, reading: Reading) -> Result<Self> {
        let count = Array::create(size_of::<u64>(), 1).context("creating a map")?;
        let calls = Array::create(size_of::<Call>(), MAX_CALLS).context("creating a map")?;
        let program = program(&count, &calls, reading);
        let program = bpf::load(ProgramKind::Kprobe, &program).context("loading a program")?;
        let attached = bpf::attach_kprobe(function, program.as_fd())
            .with_context(|| format!("attaching a program to {function}"))?;
        Ok(Capture { count, calls, attached })
    }

    /// Stops, and returns what was captured.
    pub(super) fn finish(self) -> Result<Vec<Call>> {
        let Capture { count: counter, calls, attached } = self;
        drop(attached);
        let mut count = [0; 8];
        counter.read(0, &mut count).context("reading how many calls there were")?;
        let count = u64::from_ne_bytes(count);
        ensure!(count <= MAX_CALLS.into(), "there were {count} calls, expected a few");
        (0..count as u32).map(|index| call(&calls, index)).collect()
    }
}

fn call(calls: &Array, index: u32) -> Result<Call> {
    let mut value = vec![0; size_of::<Call>()];
    calls.read(index, &mut value).context("reading a call")?;
    // SAFETY: any bytes are a valid Call, and there are as many as it has.
    Ok(unsafe { value.as_ptr().cast::<Call>().read_unaligned() })
}

/// Where [`Call`] has what.
const TARGETS: i32 = std::mem::offset_of!(Call, targets) as i32;
const NAMES: i32 = std::mem::offset_of!(Call, names) as i32;

/// Unrolled, because the verifier of 4.18 takes no loops: some forty instructions an argument.
fn program(count: &Array, calls: &Array, reading: Reading) -> Vec<u64> {
    let ours = std::process::id().cast_signed();
    let mut code = Assembler::default();
    code.copy(R6, R1).call(FUNC_GET_CURRENT_PID_TGID).shift_right(R0, 32);
    let foreign = code.jump_if_value(R0, Condition::NotEqual, ours);

    code.set(R0, 0).store(Width::Word, Frame, -4, R0);
    code.copy(R2, Frame).add(R2, -4).set_map(R1, count.descriptor()).call(FUNC_MAP_LOOKUP_ELEM);
    let no_count = code.jump_if_value(R0, Condition::Equal, 0);
    // Our calls come from one thread, one after the other.
    code.load(Width::Double, R9, R0, 0).copy(R1, R9).add(R1, 1).store(Width::Double, R0, 0, R1);
    code.store(Width::Word, Frame, -4, R9);
    code.copy(R2, Frame).add(R2, -4).set_map(R1, calls.descriptor()).call(FUNC_MAP_LOOKUP_ELEM);
    let no_room = code.jump_if_value(R0, Condition::Equal, 0);
    code.copy(R7, R0);

    for argument in 0..ARGUMENTS {
        fetch(&mut code, argument, reading);
        code.store(Width::Double, R7, 8 * argument as i16, R8);
        let row = (argument * TARGET_BYTES) as i32;
        code.set_long(R9, reading.kernel_address_min);
        let no_target = code.jump_if(R8, Condition::Less, R9);
        read_to_call(&mut code, TARGETS + row, reading);
        code.load(Width::Double, R8, R7, (TARGETS + row + reading.qstr_name as i32) as i16);
        let no_name = code.jump_if(R8, Condition::Less, R9);
        read_to_call(&mut code, NAMES + row, reading);
        code.land(no_target).land(no_name);
    }
    code.land(foreign).land(no_count).land(no_room).set(R0, 0).exit();
    code.finish()
}

/// `r8` = the argument, counted from 0. `r6` is the context.
fn fetch(code: &mut Assembler, argument: usize, reading: Reading) {
    let Some(on_stack) = argument.checked_sub(arch::ARGUMENT_REGISTERS.len()) else {
        code.load(Width::Double, R8, R6, arch::ARGUMENT_REGISTERS[argument]);
        return;
    };
    code.set(R0, 0).store(Width::Double, Frame, -16, R0);
    code.load(Width::Double, R3, R6, arch::STACK_POINTER);
    code.add(R3, arch::FIRST_STACK_ARGUMENT + 8 * on_stack as i32);
    code.copy(R1, Frame).add(R1, -16).set(R2, 8).call(bpf::read_function(reading.helper));
    code.load(Width::Double, R8, Frame, -16);
}

/// Reads from `r8` to this offset of the call at `r7`. What can't be read stays zero.
fn read_to_call(code: &mut Assembler, offset: i32, reading: Reading) {
    code.copy(R1, R7).add(R1, offset).set(R2, TARGET_BYTES as i32).copy(R3, R8);
    code.call(bpf::read_function(reading.helper));
}
