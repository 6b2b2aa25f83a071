//! Prepares a bare kernel for running programs.

use nix::{
    sys::{
        resource::{RLIM_INFINITY, Resource, setrlimit},
        utsname::uname,
    },
    time::{ClockId, clock_gettime},
    unistd::{SysconfVar, sethostname, sysconf},
};

use kernlab_proto::Hello;

use crate::{mounts, network, parameters::Parameters};

/// The state of the machine after its setup.
pub(crate) struct Setup {
    pub(crate) parameters: Parameters,
    user_space_ms: u64,
    notes: Vec<String>,
}

impl Setup {
    /// Mounts file systems, raises limits, brings the loopback interface up. Failures become notes:
    /// whether one matters depends on the program that runs later.
    pub(crate) fn prepare() -> Self {
        let user_space_ms = since_boot_ms();
        let mut notes = mounts::mount_all();
        let mut note = |what: &str, result: nix::Result<()>| {
            if let Err(error) = result {
                notes.push(format!("{what}: {error}"));
            }
        };
        // Kernels before 5.11 charge BPF maps against this limit.
        note(
            "raise the limit of locked memory",
            setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY),
        );
        note("run before programs", run_before_programs());
        note("bring up lo", network::loopback_up());
        note("set the host name", sethostname("kernlab"));
        let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        Setup { parameters: Parameters::parse(&command_line), user_space_ms, notes }
    }

    /// The agent's first message.
    pub(crate) fn hello(self) -> Hello {
        let text = |text: Option<&std::ffi::OsStr>| {
            text.unwrap_or_default().to_string_lossy().into_owned()
        };
        let uname = uname().ok();
        let processors = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        Hello {
            release: text(uname.as_ref().map(|uname| uname.release())),
            version: text(uname.as_ref().map(|uname| uname.version())),
            processors: processors.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            user_space_ms: self.user_space_ms,
            ready_ms: since_boot_ms(),
            notes: self.notes,
        }
    }
}

/// Lets this process run as soon as it has something to do, before the program that gave it that: what
/// a program wrote leaves the guest even if it crashes the kernel next. Programs don't inherit it.
fn run_before_programs() -> nix::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads the parameters, which outlive it.
    let result = unsafe { libc::sched_setscheduler(0, policy, &parameters) };
    nix::errno::Errno::result(result).map(drop)
}

fn since_boot_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(std::time::Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
