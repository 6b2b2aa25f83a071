//! A program that misbehaves in the ways that the lab has to handle. Only the lab's tests use it:
//! as a program, as PID 1, or in place of a workload.

mod arch;
mod faults;
#[cfg(target_arch = "x86_64")]
mod grace_period;
mod hostile;
#[cfg(target_arch = "x86_64")]
mod stall;
mod takeover;
mod workload;

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::FromRawFd, unix::process::CommandExt},
    process::{self, Command, exit},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{SigHandler, Signal, raise, signal},
    unistd::{ForkResult, fork, setsid},
};

fn main() -> io::Result<()> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    if process::id() == 1 {
        // The kernel passes all parameters that it doesn't know; the behaviour is the last one.
        arguments.drain(..arguments.len().saturating_sub(1));
    }
    let behaviour = appended_behaviour()?;
    if let Some(behaviour) = &behaviour
        && process::id() == 1
    {
        return hostile::init(behaviour);
    }
    if let Some(behaviour) = &behaviour {
        behave(&behaviour.split(' ').collect::<Vec<_>>())?;
        // Then become the workload: the test injected it under this name.
        return Err(Command::new("/bin/kernlab-workload-static").args(arguments).exec());
    }
    behave(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The text before the behaviour that a test appended to this program's file.
const MARK: &str = "\nbehaviour: ";

/// Reads the behaviour that was appended to this program's file. A program that runs in place of a
/// workload gets the workload's arguments, so it can't get its behaviour from them.
fn appended_behaviour() -> io::Result<Option<String>> {
    // As PID 1 there is no /proc.
    let program = fs::read(if process::id() == 1 { "/init" } else { "/proc/self/exe" })?;
    let tail = String::from_utf8_lossy(&program[program.len().saturating_sub(100)..]).into_owned();
    Ok(tail.split_once(MARK).map(|(_, words)| words.to_owned()))
}

fn behave(words: &[&str]) -> io::Result<()> {
    match words {
        // Shows what a program sees, and where it can write.
        ["report"] => report(),
        ["list", dir] => list(dir),
        ["nap", count, microseconds] => nap(number(count), number(microseconds)),
        ["identify"] => identify(),
        ["connect"] => connect(),
        ["nothing"] => Ok(()),
        // Does one of these, and another one when it proceeds.
        ["prime", first @ ..] => {
            if !first.is_empty() {
                behave(first)?;
            }
            raise(Signal::SIGSTOP)?;
            let input = io::read_to_string(io::stdin())?;
            behave(&input.split(' ').collect::<Vec<_>>())
        }
        // Ways to end.
        ["exit", code] => exit(code.parse().unwrap_or(99)),
        ["abort"] => Ok(raise(Signal::SIGABRT)?),
        ["flood", bytes] => flood(number(bytes)),
        ["stubborn"] => stubborn(),
        ["daemons", count] => daemons(number(count)),
        // Ways to crash or hang the kernel.
        ["crash"] => fs::write("/proc/sysrq-trigger", "c"),
        ["wedge"] => wedge(),
        ["warn"] => faults::inject(&faults::Fault::Warn),
        ["oops"] => faults::inject(&faults::Fault::Oops),
        #[cfg(target_arch = "x86_64")]
        ["stall", milliseconds @ ..] => {
            let times = milliseconds.iter().map(|time| Duration::from_millis(number(time)));
            stall::stall(&times.collect::<Vec<_>>())
        }
        ["hang"] => faults::inject(&faults::Fault::Hang),
        // Ways to misbehave as a workload.
        ["workload", way] => workload::workload(way),
        ["detach", dirs @ ..] => {
            dirs.iter().try_for_each(|dir| Ok(umount2(*dir, MntFlags::MNT_DETACH)?))
        }
        // Ways to lie to the host, and to flood it.
        ["hostile", way] => hostile::program(way),
        // Ways to misbehave as PID 1.
        ["silent"] => takeover::sleep_for_ever(),
        ["garbage"] => garbage(),
        ["leave"] => exit(0),
        other => panic!("unknown behaviour {other:?}"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn report() -> io::Result<()> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    println!("stdin: {input:?}");
    println!("variables: {:?}", env::vars().collect::<Vec<_>>());
    println!("directory: {}", env::current_dir()?.display());
    // The count includes the directory of descriptors itself, which is open during the read.
    println!("descriptors: {}", fs::read_dir("/proc/self/fd")?.count());
    println!("file: {}", fs::read_to_string("/tmp/given").unwrap_or_default().len());
    eprintln!("errors go here");
    // SAFETY: the agent opened descriptor 3 for this program, and nothing else uses it.
    unsafe { File::from_raw_fd(3) }.write_all(b"the result")
}

fn list(dir: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        println!("{}", entry?.file_name().display());
    }
    Ok(())
}

/// Prints what should differ between guests (random bytes) and what should match the host: the time
/// in seconds since 1970.
fn identify() -> io::Result<()> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    println!("{:016x} {}", u64::from_le_bytes(bytes), time.as_secs());
    Ok(())
}

/// Sleeps `count` times, and prints how many microseconds that took by the guest's clock.
fn nap(count: u64, microseconds: u64) -> io::Result<()> {
    let start = Instant::now();
    for _ in 0..count {
        thread::sleep(Duration::from_micros(microseconds));
    }
    println!("{}", start.elapsed().as_micros());
    Ok(())
}

/// Connects to itself over both loopback addresses.
fn connect() -> io::Result<()> {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = std::net::TcpListener::bind(address)?;
        let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
        client.write_all(b"hello")?;
        drop(client);
        let mut text = String::new();
        listener.accept()?.0.read_to_string(&mut text)?;
        println!("{address} {text}");
    }
    Ok(())
}

fn flood(bytes: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    io::copy(&mut io::repeat(b'x').take(bytes), &mut out)?;
    out.flush()
}

fn stubborn() -> io::Result<()> {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) }?;
    println!("here to stay");
    takeover::sleep_for_ever()
}

/// Leaves children in sessions of their own, which keep this program's output open.
fn daemons(count: u64) -> io::Result<()> {
    for _ in 0..count {
        // SAFETY: this program has a single thread.
        if let ForkResult::Child = unsafe { fork() }? {
            setsid()?;
            takeover::sleep_for_ever()?;
        }
    }
    println!("left {count}");
    Ok(())
}

/// Takes the processor from all other processes, including PID 1.
fn wedge() -> io::Result<()> {
    fs::write("/proc/sys/kernel/sched_rt_runtime_us", "-1")?;
    let parameters = libc::sched_param { sched_priority: 99 };
    // SAFETY: the call reads the parameters, which outlive it.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
    nix::errno::Errno::result(result)?;
    loop {
        std::hint::spin_loop();
    }
}

fn garbage() -> io::Result<()> {
    mount(Some("dev"), "/dev", Some("devtmpfs"), MsFlags::empty(), None::<&str>)?;
    fs::write(format!("/dev/{}", arch::PORT), "klab? no: just text\n")?;
    takeover::sleep_for_ever()
}
