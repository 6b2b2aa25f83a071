//! `kernlab exec`: runs a program of this machine in guests, and shows its output.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroUsize},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use kernlab_cli::{Execution, Selected, TestOptions};
use kernlab_core::outcome::{Outcome, Severity};
use kernlab_kernels::Entry;
use kernlab_vmtest::{
    lab::Stream,
    report::{CellReport, Report, Tally},
    run::{Outcomes, RunObserver, dir::RunDir},
    suite::{
        invocation::Invocation,
        job::RunContext,
        run::{self, Suites},
    },
};

use crate::{
    failure::{self, Failure},
    guest_options::GuestOptions,
    passed_on::{exit_code, explain, not_run, write_to},
    selection,
    shell::piped,
    show::Terminal,
};

/// Run a program of this machine in each kernel, and show its output, how it ended and the kernel's
/// complaints.
///
/// The program gets this directory as its working directory, this environment, and what is piped into
/// this command. On one kernel, its exit code becomes that of this command. If the lab could not run
/// it, that is 125, with which `git bisect run` skips a commit, and if it took too long, 124.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab exec --kernel 6.1 -- uname -r
  kernlab exec --kernel 5.10 --kernel 6.12 --file tests/ -- ./run-tests.sh
  kernlab exec --kernel 6.1 --root image.tar -- python3 /opt/tool.py")]
pub(crate) struct Arguments {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    #[command(flatten)]
    machine: GuestOptions,
    /// Kill the program after this many seconds; four times that without KVM.
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT, value_parser = kernlab_cli::seconds)]
    timeout: NonZeroU32,
    /// Run N guests at a time. By default as many as the machine has room for.
    #[arg(long, value_name = "N", value_parser = kernlab_cli::jobs)]
    jobs: Option<NonZeroUsize>,
    /// Print a report with the output as JSON.
    #[arg(long)]
    json: bool,
    /// The program and its arguments. A name without a slash is searched for in PATH.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

/// The seconds after which a program is killed, unless the command line says otherwise.
const TIMEOUT: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);

/// Runs the program on all kernels.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (kernels, entries) = selection::selected(&arguments.selected)?;
    let guest = arguments.guest.dir(&kernels)?;
    let input = piped()?;
    let suite = arguments.machine.suite(arguments.command.clone());
    let here = std::env::current_dir()?;
    let at = RunContext::of_process(&here, input.as_ref().map(|file| file.path().to_owned()));
    let invocation =
        Invocation::Exec { options: given_options(arguments), argv: arguments.command.clone() };
    let suites = Suites {
        suites: std::slice::from_ref(&suite),
        kernels: &[],
        at,
        invocation,
        remarks: Vec::new(),
        runs: None,
    };
    let options = TestOptions {
        selected: Selected {
            kernels: entries.iter().map(Entry::selector).collect(),
            scope: arguments.selected.scope.clone(),
        },
        execution: Execution {
            cold: arguments.machine.cold,
            jobs: arguments.jobs,
            ..Execution::default()
        },
        timeout: Some(arguments.timeout),
        ..TestOptions::default()
    };
    let one = entries.len() == 1;
    let show: Arc<dyn RunObserver> =
        if one { Arc::new(Terminal::quiet()) } else { Arc::new(Terminal::new()) };
    let is_live = one && !arguments.json;
    let pass_on = |_: &str, stream: Stream, bytes: &[u8]| {
        if is_live {
            write_to(stream, bytes);
        }
    };
    let done = run::run(&kernels, &options, &suites, &guest, &show, &pass_on);
    let (Outcomes { report, dir }, unwritten) = match failure::outcomes(done) {
        Err(failure) if one => return Ok(not_run(&failure)),
        done => done?,
    };
    if arguments.json {
        failure::print_or_note(&to_json(&report, &dir));
    } else if one {
        for cell in &report.cells {
            explain(cell, "");
            name_evidence(cell, &dir);
        }
    } else {
        show_all(&report, &dir)?;
    }
    let severity = Tally::of(&report.cells).severity();
    match &report.cells[..] {
        // What the program returned is known.
        [cell] if severity != Severity::Expected || unwritten.is_none() => {
            unwritten.iter().for_each(|failure| say!("error: {failure}"));
            Ok(exit_code(cell))
        }
        _ => Ok(failure::exit_of_run(severity, unwritten)?.into()),
    }
}

/// The options that decide what the program finds in a guest, as they are given on a command line.
fn given_options(arguments: &Arguments) -> Vec<String> {
    let mut words = arguments.machine.words();
    if arguments.timeout != TIMEOUT {
        words.extend(["--timeout".to_owned(), arguments.timeout.to_string()]);
    }
    words
}

/// Each kernel's output under a heading, so that a file with it says which is which.
fn show_all(report: &Report, dir: &RunDir) -> Result<(), Failure> {
    for cell in &report.cells {
        let release = cell.release.as_deref().unwrap_or("not run");
        failure::print(&format!("==> {} ({release}) <==\n", cell.kernel))?;
        let (stdout, stderr) = dir.output_of(cell);
        write_to(Stream::Stdout, &stdout);
        if stdout.last().is_some_and(|&last| last != b'\n') {
            write_to(Stream::Stdout, b"\n");
        }
        write_to(Stream::Stderr, &stderr);
        explain(cell, &format!("{}: ", cell.kernel));
        name_evidence(cell, dir);
    }
    Ok(())
}

/// Says where the files are that the message about a guest names, or that explain it: what the program
/// itself says is shown.
fn name_evidence(cell: &CellReport, dir: &RunDir) {
    if !matches!(cell.outcome, Outcome::Pass | Outcome::Fail) && !dir.files_of(cell).is_empty() {
        say!("evidence: {}", dir.path().join(&cell.evidence).display());
    }
}

/// The report, with the output in each cell.
fn to_json(report: &Report, dir: &RunDir) -> String {
    let outputs: BTreeMap<String, (Vec<u8>, Vec<u8>)> =
        report.cells.iter().map(|cell| (cell.id(), dir.output_of(cell))).collect();
    let mut json = serde_json::to_value(report).unwrap_or_default();
    let cells = json["cells"].as_array_mut().into_iter().flatten();
    for (json, cell) in cells.zip(&report.cells) {
        if let Some((stdout, stderr)) = outputs.get(&cell.id()) {
            json["stdout"] = String::from_utf8_lossy(stdout).into();
            json["stderr"] = String::from_utf8_lossy(stderr).into();
        }
    }
    format!("{json:#}\n")
}
