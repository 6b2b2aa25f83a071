//! The commands of this repository: `cargo xtask help` lists them.
//!
//! One file per command; this one only dispatches.

use clap::{Parser, Subcommand};

use crate::exit::Exit;

mod bench;
mod build;
mod deps;
mod exit;
mod invocation;
mod kernels;
mod matrix;
mod report;
mod setup;
mod splat;
mod test;
mod vmtest;
mod workspace;

/// Does this tracer report the same thing on every kernel?
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Vmtest(vmtest::Args),
    Test(test::Args),
    Setup(setup::Args),
    Kernels(kernels::Args),
    Matrix(matrix::Args),
    Bench(bench::Args),
    Deps(deps::Args),
    Report(report::Args),
    Splat(splat::Args),
}

fn main() -> Exit {
    let result = match Cli::parse().command {
        Command::Vmtest(args) => vmtest::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Deps(args) => deps::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Splat(args) => splat::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Exit::Infrastructure
    })
}
