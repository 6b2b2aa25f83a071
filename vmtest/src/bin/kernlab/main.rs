//! The host tool: everything that `cargo xtask` hands on.

mod bench;
mod building;
mod deps;
mod exec;
mod failure;
mod kernels;
mod matrix;
mod report;
mod run;
mod selection;
mod shell;
mod show;

use clap::{Parser, Subcommand};
use kernlab_cli::Exit;

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
    /// RunObserver what each tracer depends on, and what each kernel has of it.
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

fn main() -> Exit {
    let done = match Arguments::parse().command {
        Command::Bench(command) => bench::run(&command),
        Command::Deps(arguments) => deps::run(&arguments),
        Command::Exec(arguments) => exec::run(&arguments),
        Command::Kernels(command) => kernels::run(&command),
        Command::Matrix(arguments) => matrix::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Shell(arguments) => shell::run(&arguments),
    };
    done.unwrap_or_else(|failure| failure.report())
}
