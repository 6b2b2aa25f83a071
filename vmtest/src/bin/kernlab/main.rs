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
mod scenarios;
mod selection;
mod shell;
mod show;

use clap::{Parser, Subcommand};
use kernlab_cli::Exit;

/// Runs eBPF tracers on many kernels and compares what they report.
#[derive(Debug, Parser)]
#[command(
    name = "kernlab",
    version,
    after_help = "Examples:\n  kernlab kernels list\n  kernlab exec --kernel 6.1 -- /bin/uname -r"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure what the lab's own steps cost on this machine.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Show what each tracer depends on, or a BPF object of yours, and whether each kernel has it.
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// A command and all below it that `--help` lists, as they are typed.
    fn all(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
        let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        let below = shown.flat_map(|command| all(command, &path)).collect::<Vec<_>>();
        [(path, command.clone())].into_iter().chain(below).collect()
    }

    #[test]
    fn the_help_of_every_command_has_an_example_that_parses() {
        let commands = all(&Arguments::command(), "");
        assert!(commands.len() > 20);
        for (path, mut command) in commands {
            let help = command.render_long_help().to_string();
            let (_, examples) =
                help.split_once("Example").unwrap_or_else(|| panic!("{path}: {help}"));
            let examples =
                examples.lines().map(str::trim).filter(|line| line.starts_with("kernlab "));
            let examples: Vec<_> = examples.collect();
            assert!(!examples.is_empty(), "{path}: {help}");
            for example in examples {
                assert!(example.starts_with(&path), "an example of {path}: {example}");
                let words = shlex::split(example).unwrap();
                Arguments::command()
                    .try_get_matches_from(words)
                    .unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
}
