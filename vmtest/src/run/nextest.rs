//! The test runner that starts the cells.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use nix::sys::{prctl, signal::Signal};

use super::{directory::RUN_VARIABLE, progress::SOCKET_VARIABLE};

/// One invocation.
pub(super) struct Nextest<'a> {
    /// The checkout.
    pub(super) root: &'a Path,
    /// The folder of the run.
    pub(super) run: &'a Path,
    /// Where cells tell their progress.
    pub(super) progress: &'a Path,
    /// Guests at a time.
    pub(super) jobs: usize,
    /// Whether cells write snapshots.
    pub(super) update_snapshots: bool,
}

/// What nextest prints, in the folder of the run.
const LOG: &str = "nextest.log";

impl Nextest<'_> {
    /// Runs every cell of the plan, and says how it ended in one line. Verdicts are not read from
    /// it: each cell leaves its own.
    pub(super) fn run(&self) -> Result<String, String> {
        let path = self.run.join(LOG);
        let log = File::create(&path)
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(&cargo);
        command
            .args(["nextest", "run", "--profile", "kernlab"])
            .args(["--package", "kernlab-vmtest", "--test", "cells"])
            .args(["--no-fail-fast", "--test-threads", &self.jobs.to_string()])
            .current_dir(self.root)
            .env(RUN_VARIABLE, self.run)
            .env(SOCKET_VARIABLE, self.progress)
            // A cell writes its snapshot or compares with it; nothing is left for a later review.
            .env("INSTA_UPDATE", if self.update_snapshots { "always" } else { "no" })
            .env("INSTA_OUTPUT", "none")
            .stdin(Stdio::null())
            .stdout(log.0)
            .stderr(log.1);
        // SAFETY: prctl is async-signal-safe, and nothing is allocated.
        unsafe {
            // However this process ends, its cells end too: nextest passes the signal on to them.
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?));
        }
        let status = command
            .status()
            .map_err(|error| format!("cannot start {}: {error}", cargo.display()))?;
        let last = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned))
            .unwrap_or_default();
        Ok(format!("{status}, {last:?}; all of it is in {}", path.display()))
    }
}
