//! The host tool: implements the commands that `cargo xtask` forwards.

// All text reaches the terminal through these, and through `failure::print` and `show::Terminal`: they
// show what would act on a terminal as escapes. Only `exec` and `shell` pass a program's own output on as
// it is.

/// Prints a line on standard error. It is no error if nobody reads it.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("{}\n", kernlab_vmtest::terminal::shown(&format!($($text)*))),
        );
    }};
}

/// Takes the place of the standard library's: prints on standard output.
macro_rules! print {
    ($($text:tt)*) => { crate::failure::print_or_note(&format!($($text)*)) };
}

/// Takes the place of the standard library's: prints a line on standard output.
macro_rules! println {
    ($($text:tt)*) => { crate::failure::print_or_note(&(format!($($text)*) + "\n")) };
}

mod bench;
mod ci;
mod deps;
mod exec;
mod failure;
mod guest_options;
mod init;
mod input;
mod kernels;
mod manual;
mod matrix;
mod passed_on;
mod preparing;
mod report;
mod repro;
mod run;
mod runner;
mod scenarios;
mod selection;
mod shell;
mod show;
mod site;
mod snapshots;
mod splat;
mod test;
mod tested;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kernlab_cli::Exit;
use kernlab_vmtest::suite::job::IN_GUEST;

/// The version, and the commit of a release build.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("KERNLAB_COMMIT_IN_VERSION"));

/// Runs eBPF tracers on many kernels and compares what they report.
#[derive(Debug, Parser)]
#[command(
    name = "kernlab",
    version = VERSION,
    after_help = "Examples:\n  kernlab exec --kernel 6.1 -- uname -r\n  kernlab test -- ./agent --self-test\n  \
                  kernlab kernels list"
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
    /// Run suites in CI: caches, parts, comparisons, summaries.
    #[command(subcommand)]
    Ci(ci::Command),
    /// Print the completions of a shell: bash, zsh, fish, elvish or powershell.
    Completions(manual::Completions),
    /// Show what each tracer depends on, or a BPF object of yours, and whether each kernel has it.
    Deps(deps::Arguments),
    /// Run a program of this machine in each kernel.
    Exec(exec::Arguments),
    /// Write a kernlab.toml with one suite.
    Init(init::Arguments),
    /// List, resolve and download kernels.
    #[command(subcommand)]
    Kernels(kernels::Command),
    /// Write the manual pages of all commands into a directory.
    Man(manual::Pages),
    /// Divide the matrix into shards, and merge their reports.
    Matrix(matrix::Arguments),
    /// Render the report of a finished run.
    Report(report::Arguments),
    /// Print the command that runs one cell of a run again, or a script for another machine.
    Repro(repro::Arguments),
    /// Boot kernels, run every tracer in them, and compare its events with the golden snapshots.
    Run(run::Arguments),
    /// Run a test program of cargo, nextest or Go in a kernel, as their runner.
    Runner(runner::Arguments),
    /// Open a shell in a guest, on the kernel's console.
    Shell(shell::Arguments),
    Site(site::Arguments),
    Splat(splat::Arguments),
    /// Run a project's own tracers on many kernels, or a command that tests itself.
    Test(test::Arguments),
    /// Explain how one cell of a run ended.
    Why(why::Arguments),
}

impl Command {
    /// Whether it boots guests.
    fn needs_guests(&self) -> bool {
        use Command::*;
        matches!(self, Bench(_) | Ci(_) | Exec(_) | Run(_) | Runner(_) | Shell(_) | Test(_))
    }
}

fn main() -> ExitCode {
    let code = run();
    // A result that nobody could read is none.
    match code == ExitCode::SUCCESS && failure::has_lost_output() {
        true => Exit::Infrastructure.into(),
        false => code,
    }
}

fn run() -> ExitCode {
    let command = Arguments::parse().command;
    if command.needs_guests() && std::env::var_os(IN_GUEST).is_some() {
        let message = format!(
            "this is a guest of kernlab, as {IN_GUEST} in the environment says, and a guest boots no \
             guests. A runner runs what `cargo run` starts, too: set it only for tests"
        );
        return failure::Failure::usage(message).report().into();
    }
    let done: Result<Exit, failure::Failure> = match command {
        Command::Bench(command) => bench::run(&command),
        Command::Ci(command) => ci::run(&command),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Deps(arguments) => deps::run(&arguments),
        // The exit codes of these may be those of a program.
        Command::Exec(arguments) => match exec::run(&arguments) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::Init(arguments) => init::run(&arguments),
        Command::Kernels(command) => kernels::run(&command),
        Command::Man(arguments) => manual::pages(&arguments),
        Command::Matrix(arguments) => matrix::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Repro(arguments) => repro::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Runner(arguments) => match runner::run(&arguments) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::Shell(arguments) => match shell::run(&arguments) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::Site(arguments) => site::run(&arguments),
        Command::Splat(arguments) => splat::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Why(arguments) => why::run(&arguments),
    };
    done.unwrap_or_else(|failure| failure.report()).into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// A command and all below it that `--help` lists, as they are typed.
    pub(crate) fn all(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
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
