//! `cargo xtask test`: every check that a change must pass. CI runs this.

use std::{
    env,
    num::NonZeroUsize,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use kernlab_cli::Exit;
use nix::sys::statvfs::statvfs;

use crate::{
    build::{self, BPF_PACKAGE, GUEST_VARIABLE},
    findings,
    invocation::Invocation,
    pages,
    setup::{self, Consent, Purpose},
    workspace,
};

/// The kernels of the small matrix, each with its type information or without: the oldest and the middle one
/// of the default tier, and one of the second architecture. They differ in most things that probes depend on,
/// and are quick to download and to boot.
const SMALL_MATRIX: [(&str, &str); 3] =
    [("debian-5.10", "masked"), (MIDDLE, "embedded"), ("debian-6.1-arm64", "masked")];
const MIDDLE: &str = "debian-6.1";
/// How many tests nextest runs at a time.
const TEST_THREADS: &str = "NEXTEST_TEST_THREADS";
const BPF_TARGET: &str = "bpfel-unknown-none";
/// The database of advisories is a git repository of a few megabytes.
const ADVISORIES_DEADLINE: Duration = Duration::from_secs(120);
/// The outermost deadline of a stage; the commands that it runs have shorter ones.
const STAGE_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);

/// With less free disk space, in bytes, a build may have failed for the lack of it.
const SCARCE: u64 = 1 << 30;

/// Check formatting, lints, tests and a small matrix of kernels.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Run the remaining stages after one has failed.
    #[arg(long)]
    keep_going: bool,
}

/// One thing to check.
#[derive(Clone, Debug)]
struct Stage {
    name: &'static str,
    command: Invocation,
    /// What this machine lacks for the stage, if anything: then the stage is skipped, and says so.
    lack: fn() -> Option<String>,
    /// Whether the stage needs the guest's programs.
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
        if let Some(hint) = disk_hint() {
            eprintln!("{hint}");
        }
        exit = Exit::Failure;
        if !args.keep_going {
            break;
        }
    }
    println!("\n{}", summary.join("\n"));
    Ok(exit)
}

impl Stage {
    /// Runs it, after printing the command, with which a failure can be reproduced.
    fn run(&self) -> Result<()> {
        let mut command = self.command.clone();
        if self.boots_kernels {
            let guest = build::guest_programs()?;
            guest.with_foreign()?;
            command = command.env(GUEST_VARIABLE, guest.dir_name()?);
            // Tests that run cells would compile them with variables of their own.
            for (name, value) in build::host_tool()?.program().1 {
                command = command.env(name, value.clone());
            }
            // Processors that wait for a guest that says nothing have time for another test.
            if env::var_os(TEST_THREADS).is_none() {
                let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
                command = command.env(TEST_THREADS, (processors + processors / 2).to_string());
            }
        }
        println!("==> {}: {command}", self.name);
        command.run(STAGE_DEADLINE)
    }
}

/// Whether a disk is nearly full: a linker without room says no more than "Bus error".
fn disk_hint() -> Option<String> {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let places = [Some(workspace::root()), target, Some(env::temp_dir())];
    places.into_iter().flatten().find_map(|place| {
        let disk = statvfs(&place).ok()?;
        let free = disk.blocks_available() * disk.fragment_size();
        let (free, is_scarce) = (free >> 20, free < SCARCE);
        let hint = || format!("hint: only {free} MiB are free in {}", place.display());
        is_scarce.then(hint)
    })
}

/// All stages, cheapest first.
fn stages(bpf_target_dir: &str) -> Vec<Stage> {
    let host_packages = ["--workspace", "--exclude", BPF_PACKAGE];
    let on_host = |args: &[&str]| Invocation::cargo(args.iter().copied()).args(host_packages);
    let stage = |name, command| Stage { name, command, lack: || None, boots_kernels: false };
    let root = workspace::root();
    let matrix = |name, (kernel, btf)| {
        stage(name, Invocation::cargo(["xtask", "vmtest", "--kernel", kernel, "--btf", btf]))
    };
    vec![
        stage(
            "bootstrap",
            Invocation::new("bash").args(["scripts/bootstrap", "--check"]).dir(&root),
        ),
        stage("format", Invocation::cargo(["fmt", "--all", "--check"])),
        stage("workflows and scripts", Invocation::cargo(["xtask", "workflows"])),
        stage("book", Invocation::cargo(["xtask", "book"])),
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
            // Building the core library from source needs RUSTC_BOOTSTRAP with a stable compiler. The
            // target directory and the profile are those of the build, so nothing is compiled twice.
            Invocation::cargo(["clippy", "--release", "--package", BPF_PACKAGE])
                .args(["--target", BPF_TARGET, "--config", "profile.release.debug=false"])
                .args(["-Z", "build-std=core", "--target-dir", bpf_target_dir])
                .args(["--", "-D", "warnings"])
                .env("RUSTC_BOOTSTRAP", "1"),
        ),
        stage(
            "documentation",
            // There are no examples. With `--examples` cargo selects the same features as for tests, with
            // which the lints have compiled all dependencies.
            on_host(&["doc", "--no-deps", "--lib", "--bins", "--examples"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        ),
        Stage { boots_kernels: true, ..stage("tests", on_host(&["nextest", "run"])) },
        stage("tests in documentation", on_host(&["test", "--doc"])),
        Stage { lack: pages::missing, ..stage("pages", Invocation::cargo(["xtask", "pages"])) },
        Stage {
            lack: findings::missing,
            ..stage(
                "findings",
                Invocation::cargo(["xtask", "findings", "--check", "--release", findings::CHECKED]),
            )
        },
        matrix("oldest kernel", SMALL_MATRIX[0]),
        matrix("middle kernel", SMALL_MATRIX[1]),
        matrix("arm64", SMALL_MATRIX[2]),
        stage("kills", Invocation::cargo(["xtask", "soak", "--kills", "8", "--kernel", MIDDLE])),
        // A change is not to fail for what another change brought: the weekly workflow looks further.
        stage("fuzz", Invocation::cargo(["xtask", "fuzz", "--seconds", "5", "--seed", "1"])),
    ]
}

/// The target directory of the BPF programs. It is not that of the host's builds, because cargo would
/// rebuild their common dependencies with `RUSTC_BOOTSTRAP`.
fn bpf_target_dir() -> Result<String> {
    let us = env::current_exe().context("failed to find our own program")?;
    let target = us.ancestors().nth(2).context("our own program is in no target directory")?;
    let dir = target.join("ebpf");
    dir.into_os_string().into_string().ok().context("the target directory's path is not in UTF-8")
}

/// Fetches the advisories. Returns the reason if that fails: not every machine can reach GitHub.
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
