//! Reads kernel memory through a BPF program of some forty instructions.
//!
//! It runs at the entry of a system call that is rarely used, and does something only in our own
//! process, and only if the call is one that fails at once: fallocate(2) of descriptor -1. The other
//! arguments say what to read. Any kernel that can trace system calls takes it.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use kernlab_core::{discovery::Memory, plan::ReadHelper};
use nix::errno::Errno;

use crate::bpf::{
    self, Array, Assembler, Condition, FUNC_GET_CURRENT_PID_TGID, FUNC_GET_CURRENT_TASK,
    FUNC_MAP_LOOKUP_ELEM, ProgramKind, Register, Width,
};

/// Bytes that one call reads at most.
const DATA: usize = 4096;
/// Where the map's value has what.
const TASK: i16 = 0;
const RESULT: i16 = 8;
const SEQUENCE: i16 = 16;
const BYTES: i16 = 24;
const VALUE: usize = BYTES as usize + DATA;

/// `offsetof(struct syscall_tp_t, args)`, kernel/trace/trace_syscalls.c: the same on every kernel,
/// whatever the tracepoint's format file says.
const ARGUMENTS: i16 = 16;
/// The descriptor that tells our calls.
const NO_DESCRIPTOR: i32 = -1;

/// Memory of the running kernel.
pub(super) struct Peek {
    value: Array,
    buffer: Vec<u8>,
    sequence: u64,
    failure: Option<anyhow::Error>,
    _attached: OwnedFd,
}

impl Peek {
    /// Loads and attaches the program.
    pub(super) fn open(helper: ReadHelper, kernel_address_min: u64) -> Result<Self> {
        let value = Array::create(VALUE, 1).context("creating a map")?;
        let program = program(&value, helper, kernel_address_min);
        let program = bpf::load(ProgramKind::Tracepoint, &program).context("loading a program")?;
        let attached = bpf::attach_syscall_entry("fallocate", program.as_fd())
            .context("attaching a program to the entry of fallocate")?;
        let buffer = vec![0; VALUE];
        Ok(Peek { value, buffer, sequence: 0, failure: None, _attached: attached })
    }

    /// The address of the calling thread's `struct task_struct`.
    pub(super) fn current_task(&mut self) -> Result<u64> {
        self.call(0, 0)?;
        Ok(self.word(TASK))
    }

    /// Could everything be read that was asked for?
    pub(super) fn check(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Runs the program once, and fetches what it left.
    fn call(&mut self, address: u64, size: usize) -> Result<()> {
        self.sequence += 1;
        // SAFETY: no argument is a pointer into our memory, and without a descriptor nothing happens.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fallocate,
                libc::c_long::from(NO_DESCRIPTOR),
                self.sequence,
                address,
                size,
            )
        };
        ensure!(Errno::result(result) == Err(Errno::EBADF), "fallocate of no descriptor succeeded");
        self.value.read(0, &mut self.buffer).context("reading the program's map")?;
        let ran = self.word(SEQUENCE) == self.sequence;
        ensure!(ran, "the program at the entry of fallocate did not run");
        Ok(())
    }

    fn word(&self, offset: i16) -> u64 {
        let bytes = self.buffer[offset as usize..].first_chunk();
        u64::from_ne_bytes(*bytes.expect("all words are inside of the value"))
    }
}

impl Memory for Peek {
    fn read(&mut self, address: u64, into: &mut [u8]) -> bool {
        if self.failure.is_some() {
            return false;
        }
        if let Err(error) = self.call(address, into.len()) {
            self.failure = Some(error);
            return false;
        }
        if self.word(RESULT) != 0 {
            return false;
        }
        into.copy_from_slice(&self.buffer[BYTES as usize..][..into.len()]);
        true
    }
}

/// Reads as many bytes as the fourth argument says from the address in the third.
fn program(value: &Array, helper: ReadHelper, kernel_address_min: u64) -> Vec<u64> {
    use Register::{Frame, R0, R1, R2, R3, R6, R7, R8, R9};
    let argument = |index: i16| ARGUMENTS + 8 * index;
    let ours = std::process::id().cast_signed();

    let mut code = Assembler::default();
    code.copy(R6, R1).call(FUNC_GET_CURRENT_PID_TGID).shift_right(R0, 32);
    let foreign = code.jump_if_value(R0, Condition::NotEqual, ours);
    code.load(Width::Double, R1, R6, argument(0));
    let other_call = code.jump_if_value(R1, Condition::NotEqual, NO_DESCRIPTOR);
    code.load(Width::Double, R8, R6, argument(2)).load(Width::Double, R9, R6, argument(3));
    let too_much = code.jump_if_value(R9, Condition::Greater, DATA as i32);

    code.set(R0, 0).store(Width::Word, Frame, -4, R0);
    code.copy(R2, Frame).add(R2, -4).set_map(R1, value.descriptor()).call(FUNC_MAP_LOOKUP_ELEM);
    let no_value = code.jump_if_value(R0, Condition::Equal, 0);
    code.copy(R7, R0).call(FUNC_GET_CURRENT_TASK).store(Width::Double, R7, TASK, R0);
    code.load(Width::Double, R1, R6, argument(1)).store(Width::Double, R7, SEQUENCE, R1);

    code.set(R0, -1).store(Width::Double, R7, RESULT, R0).set_long(R1, kernel_address_min);
    let no_kernel_address = code.jump_if(R8, Condition::Less, R1);
    code.copy(R1, R7).add(R1, i32::from(BYTES)).copy(R2, R9).copy(R3, R8);
    code.call(bpf::read_function(helper));
    code.store(Width::Double, R7, RESULT, R0);
    for jump in [foreign, other_call, too_much, no_value, no_kernel_address] {
        code.land(jump);
    }
    code.set(R0, 0).exit();
    code.finish()
}
