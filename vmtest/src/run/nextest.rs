//! Starts the cells with nextest.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{dir::RUN_VARIABLE, life::Life, nextest_cache, order, progress::SOCKET_VARIABLE};
use crate::qemu::QEMU_VARIABLE;
use kernlab_kernels::{
    interruption,
    paths::{MATRIX_VARIABLE, STORE_VARIABLE},
};

/// One invocation of nextest.
pub(super) struct Nextest<'a> {
    /// The checkout.
    pub(super) root: &'a Path,
    /// The directory of the matrix.
    pub(super) matrix: &'a Path,
    /// The directory of the run.
    pub(super) run: &'a Path,
    /// The socket on which cells report their progress.
    pub(super) progress: &'a Path,
    /// How many guests run at a time.
    pub(super) jobs: usize,
    /// Whether cells write snapshots.
    pub(super) update_snapshots: bool,
}

/// The variables with relative paths, made absolute: cells run in other directories.
fn absolute_paths(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, PathBuf)> {
    let is_path = |name: &OsString| {
        let name = name.to_string_lossy();
        name == STORE_VARIABLE || name.starts_with(QEMU_VARIABLE)
    };
    let named = variables.filter(move |(name, value)| is_path(name) && !value.is_empty());
    named.filter_map(|(name, value)| Some((name, std::path::absolute(value).ok()?)))
}

/// How nextest ended.
pub(super) struct Ended {
    /// One line for the user.
    pub(super) summary: String,
    /// Whether a signal asked for an early end.
    pub(super) interrupted: bool,
    /// What users should know, if nextest was killed.
    pub(super) killed: Option<String>,
}

/// How long cells may take to end when nextest is gone.
const LEFT: Duration = Duration::from_secs(10);

/// The file in the run's directory with nextest's output.
const LOG: &str = "nextest.log";

impl Nextest<'_> {
    /// Runs every cell of the plan, and summarises in one line how nextest ended. Verdicts are not
    /// read from its output: each cell writes its own.
    pub(super) fn run(&self) -> Result<Ended, String> {
        let path = self.run.join(LOG);
        let log = File::create(&path)
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let tests = nextest_cache::tests(self.root, &cargo, self.run);
        let mut command = Command::new(&cargo);
        command
            .args(["nextest", "run", "--profile", "kernlab"])
            .args(&tests.arguments)
            .args(["--no-fail-fast", "--test-threads", &self.jobs.to_string()])
            .arg("--tool-config-file")
            .arg(order::tool_config(self.run))
            .current_dir(self.root)
            .env(MATRIX_VARIABLE, self.matrix)
            .env(RUN_VARIABLE, self.run)
            .env(SOCKET_VARIABLE, self.progress)
            .envs(absolute_paths(env::vars_os()))
            // A cell writes its snapshot or compares with it; no snapshot is left for a later
            // review.
            .env("INSTA_UPDATE", if self.update_snapshots { "always" } else { "no" })
            .env("INSTA_OUTPUT", "none")
            .stdin(Stdio::null())
            .stdout(log.0)
            .stderr(log.1);
        // SAFETY: prctl is async-signal-safe, and nothing is allocated.
        unsafe {
            // However this process ends, its cells end too: nextest forwards the signal to them.
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?));
        }
        let life = Life::begin()
            .and_then(|life| life.give(&mut command).map(|()| life))
            .map_err(|error| format!("cannot make a connection to the cells: {error}"))?;
        let interruptions = Interruptions::catch()
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
        let mut nextest = command
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", cargo.display()))?;
        let (status, interrupted) = interruptions
            .wait(&mut nextest)
            .map_err(|error| format!("cannot wait for {}: {error}", cargo.display()))?;
        // The command has the cells' end as well.
        drop(command);
        let all_ended =
            life.end(LEFT).map_err(|error| format!("cannot wait for the cells to end: {error}"))?;
        let last = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned))
            .unwrap_or_default();
        let summary = format!("{status}, {last:?}; the full output is in {}", path.display());
        let killed = status.signal().filter(|_| !interrupted).map(|signal| {
            let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
            let rest = match all_ended {
                true => "its cells were ended",
                false => "some of its cells have not ended",
            };
            format!("the run was interrupted: {name} killed nextest, and {rest}")
        });
        Ok(Ended { summary, interrupted, killed })
    }
}

/// Forwards signals to nextest, so that an interrupted run still has a report.
struct Interruptions(Signals);

impl Interruptions {
    /// Until this value is dropped, a signal does not end this process.
    fn catch() -> io::Result<Self> {
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map(Interruptions)
    }

    /// Waits for nextest. The second value says whether a signal arrived.
    fn wait(self, runner: &mut Child) -> io::Result<(ExitStatus, bool)> {
        let Interruptions(mut signals) = self;
        let handle = signals.handle();
        let pid = Pid::from_raw(runner.id().cast_signed());
        thread::scope(|scope| {
            let forwarding = scope.spawn(move || {
                // The caller's hold has recorded a signal that came before this process listened for it. It
                // may wait here as well: a second one would make nextest kill the cells.
                let earlier = interruption::noted().inspect(|_| signals.pending().for_each(drop));
                let later = signals.forever().filter_map(|signal| Signal::try_from(signal).ok());
                let mut interrupted = false;
                for signal in earlier.into_iter().chain(later) {
                    interrupted = true;
                    // nextest may have ended by itself in the meantime.
                    let _gone = kill(pid, signal);
                }
                interrupted
            });
            let status = runner.wait();
            handle.close();
            Ok((status?, forwarding.join().unwrap_or(true)))
        })
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn cells_find_relative_paths() {
        let variables = [
            ("KERNLAB_STORE", "store"),
            ("KERNLAB_QEMU", "/qemu"),
            ("KERNLAB_QEMU_AARCH64", "./qemu"),
            ("KERNLAB_GUEST", "guest"),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let found: Vec<_> = absolute_paths(variables).collect();
        let here = env::current_dir().unwrap();
        let expected = [
            ("KERNLAB_STORE".into(), here.join("store")),
            ("KERNLAB_QEMU".into(), "/qemu".into()),
            ("KERNLAB_QEMU_AARCH64".into(), here.join("qemu")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_interruption_reaches_the_runner() {
        let _hold = interruption::hold().unwrap();
        let interruptions = Interruptions::catch().unwrap();
        let mut runner = Command::new("sleep").arg("60").spawn().unwrap();
        raise(Signal::SIGTERM).unwrap();
        let (status, interrupted) = interruptions.wait(&mut runner).unwrap();
        assert_eq!((status.signal(), interrupted), (Some(SIGTERM), true));
    }

    #[test]
    fn an_interruption_before_anybody_listened_reaches_the_runner_too() {
        let _hold = interruption::hold().unwrap();
        raise(Signal::SIGINT).unwrap();
        let interruptions = Interruptions::catch().unwrap();
        let mut runner = Command::new("sleep").arg("60").spawn().unwrap();
        let (status, interrupted) = interruptions.wait(&mut runner).unwrap();
        assert_eq!((status.signal(), interrupted), (Some(SIGINT), true));
    }

    #[test]
    fn a_runner_that_ends_by_itself_was_not_interrupted() {
        let _hold = interruption::hold().unwrap();
        let interruptions = Interruptions::catch().unwrap();
        let mut runner = Command::new("true").spawn().unwrap();
        let (status, interrupted) = interruptions.wait(&mut runner).unwrap();
        assert!(status.success() && !interrupted);
    }
}
