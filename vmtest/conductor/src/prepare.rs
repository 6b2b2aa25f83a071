//! Prepares the guest for a suite: kernel parameters, control groups, namespaces, setup commands.

use std::{
    fs,
    io::{self, Read as _},
    os::fd::AsRawFd as _,
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use kernlab_proto::suite::{End, SuiteJob};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::process::{command, end_of};

/// How much of a command's output is reported.
const OUTPUT: u64 = 64 << 10;

/// Prepares the guest. An error says what could not be done.
pub(crate) fn prepare(job: &SuiteJob, deadline: Instant) -> Result<(), String> {
    for dir in ["/tmp", &job.directory] {
        fs::create_dir_all(dir).map_err(|error| format!("make the directory {dir}: {error}"))?;
    }
    let set = |name: &str, value: &str| {
        let set = fs::write(sysctl_file(name), value);
        set.map_err(|error| (error.kind(), format!("set {name} to {value}: {error}")))
    };
    for (name, value) in &job.sysctl {
        set(name, value).map_err(|(_, why)| why)?;
    }
    if let Some(version) = job.cgroup {
        control_groups(version)
            .map_err(|error| format!("mount control groups (version {version}): {error}"))?;
    }
    if job.netns {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("make a network namespace: {error}"))?;
        loopback_up().map_err(|error| format!("bring up lo: {error}"))?;
        show_interfaces().map_err(|error| format!("show the interfaces in /sys: {error}"))?;
        // A new namespace has default values. Parameters that all namespaces share are missing in it, or can't
        // be written there.
        let of_network = job.sysctl.iter().filter(|(name, _)| name.starts_with("net"));
        for (name, value) in of_network {
            match set(name, value) {
                Err((io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied, _)) | Ok(()) => {}
                Err((_, why)) => return Err(why),
            }
        }
    }
    job.setup.iter().try_for_each(|line| setup(job, line, deadline))
}

/// Where a kernel parameter is. As for sysctl(8), the first separator of a name is the one between its
/// parts, and the other stands for a character of a part: `net/ipv4/conf/eth0.1/forwarding`.
fn sysctl_file(name: &str) -> String {
    let is_path = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let swapped = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = if is_path { name.into() } else { name.chars().map(swapped).collect() };
    format!("/proc/sys/{path}")
}

/// Runs one line of the setup.
fn setup(job: &SuiteJob, line: &str, deadline: Instant) -> Result<(), String> {
    let argv = ["/bin/sh".to_owned(), "-c".to_owned(), format!("exec 2>&1\n{line}")];
    let failed = |why: String| format!("run the setup command `{line}`: {why}");
    let (end, output) = run(job, &argv, None, deadline).map_err(|why| failed(why.to_string()))?;
    let output = output.trim_end();
    let output = if output.is_empty() { String::new() } else { format!(": {output}") };
    match end {
        Some(End::Code(0)) => Ok(()),
        Some(end) => Err(failed(format!("{end}{output}"))),
        None => Err(failed(format!("it did not end in time{output}"))),
    }
}

/// Runs a program to its end and returns the beginning of its output. No end if the deadline passed:
/// then its process group was killed.
pub(crate) fn run(
    job: &SuiteJob,
    argv: &[String],
    user: Option<crate::process::User>,
    deadline: Instant,
) -> io::Result<(Option<End>, String)> {
    let mut command = command(job, argv, user)?;
    let (mut output, theirs) = io::pipe()?;
    let mut child =
        command.stdout(theirs.try_clone()?).stderr(theirs).stdin(Stdio::null()).spawn()?;
    // The command keeps its copies of the pipe open.
    drop(command);
    let group = Pid::from_raw(child.id().cast_signed());
    // A daemon of the program may keep the pipe open for longer than the program runs.
    let (kept, text) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = vec![0; 16 << 10];
        let mut left = OUTPUT;
        while let Ok(length @ 1..) = output.read(&mut bytes) {
            let taken = length.min(usize::try_from(left).unwrap_or(length));
            left -= taken as u64;
            let _ = kept.send(bytes[..taken].to_vec());
        }
    });
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait()));
    let end = end.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let end = match end {
        Ok(status) => Some(end_of(status?)),
        Err(_) => {
            let _ = killpg(group, Signal::SIGKILL);
            None
        }
    };
    let mut bytes = Vec::new();
    let last = Instant::now() + Duration::from_millis(200);
    while let Ok(more) = text.recv_timeout(last.saturating_duration_since(Instant::now())) {
        bytes.extend(more);
    }
    Ok((end, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Mounts control groups where programs look for them.
fn control_groups(version: u8) -> io::Result<()> {
    const NONE: Option<&str> = None;
    let at = "/sys/fs/cgroup";
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if version == 2 {
        return Ok(mount(Some("cgroup2"), at, Some("cgroup2"), flags, NONE)?);
    }
    mount(Some("cgroup"), at, Some("tmpfs"), flags, NONE)?;
    // Documentation/admin-guide/cgroup-v1: name, hierarchy, number of groups, enabled.
    for line in fs::read_to_string("/proc/cgroups")?.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [controller, .., "1"] = fields[..] else { continue };
        let dir = format!("{at}/{controller}");
        fs::create_dir(&dir)?;
        mount(Some("cgroup"), dir.as_str(), Some("cgroup"), flags, Some(controller))?;
    }
    Ok(())
}

/// Shows the namespace's interfaces in /sys: a sysfs shows those of the namespace that mounted it. What
/// is mounted elsewhere in /sys stays.
fn show_interfaces() -> io::Result<()> {
    const NONE: Option<&str> = None;
    const SYSFS: &str = "/run/kernlab/sys";
    fs::create_dir_all(SYSFS)?;
    mount(Some("sysfs"), SYSFS, Some("sysfs"), MsFlags::empty(), NONE)?;
    for dir in ["class/net", "devices/virtual/net"] {
        let (own, shown) = (format!("{SYSFS}/{dir}"), format!("/sys/{dir}"));
        mount(Some(own.as_str()), shown.as_str(), NONE, MsFlags::MS_BIND, NONE)?;
    }
    Ok(())
}

nix::ioctl_write_ptr_bad!(set_interface_flags, libc::SIOCSIFFLAGS, libc::ifreq);

fn loopback_up() -> nix::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(*b"lo") {
        *to = from as libc::c_char;
    }
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: SIOCSIFFLAGS reads an ifreq, and `request` is one that outlives the call.
    unsafe { set_interface_flags(socket.as_raw_fd(), &request) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_divides_a_name() {
        let cases = [
            ("kernel.bpf_stats_enabled", "kernel/bpf_stats_enabled"),
            ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ];
        for (name, path) in cases {
            assert_eq!(sysctl_file(name), format!("/proc/sys/{path}"));
        }
    }
}
