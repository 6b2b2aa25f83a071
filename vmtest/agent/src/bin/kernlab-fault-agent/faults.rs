//! Makes a kernel misbehave for real: overwrites an unused system call with machine code and calls
//! it. The messages come from the kernel's own detectors.
//!
//! QEMU's `fw_cfg` device writes to any physical address, and `nokaslr` on the command line keeps
//! the kernel's text where it was linked. So this works under every kernel, whatever its modules
//! and options.

use std::{
    arch::x86_64::_rdtsc,
    fs::{self, File},
    io,
    num::NonZeroUsize,
    os::unix::fs::FileExt,
    ptr::NonNull,
    thread,
    time::{Duration, Instant},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

#[path = "../../firmware/x86_64.rs"]
mod ports;

use ports::Ports;

use crate::grace_period::GracePeriods;

/// The system call that is overwritten. The agent has already made it, and nothing else does.
const VICTIM: &str = "__x64_sys_sethostname";
/// Marks a target of indirect jumps, for processors that check them.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// What a kernel can be made to do.
pub(crate) enum Fault {
    /// Warn, and go on.
    Warn,
    /// Read a null pointer in a system call.
    Oops,
    /// Keep RCU waiting for these times, one after the other; then continue. If the clock jumps,
    /// one of them ends and the next begins.
    Stall(Vec<Duration>),
    /// Never continue, with interrupts disabled.
    Hang,
}

/// Triggers the fault. Returns if the kernel continues.
pub(crate) fn inject(fault: &Fault) -> io::Result<()> {
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let victim = address(&symbols, VICTIM)?;
    let code = match fault {
        Fault::Warn => warn(address(&symbols, "__warn")?),
        Fault::Oops => oops(),
        Fault::Stall(times) => stall(
            &ticks(times),
            // Kernels whose RCU readers are never preempted lack these functions.
            [
                address(&symbols, "__rcu_read_lock")?,
                address(&symbols, "__cond_resched")?,
                address(&symbols, "__rcu_read_unlock")?,
            ],
        ),
        Fault::Hang => hang(),
    };
    let physical = victim - address(&symbols, "_text")? + physical_text()?;
    Device::open()?.write(physical, &[&ENDBR64, &code[..]].concat())?;
    let meanwhile = match fault {
        Fault::Stall(_) => {
            let periods = GracePeriods::watch(libc::SYS_sethostname)?;
            Some(thread::spawn(move || keep_waiting(periods)))
        }
        Fault::Warn | Fault::Oops | Fault::Hang => None,
    };
    // The result is whatever the new code left in a register.
    let _ = nix::unistd::sethostname("overwritten");
    let panicked = |_| Err(io::Error::other("a thread panicked"));
    meanwhile.map_or(Ok(()), |thread| thread.join().unwrap_or_else(panicked))
}

/// Makes RCU begin a grace period while the victim holds its lock, and marks in the log when it has
/// begun.
fn keep_waiting(mut periods: GracePeriods) -> io::Result<()> {
    periods.begin()?;
    fs::write("/dev/kmsg", "<2>RCU is kept waiting\n")
}

/// `__warn(file, line, caller, taint, regs, args)` of kernel/panic.c, which implements `WARN_ON()`.
fn warn(function: u64) -> Vec<u8> {
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

fn oops() -> Vec<u8> {
    vec![
        0x31, 0xc0, // xor eax, eax
        0x48, 0x8b, 0x00, // mov rax, [rax]
        0xc3, // ret
    ]
}

/// Holds the RCU read lock until the time stamp counter reaches each value, and lets other tasks
/// run meanwhile. Grace periods begin and don't end.
fn stall(ticks: &[u64], [lock, let_others_run, unlock]: [u64; 3]) -> Vec<u8> {
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

fn hang() -> Vec<u8> {
    vec![
        0xfa, // cli
        0xeb, 0xfe, // jmp to itself
    ]
}

/// The values of the time stamp counter after these times.
fn ticks(times: &[Duration]) -> Vec<u64> {
    const SAMPLE: Duration = Duration::from_millis(20);
    // SAFETY: every x86-64 processor has the instruction, and it only reads a counter.
    let now = || unsafe { _rdtsc() };
    let (started, first) = (Instant::now(), now());
    thread::sleep(SAMPLE);
    let rate = (now() - first) as f64 / started.elapsed().as_secs_f64();
    times.iter().map(|time| (rate * time.as_secs_f64()) as u64).collect()
}

/// The address of a symbol in `/proc/kallsyms`, with one `address type name` per line.
fn address(symbols: &str, name: &str) -> io::Result<u64> {
    let found = symbols.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?;
        (words.nth(1)? == name).then(|| u64::from_str_radix(address, 16).ok())?
    });
    found.ok_or_else(|| io::Error::other(format!("this kernel has no {name}")))
}

/// The physical address of the kernel's text: `/proc/iomem` has ` 01000000-01c031e0 : Kernel code`.
fn physical_text() -> io::Result<u64> {
    let ranges = fs::read_to_string("/proc/iomem")?;
    let found = ranges.lines().find_map(|line| {
        let start = line.strip_suffix(" : Kernel code")?.trim_start().split('-').next()?;
        u64::from_str_radix(start, 16).ok()
    });
    found.ok_or_else(|| io::Error::other("/proc/iomem does not show where the kernel is"))
}

/// A request to the device, big-endian: docs/specs/fw_cfg.rst in QEMU's sources.
#[repr(C)]
struct Request {
    control: u32,
    length: u32,
    address: u64,
}

/// Bits of a request's control word; the upper half has the item to select.
const READ: u32 = 1 << 1;
const SKIP: u32 = 1 << 2;
const SELECT: u32 = 1 << 3;
/// The item that lists the others: their number, then entries of 64 bytes.
const DIR: u16 = 0x19;

const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// The device, and an item with every byte value: this program.
struct Device {
    ports: Ports,
    item: u16,
    content: Vec<u8>,
    request: NonNull<Request>,
    /// The physical address of the request.
    place: u64,
}

impl Device {
    fn open() -> io::Result<Self> {
        let ports = Ports::open().map_err(|error| {
            let (how, needed) = (ports::OPENED_BY, ports::NEEDED);
            io::Error::other(format!("could not {how}: {error} (the kernel needs {needed})"))
        })?;
        let program = std::env::current_exe()?;
        let name = format!("opt/kernlab{}\0", program.display());
        ports.select(DIR);
        let count = u32::from_be_bytes(ports.take());
        let item = (0..count).map(|_| ports.take::<64>()).find_map(|entry| {
            let (head, rest) = entry.split_first_chunk::<8>()?;
            let item = u16::from_be_bytes([head[4], head[5]]);
            rest.starts_with(name.as_bytes()).then_some(item)
        });
        let item =
            item.ok_or_else(|| io::Error::other("this program is not among QEMU's fw_cfg files"))?;

        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_LOCKED | MapFlags::MAP_POPULATE;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: this is a new mapping, to which no other pointer exists.
        let page = unsafe { mmap_anonymous(None, PAGE, access, flags) }?;
        // Documentation/admin-guide/mm/pagemap.rst: the low 55 bits are the page's number.
        let mut entry = [0; 8];
        let number = page.as_ptr().addr() / PAGE;
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, number as u64 * 8)?;
        let place = (u64::from_le_bytes(entry) & ((1 << 55) - 1)) * PAGE.get() as u64;
        Ok(Device { ports, item, content: fs::read(program)?, request: page.cast(), place })
    }

    /// Writes to any physical memory.
    fn write(&mut self, address: u64, bytes: &[u8]) -> io::Result<()> {
        for (&byte, address) in bytes.iter().zip(address..) {
            let place = self.content.iter().position(|&other| other == byte);
            let place = place.ok_or_else(|| io::Error::other("this program lacks a byte"))?;
            let select = u32::from(self.item) << 16 | SELECT;
            self.order(select | SKIP, place as u32, 0)?;
            self.order(READ, 1, address)?;
        }
        Ok(())
    }

    fn order(&mut self, control: u32, length: u32, address: u64) -> io::Result<()> {
        let request =
            Request { control: control.to_be(), length: length.to_be(), address: address.to_be() };
        // SAFETY: the page is ours, and large enough. The device writes to the kernel's memory, on
        // purpose: to the text of a function that is not being executed.
        let left = unsafe {
            self.request.write_volatile(request);
            self.ports.request(self.place);
            (&raw const (*self.request.as_ptr()).control).read_volatile()
        };
        match left {
            0 => Ok(()),
            _ => Err(io::Error::other("the device did not execute the request")),
        }
    }
}
