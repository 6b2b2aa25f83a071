//! `cargo xtask test`: everything that must hold before a change is taken. CI runs this.

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    build::{self, BPF_PACKAGE, GUEST_VARIABLE},
    exit::Exit,
    invocation::Invocation,
    pages,
    setup::{self, Consent, Purpose},
    workspace,
};

/// Kernels of the last stage: the oldest and the middle of the default tier, which differ in most
/// of what probes depend on, and are quick to fetch and to boot.
const SMALL_MATRIX: [&str; 2] = ["debian-5.10", "debian-6.1"];
const BPF_TARGET: &str = "bpfel-unknown-none";
/// The database of advisories is a git repository of a few megabytes.
const ADVISORIES_DEADLINE: Duration = Duration::from_secs(120);
/// The outermost deadline of a stage: what it runs has shorter ones.
const STAGE_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);

/// Check formatting, lints, tests and a small matrix of kernels.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Run the remaining stages when one has failed.
    #[arg(long)]
    keep_going: bool,
}

/// One thing to check.
#[derive(Clone, Debug)]
struct Stage {
    name: &'static str,
    command: Invocation,
    /// What a machine may lack of it, if it does: the stage is left out there, and says so.
    lack: fn() -> Option<String>,
    /// Whether it puts the guest's programs into guests, and so needs them built.
    boots_kernels: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    setup::ensure(Consent::Ask, Purpose::Test)?;
    let mut summary = Vec::new();
    let mut exit = Exit::Success;
    for stage in stages(&bpf_target_dir()?) {
        if let Some(lack) = (stage.lack)() {
            summary.push(format!("left out {:8} {}: {lack}", "", stage.name));
            continue;
        }
        let started = Instant::now();
        let result = stage.run();
        let seconds = format!("{:.1} s", started.elapsed().as_secs_f32());
        let Err(error) = result else {
            summary.push(format!("ok       {seconds:>8} {}", stage.name));
            continue;
        };
        summary.push(format!("FAILED   {seconds:>8} {}", stage.name));
        eprintln!("error: {error:#}");
        exit = Exit::Failure;
        if !args.keep_going {
            break;
        }
    }
    println!("\n{}", summary.join("\n"));
    Ok(exit)
}

impl Stage {
    /// Runs it. The command that is printed first is the one that shows a failure again.
    fn run(&self) -> Result<()> {
        let mut command = self.command.clone();
        if self.boots_kernels {
            command = command.env(GUEST_VARIABLE, build::guest_programs()?.dir_name()?);
        }
        println!("==> {}: {command}", self.name);
        command.run(STAGE_DEADLINE)
    }
}

/// What is checked, cheapest first.
fn stages(bpf_target_dir: &str) -> Vec<Stage> {
    let host_packages = ["--workspace", "--exclude", BPF_PACKAGE];
    let on_host = |args: &[&str]| Invocation::cargo(args.iter().copied()).args(host_packages);
    let stage = |name, command| Stage { name, command, lack: || None, boots_kernels: false };
    let root = workspace::root();
    let matrix = SMALL_MATRIX.iter().flat_map(|kernel| ["--kernel", kernel]);
    vec![
        stage(
            "bootstrap",
            Invocation::new("bash").args(["scripts/bootstrap", "--check"]).dir(&root),
        ),
        stage("format", Invocation::cargo(["fmt", "--all", "--check"])),
        stage("workflows and scripts", Invocation::cargo(["xtask", "workflows"])),
        stage(
            "licences",
            Invocation::cargo(["deny", "--all-features", "check", "--hide-inclusion-graph"])
                .args(["bans", "licenses", "sources"]),
        ),
        Stage {
            lack: advisories_missing,
            ..stage(
                "advisories",
                Invocation::cargo(["deny", "--all-features", "check", "advisories"]),
            )
        },
        stage("lints", on_host(&["clippy", "--all-targets"]).args(["--", "-D", "warnings"])),
        stage(
            "lints of the BPF programs",
            // The core library is built from source, which stable compilers do for themselves only.
            // In the directory and profile in which they are compiled: what compiling takes is there.
            Invocation::cargo(["clippy", "--release", "--package", BPF_PACKAGE])
                .args(["--target", BPF_TARGET, "--config", "profile.release.debug=false"])
                .args(["-Z", "build-std=core", "--target-dir", bpf_target_dir])
                .args(["--", "-D", "warnings"])
                .env("RUSTC_BOOTSTRAP", "1"),
        ),
        stage(
            "documentation",
            // There are no examples. Cargo counts them among what needs the features that tests need,
            // with which everything was checked already.
            on_host(&["doc", "--no-deps", "--lib", "--bins", "--examples"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        ),
        Stage { boots_kernels: true, ..stage("tests", on_host(&["nextest", "run"])) },
        stage("tests in documentation", on_host(&["test", "--doc"])),
        Stage { lack: pages::missing, ..stage("pages", Invocation::cargo(["xtask", "pages"])) },
        stage("small matrix", Invocation::cargo(["xtask", "vmtest"]).args(matrix)),
    ]
}

/// A directory apart from that of the host's builds: `RUSTC_BOOTSTRAP` would make cargo rebuild what they
/// share. Here, what compiling the programs takes is there already, or is used then.
fn bpf_target_dir() -> Result<String> {
    let us = env::current_exe().context("failed to find our own program")?;
    let target = us.ancestors().nth(2).context("our own program is in no target directory")?;
    let dir = target.join("ebpf");
    dir.into_os_string().into_string().ok().context("the target directory's path is not in UTF-8")
}

/// Fetches the advisories; why they are not here, if that fails. They come from GitHub, which not
/// every machine reaches.
fn advisories_missing() -> Option<String> {
    let fetch = Invocation::cargo(["deny", "fetch", "db"]);
    let error = fetch.read(ADVISORIES_DEADLINE).err()?;
    Some(format!("{error:#}: this machine can't reach the database of advisories"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_commands_that_can_be_pasted() {
        let stages = stages("target/ebpf");
        let lines = stages.iter().map(|stage| format!("{}: {}", stage.name, stage.command));
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
    }
}
