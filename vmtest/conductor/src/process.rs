//! Starts programs as the suite wants them.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
};

use kernlab_proto::suite::{End, SuiteJob};
use nix::{
    errno::Errno,
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
    unistd::{Gid, Uid, chdir, setgid, setgroups, setuid},
};

/// Lets all threads of this program run as soon as they have something to do, before the program that
/// gave them that: what a program wrote leaves the guest even if it crashes the kernel next. The agent
/// does the same.
pub(crate) fn run_before_programs() {
    // What is passed on arrives a little later if the kernel refuses.
    let _ = schedule(libc::SCHED_RR, 1);
}

fn schedule(policy: libc::c_int, priority: libc::c_int) -> nix::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the call reads the parameters, which outlive it.
    Errno::result(unsafe { libc::sched_setscheduler(0, policy, &parameters) }).map(drop)
}

/// Who a program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: Uid,
    gid: Gid,
}

impl User {
    /// The user that the job names, as the guest's `/etc/passwd` knows it.
    pub(crate) fn of(job: &SuiteJob) -> Result<Option<User>, String> {
        let Some(name) = &job.user else { return Ok(None) };
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        find(&passwd, name).map(Some).ok_or_else(|| format!("find the user {name}: no such user"))
    }
}

/// Looks a user up by name or number. A number that `passwd` does not have is its own group.
fn find(passwd: &str, name: &str) -> Option<User> {
    let user = |uid: &str, gid: &str| {
        Some(User { uid: Uid::from_raw(uid.parse().ok()?), gid: Gid::from_raw(gid.parse().ok()?) })
    };
    let known = passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [login, _, uid, gid, ..] = fields[..] else { return None };
        if login == name || uid == name { user(uid, gid) } else { None }
    });
    known.or_else(|| user(name, name))
}

/// A command for `argv` in the suite's directory and environment, in a process group of its own.
pub(crate) fn command(job: &SuiteJob, argv: &[String], user: Option<User>) -> io::Result<Command> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program given"))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(job.environment.iter().map(|(k, v)| (k, v)));
    command.process_group(0).stdin(Stdio::null());
    let text = |text: &str| CString::new(text).map_err(io::Error::other);
    let directory = text(&job.directory)?;
    // SAFETY: all calls are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            schedule(libc::SCHED_OTHER, 0)?;
            chdir(directory.as_c_str())?;
            if let Some(User { uid, gid }) = user {
                setgroups(&[gid])?;
                setgid(gid)?;
                setuid(uid)?;
            }
            // A mask is inherited.
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            Ok(())
        });
    }
    Ok(command)
}

/// Starts the tracer, whose output goes through pipes.
pub(crate) fn tracer(job: &SuiteJob, user: Option<User>) -> io::Result<Child> {
    let mut command = command(job, &job.tracer, user)?;
    if let Some(file) = &job.stdin {
        command.stdin(File::open(file)?);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// How a program ended.
pub(crate) fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Code(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Code(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";
        let user = |uid, gid| Some(User { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) });
        assert_eq!(find(passwd, "nobody"), user(65534, 65533));
        assert_eq!(find(passwd, "65534"), user(65534, 65533));
        assert_eq!(find(passwd, "1000"), user(1000, 1000));
        assert_eq!(find(passwd, "somebody"), None);
    }
}
