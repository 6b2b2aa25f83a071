//! The host tool: everything that `cargo xtask` hands on.

mod bench;
mod building;
mod deps;
mod exec;
mod kernels;
mod matrix;
mod report;
mod run;
mod selection;
mod shell;
mod show;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs eBPF tracers on many kernels and compares what they report.
#[derive(Debug, Parser)]
#[command(name = "kernlab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure what the lab's own steps cost on this machine.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Show what each tracer depends on, and what each kernel has of it.
    Deps(deps::Arguments),
    /// Run a program of this machine in each kernel.
    Exec(exec::Arguments),
    /// List, resolve and download kernels.
    #[command(subcommand)]
    Kernels(kernels::Command),
    /// Divide the matrix into shards, and make one report of theirs.
    Matrix(matrix::Arguments),
    /// Render the report of a run that was made.
    Report(report::Arguments),
    /// Boot kernels, run every tracer in them, compare its events with the golden snapshots.
    Run(run::Arguments),
    /// Be at the console of a kernel, with a shell of this machine.
    Shell(shell::Arguments),
}

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All as expected.
    Success,
    /// A cell fails.
    Failure,
    /// The command line or a configuration file is wrong. clap exits with the same code.
    Usage,
    /// Nothing can be said: a repository, the disk or QEMU failed.
    Infrastructure,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Infrastructure => 3,
        })
    }
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Bench(command) => bench::run(&command).into(),
        Command::Deps(arguments) => deps::run(&arguments).into(),
        Command::Exec(arguments) => exec::run(&arguments).into(),
        Command::Kernels(command) => kernels::run(&command).into(),
        Command::Matrix(arguments) => matrix::run(&arguments).into(),
        Command::Report(arguments) => report::run(&arguments).into(),
        Command::Run(arguments) => run::run(arguments).into(),
        Command::Shell(arguments) => shell::run(&arguments).into(),
    }
}
