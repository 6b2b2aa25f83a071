//! Machine code and devices of x86-64.

use std::{
    arch::x86_64::_rdtsc,
    thread,
    time::{Duration, Instant},
};

/// The devices of the console and of the protocol's port.
pub(crate) const CONSOLE: &str = "/dev/ttyS0";
pub(crate) const PORT: &str = "ttyS1";

/// Physical addresses of devices: the local and the I/O interrupt controller.
pub(crate) const DEVICES: [u64; 2] = [0xfee0_0000, 0xfec0_0000];

/// The system call that is overwritten. The agent has already made it, and nothing else does.
pub(crate) const VICTIM: &str = "__x64_sys_sethostname";

/// ENDBR64 marks a target of indirect jumps, for processors that check them.
pub(crate) const TARGET: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// `__warn(file, line, caller, taint, regs, args)` of kernel/panic.c, which implements `WARN_ON()`.
pub(crate) fn warn(function: u64) -> Vec<u8> {
    let mut code = vec![
        0x31, 0xff, // xor edi, edi: no file
        0x31, 0xf6, // xor esi, esi: no line
        0x48, 0x8d, 0x15, 0, 0, 0, 0, // lea rdx, [rip]: the caller
        0xb9, 9, 0, 0, 0, // mov ecx, 9: TAINT_WARN
        0x45, 0x31, 0xc0, // xor r8d, r8d: no registers
        0x45, 0x31, 0xc9, // xor r9d, r9d: no message
    ];
    call(&mut code, function);
    code.extend([
        0x31, 0xc0, // xor eax, eax
        0xc3, // ret
    ]);
    code
}

pub(crate) fn oops() -> Vec<u8> {
    vec![
        0x31, 0xc0, // xor eax, eax
        0x48, 0x8b, 0x00, // mov rax, [rax]
        0xc3, // ret
    ]
}

/// Holds the RCU read lock until the time stamp counter reaches each value, and lets other tasks
/// run meanwhile. Grace periods begin and don't end.
pub(crate) fn stall(ticks: &[u64], [lock, let_others_run, unlock]: [u64; 3]) -> Vec<u8> {
    const READ_COUNTER: [u8; 9] = [
        0x0f, 0x31, // rdtsc
        0x48, 0xc1, 0xe2, 0x20, // shl rdx, 32
        0x48, 0x09, 0xd0, // or rax, rdx
    ];
    let mut code = vec![0x53]; // push rbx
    call(&mut code, lock);
    for ticks in ticks {
        code.extend(READ_COUNTER);
        code.extend([0x48, 0xbb]); // mov rbx, ticks
        code.extend(ticks.to_le_bytes());
        code.extend([0x48, 0x01, 0xc3]); // add rbx, rax
        let again = code.len();
        call(&mut code, let_others_run);
        code.extend(READ_COUNTER);
        code.extend([0x48, 0x39, 0xd8]); // cmp rax, rbx
        let back = code.len() + 2 - again;
        code.extend([0x72, (back as u8).wrapping_neg()]); // jb again
    }
    call(&mut code, unlock);
    code.extend([
        0x5b, // pop rbx
        0x31, 0xc0, // xor eax, eax
        0xc3, // ret
    ]);
    code
}

fn call(code: &mut Vec<u8>, function: u64) {
    code.extend([0x48, 0xb8]); // mov rax, function
    code.extend(function.to_le_bytes());
    code.extend([0xff, 0xd0]); // call rax
}

pub(crate) fn hang() -> Vec<u8> {
    vec![
        0xfa, // cli
        0xeb, 0xfe, // jmp to itself
    ]
}

/// The values of the time stamp counter after these times.
pub(crate) fn ticks(times: &[Duration]) -> Vec<u64> {
    const SAMPLE: Duration = Duration::from_millis(20);
    // SAFETY: every x86-64 processor has the instruction, and it only reads a counter.
    let now = || unsafe { _rdtsc() };
    let (started, first) = (Instant::now(), now());
    thread::sleep(SAMPLE);
    let rate = (now() - first) as f64 / started.elapsed().as_secs_f64();
    times.iter().map(|time| (rate * time.as_secs_f64()) as u64).collect()
}
