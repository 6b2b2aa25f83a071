//! The commands of this repository: `cargo xtask help` lists them.
//!
//! One file per command, and `tool` for those that the host tool implements; this file only dispatches.

use clap::{Parser, Subcommand};

use kernlab_cli::Exit;

#[macro_use]
mod output;

mod architecture;
mod book;
mod build;
mod dist;
mod findings;
mod fuzz;
mod guest;
mod install;
mod invocation;
mod kernels;
mod mutants;
mod pages;
mod setup;
mod soak;
mod test;
mod tool;
mod vmtest;
mod workflows;
mod workspace;

/// Build, check and run kernlab.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = Exit::HELP)]
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
    Install(install::Args),
    Dist(dist::Args),
    Book(book::Args),
    Guest(guest::Args),
    /// Divide the matrix into shards, or merge their reports into one.
    Matrix(tool::Arguments),
    /// Measure the cost of booting, restoring and tracing on this machine.
    Bench(tool::Arguments),
    /// Show what each tracer depends on, or a BPF object of yours, and which of it each kernel has.
    Deps(tool::Arguments),
    /// Run a program of this machine in each kernel; show its output, its exit code and the kernel's
    /// complaints.
    Exec(tool::Arguments),
    /// Render the report of a run, or compare two runs: as text, Markdown, HTML, JUnit XML, or for GitHub.
    Report(tool::Arguments),
    /// Print the command that runs one cell of a run again, or a script for another machine.
    Repro(tool::Arguments),
    /// Make static pages of any number of runs.
    Site(tool::Arguments),
    /// Open a shell in a guest, on the kernel's console; `--gdb` lets a debugger connect.
    Shell(tool::Arguments),
    /// Explain how one cell of a run ended.
    Why(tool::Arguments),
    Soak(soak::Args),
    /// Find kernel splats in a console log.
    Splat(tool::Arguments),
    Workflows(workflows::Args),
    Pages(pages::Args),
    Findings(findings::Args),
    Fuzz(fuzz::Args),
    Mutants(mutants::Args),
}

fn main() -> Exit {
    match run() {
        // A result that nobody could read is none.
        Exit::Success if output::is_lost() => Exit::Infrastructure,
        exit => exit,
    }
}

fn run() -> Exit {
    let result = match Cli::parse().command {
        Command::Vmtest(args) => vmtest::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Install(args) => install::run(&args),
        Command::Book(args) => book::run(&args),
        Command::Dist(args) => dist::run(&args),
        Command::Guest(args) => guest::run(&args),
        Command::Matrix(arguments) => tool::run("matrix", &arguments),
        Command::Bench(arguments) => tool::run_with_guest("bench", &arguments),
        Command::Deps(arguments) => tool::run_with_guest("deps", &arguments),
        Command::Exec(arguments) => tool::run_with_guest("exec", &arguments),
        Command::Report(arguments) => tool::run("report", &arguments),
        Command::Repro(arguments) => tool::run("repro", &arguments),
        Command::Site(arguments) => tool::run("site", &arguments),
        Command::Shell(arguments) => tool::run_with_guest("shell", &arguments),
        Command::Why(arguments) => tool::run("why", &arguments),
        Command::Soak(args) => soak::run(&args),
        Command::Splat(arguments) => tool::run("splat", &arguments),
        Command::Workflows(args) => workflows::run(&args),
        Command::Pages(args) => pages::run(&args),
        Command::Findings(args) => findings::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Mutants(args) => mutants::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Exit::Infrastructure
    })
}
