//! A command line as a value, which can be printed before it runs, compared in tests, and run with a
//! deadline. Commands that need none of this run with xshell.

use std::{
    borrow::Cow,
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use duct::{Expression, Handle};

use crate::workspace;

/// A program with its arguments, environment and directory. Its display form can be pasted into a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "does nothing until it is run"]
pub(crate) struct Invocation {
    program: String,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    dir: Option<PathBuf>,
}

impl Invocation {
    /// `program` without arguments, in the current directory.
    pub(crate) fn new(program: impl Into<String>) -> Self {
        Invocation { program: program.into(), args: Vec::new(), environment: Vec::new(), dir: None }
    }

    /// A cargo command in the workspace's root directory, whatever the current directory is.
    pub(crate) fn cargo<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Self {
        Invocation::new("cargo").args(args).dir(&workspace::root())
    }

    /// Adds arguments.
    pub(crate) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the directory to run in.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// The same command, run as root with sudo.
    pub(crate) fn with_sudo(mut self) -> Self {
        // sudo drops the environment; env(1) sets it again.
        let environment = self.environment.drain(..).map(|(name, value)| format!("{name}={value}"));
        let environment = environment.collect::<Vec<_>>();
        let env = if environment.is_empty() { None } else { Some("env".to_owned()) };
        let program = std::mem::replace(&mut self.program, "sudo".to_owned());
        let args = std::mem::take(&mut self.args);
        self.args(env).args(environment).args([program]).args(args)
    }

    /// Runs it on our terminal. It must exit with 0 before the deadline.
    pub(crate) fn run(&self, deadline: Duration) -> Result<()> {
        self.start(self.expression())?.finish(deadline).map(drop)
    }

    /// Runs it silently and returns what it prints. It must exit with 0 before the deadline.
    pub(crate) fn read(&self, deadline: Duration) -> Result<String> {
        self.start(self.expression().stdin_null().stdout_capture().stderr_null())?.finish(deadline)
    }

    /// Starts it, and captures its stdout.
    pub(crate) fn start_captured(&self) -> Result<ChildProcess> {
        self.start(self.expression().stdin_null().stdout_capture())
    }

    fn expression(&self) -> Expression {
        let expression = duct::cmd(&self.program, &self.args).unchecked();
        let expression = self
            .environment
            .iter()
            .fold(expression, |expression, (name, value)| expression.env(name, value));
        // What is said later of an expression happens earlier.
        let expression =
            of_xtask().fold(expression, |expression, name| expression.env_remove(name));
        match &self.dir {
            Some(dir) => expression.dir(dir),
            None => expression,
        }
    }

    fn start(&self, expression: Expression) -> Result<ChildProcess> {
        let handle = expression
            .start()
            .with_context(|| format!("failed to start `{}`: is it installed?", self.program))?;
        Ok(ChildProcess { invocation: self.clone(), handle })
    }
}

/// A started invocation, which is killed when this value is dropped.
#[must_use = "the process is killed if it is not waited for"]
pub(crate) struct ChildProcess {
    invocation: Invocation,
    handle: Handle,
}

impl ChildProcess {
    /// Waits until the timeout. Returns its captured stdout, or `None` if it still runs.
    pub(crate) fn wait(&self, timeout: Duration) -> Result<Option<String>> {
        let ChildProcess { invocation, handle } = self;
        let output = handle
            .wait_timeout(timeout)
            .with_context(|| format!("failed to wait for `{invocation}`"))?;
        let Some(output) = output else { return Ok(None) };
        if !output.status.success() {
            bail!("`{invocation}` failed ({})", output.status);
        }
        Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Waits for the end, and kills it at the deadline.
    pub(crate) fn finish(self, deadline: Duration) -> Result<String> {
        if let Some(stdout) = self.wait(deadline)? {
            return Ok(stdout);
        }
        let ChildProcess { invocation, handle } = &self;
        handle.kill().with_context(|| format!("failed to end `{invocation}`"))?;
        bail!("`{invocation}` did not finish within {} s", deadline.as_secs());
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // An error means that the process has ended, or can't be killed.
        let _ = self.handle.kill();
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quote(value)?)?;
        }
        f.write_str(&quote(&self.program)?)?;
        for arg in &self.args {
            write!(f, " {}", quote(arg)?)?;
        }
        Ok(())
    }
}

/// The variables that describe the package xtask, which cargo sets for its programs. Of other packages they say
/// nothing, but ring's build script runs again when they change: a `cargo build` after a `cargo xtask` would
/// compile a third of the workspace again.
pub(crate) fn of_xtask() -> impl Iterator<Item = OsString> {
    let describes = |name: &OsString| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"CARGO_PKG_") || name.starts_with(b"CARGO_MANIFEST_")
    };
    env::vars_os().map(|(name, _)| name).filter(describes)
}

/// Quotes a word if a shell needs that. `=` is plain here: no argument of ours looks like an assignment.
fn quote(word: &str) -> Result<Cow<'_, str>, fmt::Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Ok(word.into());
    }
    // Fails for NUL bytes only, which no command line can hold.
    shlex::try_quote(word).map_err(|_| fmt::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn is_shown_as_a_shell_would_read_it() {
        let invocation = Invocation::new("cargo").args(["doc", "a b"]).env("RUSTDOCFLAGS", "-D x");
        assert_eq!(invocation.to_string(), "RUSTDOCFLAGS='-D x' cargo doc 'a b'");
    }

    #[test]
    fn sudo_keeps_the_environment() {
        let invocation = Invocation::new("apt-get").args(["update"]).env("A", "b");
        assert_eq!(invocation.with_sudo().to_string(), "sudo env A=b apt-get update");
        let invocation = Invocation::new("apt-get").args(["update"]);
        assert_eq!(invocation.with_sudo().to_string(), "sudo apt-get update");
    }

    #[test]
    fn what_cargo_says_of_xtask_is_not_passed_on() {
        assert!(of_xtask().count() > 0, "tests are run by cargo");
        let environment = Invocation::new("env").env("CARGO_PKG_NAME", "set").read(SOON).unwrap();
        let told = environment.lines().filter(|line| line.starts_with("CARGO_PKG_"));
        assert_eq!(told.collect::<Vec<_>>(), ["CARGO_PKG_NAME=set"]);
    }

    #[test]
    fn failures_name_the_command() {
        let error = Invocation::new("sh").args(["-c", "exit 7"]).run(SOON).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'exit 7'` failed (exit status: 7)");
        let error = Invocation::new("/no/such/program").read(SOON).unwrap_err();
        assert_eq!(error.to_string(), "failed to start `/no/such/program`: is it installed?");
    }

    #[test]
    fn a_dropped_process_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let pipe = pipe.to_str().unwrap();
        Invocation::new("mkfifo").args([pipe]).run(SOON).unwrap();
        // The reader of a pipe sees its end once the process that writes to it is gone.
        let writer = Invocation::new("sh").args(["-c", &format!("exec sleep 60 >{pipe}")]);
        let writer = writer.start_captured().unwrap();
        let reader = Invocation::new("cat").args([pipe]).start_captured().unwrap();
        assert_eq!(reader.wait(Duration::from_millis(50)).unwrap(), None);
        drop(writer);
        assert_eq!(reader.finish(SOON).unwrap(), "");
    }

    #[test]
    fn a_deadline_ends_it() {
        let error = Invocation::new("sleep").args(["60"]).run(Duration::from_millis(50));
        assert_eq!(error.unwrap_err().to_string(), "`sleep 60` did not finish within 0 s");
    }
}
