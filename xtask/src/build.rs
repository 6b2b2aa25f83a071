//! Builds the guest's programs and the host tool.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{self, IsTerminal as _},
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{self, Path, PathBuf},
    process::Command,
    time::Duration,
};

mod foreign;

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

use crate::{
    architecture::Architecture,
    invocation::{self, ChildProcess, Invocation},
    setup::{self, Consent, Purpose},
};

/// The packages whose programs go into the guest.
const GUEST_PACKAGES: [&str; 4] =
    ["kernlab-agent", "kernlab-conductor", "kernlab-tracer", "kernlab-fixtures"];
/// The Rust BPF programs. They build only for the BPF target, so builds for the host exclude them.
pub(crate) const BPF_PACKAGE: &str = "kernlab-aya-ebpf";
/// The host tool's program.
const HOST_TOOL: &str = "kernlab";
/// Passes the directory of the guest's programs to commands that boot guests.
pub(crate) const GUEST_VARIABLE: &str = "KERNLAB_GUEST";
/// Passes the test binary of the cells to commands that run them, so that they need not ask cargo for it.
const CELLS_VARIABLE: &str = "KERNLAB_CELLS";
/// A first build takes minutes on a small machine, longer on a busy one.
pub(crate) const BUILD_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
/// A build that takes longer is announced, if cargo shows no progress itself.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(5);

/// The directory of the guest's programs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GuestPrograms(PathBuf);

impl GuestPrograms {
    /// Those that the environment names, if it does. What uses them may run in another directory.
    pub(crate) fn given() -> Option<Self> {
        let dir = env::var_os(GUEST_VARIABLE).filter(|dir| !dir.is_empty())?;
        Some(GuestPrograms(path::absolute(dir).ok()?))
    }

    /// Builds those for guests of the other architecture as well, and puts them into a directory of their own
    /// in this one.
    pub(crate) fn with_foreign(&self) -> Result<()> {
        setup::ensure(Consent::Ask, Purpose::Foreign)?;
        let arch = Architecture::host().other();
        let what = format!("the programs of {}'s guests", arch.facts().title);
        let GuestPrograms(built) = build_guest_programs(what, &foreign::build(arch))?;
        let GuestPrograms(dir) = self;
        let link = self.foreign();
        if fs::read_link(&link).is_ok_and(|to| to == built) {
            return Ok(());
        }
        // Another process may link the same directory now.
        let fresh = dir.join(format!("{}.{}", arch.facts().name, std::process::id()));
        symlink(&built, &fresh)
            .and_then(|()| fs::rename(&fresh, &link))
            .with_context(|| format!("failed to link {}", link.display()))
    }

