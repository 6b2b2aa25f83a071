//! Installs the programs that kernel builds need: only once a kernel's source is available, and
//! only if the user agreed beforehand.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    progress::{Event, Observer},
    store::Store,
};

/// The command that installs them, as a shell command line. `cargo xtask` sets it if the user
/// agreed.
pub const INSTALLER_VARIABLE: &str = "KERNLAB_BUILD_TOOLS";

/// Whether this process has already tried to install them.
static TRIED: AtomicBool = AtomicBool::new(false);

/// Installs what a build lacks, and returns whether it did. Without the user's consent it does
/// nothing.
pub(crate) fn install(store: &Store, kernel: &str, observer: &dyn Observer) -> bool {
    let command = env::var(INSTALLER_VARIABLE).ok().and_then(|command| shlex::split(&command));
    let Some([program, arguments @ ..]) = command.as_deref() else { return false };
    // If the installation failed for one kernel, it is not tried again for the next.
    if TRIED.swap(true, Ordering::SeqCst) {
        return false;
    }
    let log = store.root().join("logs/build-tools.log");
    observer.observe(kernel, Event::InstallTools { log: &log });
    match run(program, arguments, &log) {
        Ok(true) => true,
        Ok(false) => {
            observer.observe(kernel, Event::ToolsNotInstalled { log: &log, error: None });
            false
        }
        Err(error) => {
            observer.observe(kernel, Event::ToolsNotInstalled { log: &log, error: Some(&error) });
            false
        }
    }
}

/// Runs the program and returns whether it succeeded. The program has timeouts of its own.
fn run(program: &str, arguments: &[String], log: &Path) -> io::Result<bool> {
    fs::create_dir_all(log.parent().map(PathBuf::from).unwrap_or_default())?;
    let log = File::create(log)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.status()?.success())
}
