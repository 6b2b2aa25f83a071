//! The host tool: implements the commands that `cargo xtask` forwards.

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
    /// Show what each tracer depends on, and whether each kernel has it.
    Deps(deps::Arguments),
    /// Run a program of this machine in each kernel.
    Exec(exec::Arguments),
    /// List, resolve and download kernels.
    #[command(subcommand)]
    Kernels(kernels::Command),
    /// Divide the matrix into shards, and merge their reports.
    Matrix(matrix::Arguments),
    /// Render the report of a finished run.
    Report(report::Arguments),
    /// Boot kernels, run every tracer in them, and compare its events with the golden snapshots.
    Run(run::Arguments),
    /// Open a shell in a guest, on the kernel's console.
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
