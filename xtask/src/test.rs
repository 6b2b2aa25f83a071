//! `cargo xtask test`: everything that must hold before a change is taken. CI runs this.

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    build::{self, GUEST_VARIABLE},
    exit::Exit,
    invocation::Invocation,
    pages,
    setup::{self, Consent, Purpose},
    workflows,
};

/// Kernels of the last stage: the oldest and the middle of the default tier, which differ in most
/// of what probes depend on, and are quick to fetch and to boot.
const SMALL_MATRIX: [&str; 2] = ["debian-5.10", "debian-6.1"];
/// Built for the BPF target only, so the host's lints and tests leave it out.
const BPF_PACKAGE: &str = "kernlab-aya-ebpf";
const BPF_TARGET: &str = "bpfel-unknown-none";
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
    /// Whether CI must not lack it: there, the stage fails instead of being left out.
    required_in_ci: bool,
    /// Whether it puts the guest's programs into guests, and so needs them built.
    boots_kernels: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    setup::ensure(Consent::Ask, Purpose::Test)?;
    let mut summary = Vec::new();
    let mut exit = Exit::Success;
    for stage in stages(&bpf_target_folder()?) {
        if let Some(lack) = (stage.lack)().filter(|_| !(stage.required_in_ci && setup::in_ci())) {
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
            command = command.env(GUEST_VARIABLE, build::guest_programs()?.folder_name()?);
        }
        println!("==> {}: {command}", self.name);
        command.run(STAGE_DEADLINE)
    }
}

/// What is checked, cheapest first.
fn stages(bpf_target_folder: &str) -> Vec<Stage> {
    let host_packages = ["--workspace", "--exclude", BPF_PACKAGE];
    let on_host = |args: &[&str]| Invocation::cargo(args.iter().copied()).args(host_packages);
    let stage = |name, command| Stage {
        name,
        command,
        lack: || None,
        required_in_ci: false,
        boots_kernels: false,
    };
    let matrix = SMALL_MATRIX.iter().flat_map(|kernel| ["--kernel", kernel]);
    vec![
        stage("format", Invocation::cargo(["fmt", "--all", "--check"])),
        Stage {
            lack: workflows::missing,
            required_in_ci: true,
            ..stage("workflows", Invocation::cargo(["xtask", "workflows"]))
        },
        stage("lints", on_host(&["clippy", "--all-targets"]).args(["--", "-D", "warnings"])),
        stage(
            "lints of the BPF programs",
            // The core library is built from source, which stable compilers do for themselves only.
            Invocation::cargo(["clippy", "--package", BPF_PACKAGE, "--target", BPF_TARGET])
                .args(["-Z", "build-std=core", "--target-dir", bpf_target_folder])
                .args(["--", "-D", "warnings"])
                .env("RUSTC_BOOTSTRAP", "1"),
        ),
        stage("documentation", on_host(&["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")),
        Stage {
            lack: || (!is_installed("cargo-deny")).then(|| "no cargo-deny here".to_owned()),
            ..stage(
                "licences and advisories",
                Invocation::cargo(["deny", "--all-features", "check"]),
            )
        },
        Stage { boots_kernels: true, ..stage("tests", on_host(&["nextest", "run"])) },
        stage("tests in documentation", on_host(&["test", "--doc"])),
        Stage { lack: pages::missing, ..stage("pages", Invocation::cargo(["xtask", "pages"])) },
        stage("small matrix", Invocation::cargo(["xtask", "vmtest"]).args(matrix)),
    ]
}

/// A folder of its own: `RUSTC_BOOTSTRAP` would make cargo rebuild what host builds share with it.
fn bpf_target_folder() -> Result<String> {
    let us = env::current_exe().context("failed to find our own program")?;
    let folder = us.parent().context("our own program is in no folder")?.join("bpf-lints");
    folder.into_os_string().into_string().ok().context("the target folder's path is not in UTF-8")
}

fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_commands_that_can_be_pasted() {
        let stages = stages("target/bpf-lints");
        let lines = stages.iter().map(|stage| format!("{}: {}", stage.name, stage.command));
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
    }
}
