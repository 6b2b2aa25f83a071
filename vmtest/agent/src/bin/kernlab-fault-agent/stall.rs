//! Keeps RCU waiting. That takes a kernel with preemptible RCU: no arm64 kernel of the matrix has it.

use std::{fs, io, thread, time::Duration};

use crate::{
    arch,
    faults::{address, call, overwrite, symbols},
    grace_period::GracePeriods,
};

/// Keeps RCU waiting for these times, one after the other; then continues. If the clock jumps, one of them
/// ends and the next begins. RCU complains about this as soon as it can, after three seconds, and the
/// watchdogs never.
pub(crate) fn stall(times: &[Duration]) -> io::Result<()> {
    fs::write("/proc/sys/kernel/watchdog", "0")?;
    fs::write("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "3")?;
    let symbols = symbols()?;
    let functions = [
        address(&symbols, "__rcu_read_lock")?,
        address(&symbols, "__cond_resched")?,
        address(&symbols, "__rcu_read_unlock")?,
    ];
    overwrite(&symbols, &arch::stall(&arch::ticks(times), functions))?;
    let periods = GracePeriods::watch(libc::SYS_sethostname)?;
    let meanwhile = thread::spawn(move || keep_waiting(periods));
    call();
    meanwhile.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

/// Makes RCU begin a grace period while the system call holds its lock, and marks in the log when it has
/// begun.
fn keep_waiting(mut periods: GracePeriods) -> io::Result<()> {
    periods.begin()?;
    fs::write("/dev/kmsg", "<2>RCU is kept waiting\n")
}
