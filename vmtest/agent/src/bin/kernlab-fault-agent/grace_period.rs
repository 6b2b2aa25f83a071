//! When RCU begins a grace period while a system call holds its lock.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    time::{Duration, Instant},
};

const TRACING: &str = "/sys/kernel/tracing";
/// The function of kernel/rcu/tree.c that begins a grace period.
const BEGINS: &str = "rcu_gp_init";
/// The time for a grace period to begin, by the guest's clock.
const DEADLINE: Duration = Duration::from_secs(10);

/// Watches what the kernel does, in its order.
pub(crate) struct GracePeriods(BufReader<File>);

impl GracePeriods {
    /// Watches grace periods, and this system call by its number. This waits for grace periods, so
    /// nothing may hold the lock yet.
    pub(crate) fn watch(system_call: libc::c_long) -> io::Result<Self> {
        let write = |file: &str, text: String| {
            let file = File::options().append(true).open(format!("{TRACING}/{file}"));
            file?.write_all(text.as_bytes())
        };
        write("kprobe_events", format!("p:kernlab/grace_period {BEGINS}\n"))?;
        write("events/kernlab/grace_period/enable", "1\n".to_owned())?;
        write("events/raw_syscalls/sys_enter/filter", format!("id == {system_call}\n"))?;
        write("events/raw_syscalls/sys_enter/enable", "1\n".to_owned())?;
        let pipe = format!("{TRACING}/trace_pipe");
        let pipe = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(pipe)?;
        Ok(GracePeriods(BufReader::new(pipe)))
    }

    /// Makes RCU begin a grace period after the system call, which holds the lock for long, and waits
    /// until it has begun.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut is_held = false;
        let mut line = String::new();
        loop {
            match self.0.read_line(&mut line) {
                Ok(_) if line.contains("sys_enter") => is_held = true,
                // One that began before does not wait for the system call.
                Ok(_) if is_held && line.contains(BEGINS) => return Ok(()),
                Ok(_) => {}
                // RCU frees every closed file.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    drop(File::open("/dev/null")?);
                }
                Err(error) => return Err(error),
            }
            line.clear();
            if Instant::now() >= deadline {
                return Err(io::Error::other("no grace period begins"));
            }
        }
    }
}