    /// The same where this machine has the tools for it. Where it lacks them, a note says so.
    pub(crate) fn with_foreign_if_possible(&self) -> Result<()> {
        if setup::is_complete(Purpose::Foreign) {
            return self.with_foreign();
        }
        eprintln!(
            "note: guests of {} are left out: `cargo xtask setup --only foreign` installs what their \
             programs are built with",
            Architecture::host().other().facts().title
        );
        // What an earlier build left does not fit the others.
        match fs::remove_file(self.foreign()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Where those for guests of the other architecture are.
    fn foreign(&self) -> PathBuf {
        let GuestPrograms(dir) = self;
        dir.join(Architecture::host().other().facts().name)
    }

    /// The directory as text, for the environment of a command that is also printed.
    pub(crate) fn dir_name(&self) -> Result<String> {
        let GuestPrograms(dir) = self;
        let name = dir.to_str().context("the path of the guest's programs is not in UTF-8")?;
        Ok(name.to_owned())
    }
}

/// The built host tool, which handles kernels, guests and reports.
#[derive(Debug)]
pub(crate) struct HostTool {
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
}

/// Installs what is missing, and builds everything that booting kernels needs.
///
/// The host tool needs none of what is installed, so it is built during the installation and during the
/// build of the guest's programs, which have a different target directory.
pub(crate) fn after_setup(consent: Consent, purpose: Purpose) -> Result<(GuestPrograms, HostTool)> {
    let started = setup::ensure_beside(consent, purpose, HostToolBuild::start)?;
    let host_tool = match started {
        Some(build) => build,
        None => HostToolBuild::start()?,
    };
    let guest = guest_programs()?;
    Ok((guest, host_tool.finish()?))
}

/// Builds the static programs that run in the guest.
///
/// They have their own flags and profile, and so their own directory: the host's builds stay fresh.
pub(crate) fn guest_programs() -> Result<GuestPrograms> {
    let target = Architecture::host().facts().target;
    build_guest_programs("the guest's programs".to_owned(), &guest_build(target))
}

/// The build of the programs for guests of this target.
fn guest_build(target: &str) -> Invocation {
    let packages = GUEST_PACKAGES.iter().flat_map(|package| ["--package", package]);
    let (variable, flags) =
        guest_flags(env::var("CARGO_ENCODED_RUSTFLAGS").ok(), env::var("RUSTFLAGS").ok());
    Invocation::cargo(["build", "--profile", "guest", "--target", target])
        .args(packages)
        .env(variable, flags)
}

fn build_guest_programs(what: String, build: &Invocation) -> Result<GuestPrograms> {
    let programs = CargoBuild::start(what, build, Beside::Nothing)?.finish()?;
    let mut dirs = programs.iter().filter_map(|program| program.parent());
    let dir = dirs.next().context("cargo built no program for the guest")?;
    ensure!(dirs.all(|other| other == dir), "cargo put the guest's programs in many directories");
    Ok(GuestPrograms(dir.to_owned()))
}

/// Also builds the programs for guests of other architectures, if one of the kernels that these words of a
/// command line select is of one.
pub(crate) fn for_kernels(
    guest: GuestPrograms,
    tool: &HostTool,
    selection: &[OsString],
) -> Result<GuestPrograms> {
    let own = Architecture::host().facts().name;
    if architectures(tool, selection)?.iter().any(|arch| arch != own) {
        guest.with_foreign()?;
    }
    Ok(guest)
}

/// The architectures of the kernels that these words select.
pub(crate) fn architectures(tool: &HostTool, selection: &[OsString]) -> Result<Vec<String>> {
    let args = ["kernels", "architectures"].map(OsString::from);
    let asked = tool.ask(&[&args[..], selection].concat())?;
    Ok(asked.lines().map(str::to_owned).collect())
}

/// Builds the host tool, and the test binary whose tests are the cells.
pub(crate) fn host_tool() -> Result<HostTool> {
    HostToolBuild(CargoBuild::start("the host tool", &host_tool_build(), Beside::Nothing)?).finish()
}

/// A build of the host tool in the background.
#[must_use = "the build is killed if it is not waited for"]
pub(crate) struct HostToolBuild(CargoBuild);

impl HostToolBuild {
    pub(crate) fn start() -> Result<Self> {
        CargoBuild::start("the host tool", &host_tool_build(), Beside::SomethingElse)
            .map(HostToolBuild)
    }

    pub(crate) fn finish(self) -> Result<HostTool> {
        find_host_tool(self.0.finish()?)
    }
}

/// Selecting the whole workspace, and of it these two targets, makes cargo compile dependencies with
/// the features that the rest of the workspace needs, tests included, and so only once.
fn host_tool_build() -> Invocation {
    Invocation::cargo(["build", "--workspace", "--exclude", BPF_PACKAGE])
        .args(["--bin", HOST_TOOL, "--test", "cells"])
}

fn find_host_tool(programs: Vec<PathBuf>) -> Result<HostTool> {
    let is_tool = |program: &PathBuf| program.file_name() == Some(HOST_TOOL.as_ref());
    let (tools, cells): (Vec<_>, Vec<_>) = programs.into_iter().partition(is_tool);
    let tool = tools.into_iter().next();
    let program = tool.with_context(|| format!("cargo built no program `{HOST_TOOL}`"))?;
    let cells = cells.first().and_then(|cells| cells.to_str());
    let environment = cells.map(|cells| (CELLS_VARIABLE, cells.to_owned()));
    Ok(HostTool { program, environment: environment.into_iter().collect() })
}

impl HostTool {
    /// The same tool, with a variable in its environment.
    pub(crate) fn with(mut self, variable: &'static str, value: String) -> Self {
        self.environment.push((variable, value));
        self
    }

    /// A command of the tool.
    pub(crate) fn invocation(&self, command: &str) -> Result<Invocation> {
        let program = self.program.to_str().context("the checkout's path is not in UTF-8")?;
        let invocation = Invocation::new(program).args([command]);
        let set =
            |invocation: Invocation, (name, value): &(&str, String)| invocation.env(name, value);
        Ok(self.environment.iter().fold(invocation, set))
    }

    /// Runs the tool and returns what it prints.
    pub(crate) fn ask(&self, args: &[OsString]) -> Result<String> {
        let HostTool { program, .. } = self;
        let sh = Shell::new()?;
        Ok(cmd!(sh, "{program} {args...}").quiet().read()?)
    }

    /// Like [`HostTool::ask`], with a variable in its environment.
    pub(crate) fn ask_with(
        &self,
        variable: &str,
        value: impl AsRef<OsStr>,
        args: &[OsString],
    ) -> Result<String> {
        let HostTool { program, .. } = self;
        let sh = Shell::new()?;
        Ok(cmd!(sh, "{program} {args...}").env(variable, value).quiet().read()?)
    }

    /// A copy of its programs in a directory: a build meanwhile does not change them.
    pub(crate) fn copied_to(&self, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let copied = |program: &Path| {
            let to = dir.join(program.file_name().context("a program has no name")?);
            // Another process may run what is there.
            let fresh = to.with_extension("new");
            let done = fs::copy(program, &fresh).and_then(|_| fs::rename(&fresh, &to));
            done.with_context(|| format!("failed to copy {}", program.display()))?;
            Ok::<_, anyhow::Error>(to)
        };
        let environment = self.environment.iter().map(|(name, value)| match *name {
            CELLS_VARIABLE => {
                let cells = copied(Path::new(value))?.into_os_string().into_string();
                Ok((*name, cells.ok().context("the checkout's path is not in UTF-8")?))
            }
            name => Ok((name, value.clone())),
        });
        let environment = environment.collect::<Result<_>>()?;
        Ok(HostTool { program: copied(&self.program)?, environment })
    }

    /// The path of its program, and the variables of its environment.
    pub(crate) fn program(&self) -> (&Path, &[(&'static str, String)]) {
        (&self.program, &self.environment)
    }

    /// Replaces this process by the tool, which then owns the terminal, signals and exit code. Returns
    /// only if that fails.
    pub(crate) fn exec(
        &self,
        command: &str,
        args: &[impl AsRef<OsStr>],
        guest: Option<&GuestPrograms>,
    ) -> anyhow::Error {
        let mut tool = Command::new(&self.program);
        tool.arg(command).args(args).envs(self.environment.iter().cloned());
        invocation::of_xtask().for_each(|name| {
            tool.env_remove(name);
        });
        if let Some(GuestPrograms(dir)) = guest {
            tool.env(GUEST_VARIABLE, dir);
        }
        let error = tool.exec();
        anyhow::Error::new(error).context(format!("failed to start {}", self.program.display()))
    }
}

/// Whether something else runs during a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// Cargo has the terminal.
    Nothing,
    /// Another program has the terminal.
    SomethingElse,
}

/// A running `cargo build`.
///
/// Cargo shows its progress if it has the terminal for itself. Otherwise it prints only errors, and we
/// print one line if the build takes long.
struct CargoBuild {
    what: String,
    shows_progress: bool,
    running: ChildProcess,
}

impl CargoBuild {
    fn start(what: impl Into<String>, build: &Invocation, beside: Beside) -> Result<Self> {
        let shows_progress = beside == Beside::Nothing && io::stderr().is_terminal();
        let build = build.clone().args(["--message-format", "json-render-diagnostics"]);
        let build = if shows_progress { build } else { build.args(["--quiet"]) };
        Ok(CargoBuild { what: what.into(), shows_progress, running: build.start_captured()? })
    }

    /// Waits for the end, and returns the executables, built or fresh.
    fn finish(self) -> Result<Vec<PathBuf>> {
        let messages = match self.running.wait(ANNOUNCED_AFTER)? {
            Some(messages) => messages,
            None => {
                if !self.shows_progress {
                    eprintln!("building {} (minutes the first time)", self.what);
                }
                self.running.finish(BUILD_DEADLINE)?
            }
        };
        executables(&messages)
    }
}

/// The executables that `cargo build --message-format json` names.
pub(crate) fn executables(messages: &str) -> Result<Vec<PathBuf>> {
    let mut executables = Vec::new();
    for line in messages.lines() {
        let message: serde_json::Value =
            serde_json::from_str(line).context("failed to read a message of cargo")?;
        executables.extend(message["executable"].as_str().map(PathBuf::from));
    }
    Ok(executables)
}

/// The compiler flags for static programs, appended to those of the environment.
///
/// Returns them with the variable to set: for cargo, `CARGO_ENCODED_RUSTFLAGS` outranks `RUSTFLAGS`.
fn guest_flags(encoded: Option<String>, plain: Option<String>) -> (&'static str, String) {
    let (name, existing, separator) = match encoded {
        Some(encoded) => ("CARGO_ENCODED_RUSTFLAGS", Some(encoded), "\u{1f}"),
        None => ("RUSTFLAGS", plain, " "),
    };
    let existing = existing.filter(|flags| !flags.trim().is_empty());
    let flags = existing.into_iter().chain(["-Ctarget-feature=+crt-static".to_owned()]);
    (name, flags.collect::<Vec<_>>().join(separator))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, None, "RUSTFLAGS", "-Ctarget-feature=+crt-static")]
    #[case(None, Some(""), "RUSTFLAGS", "-Ctarget-feature=+crt-static")]
    #[case(None, Some("-Dwarnings"), "RUSTFLAGS", "-Dwarnings -Ctarget-feature=+crt-static")]
    #[case(
        Some("-L\u{1f}/a b"),
        Some("-Dwarnings"),
        "CARGO_ENCODED_RUSTFLAGS",
        "-L\u{1f}/a b\u{1f}-Ctarget-feature=+crt-static"
    )]
    fn flags_of_the_environment_are_kept(
        #[case] encoded: Option<&str>,
        #[case] plain: Option<&str>,
        #[case] name: &str,
        #[case] flags: &str,
    ) {
        let (encoded, plain) = (encoded.map(Into::into), plain.map(Into::into));
        assert_eq!(guest_flags(encoded, plain), (name, flags.to_owned()));
    }

    #[test]
    fn executables_are_those_that_cargo_names() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"kernlab"},"executable":"/t/kernlab"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executables(messages).unwrap(), [PathBuf::from("/t/kernlab")]);
        assert!(executables("   Compiling").is_err());
    }
}
