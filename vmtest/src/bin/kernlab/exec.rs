//! `kernlab exec`: runs a program of this machine in guests, and shows its output.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use kernlab_cli::{Exit, Selected, TestOptions};
use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::Entry;
use kernlab_vmtest::{
    lab::Stream,
    report::{CellReport, Report, Tally},
    run::{Outcomes, RunObserver, dir::RunDir},
    suite::{
        invocation::Invocation,
        job::Circumstances,
        manifest::{FileSpec, GuestSpec, Suite},
        run::{self, Suites},
    },
};
use tempfile::NamedTempFile;

use crate::{
    failure::{self, Failure, exit_of},
    selection,
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
    /// Copy a file or a directory into the guest, with the libraries that programs in it need: to the
    /// same absolute path, or from HERE to THERE.
    #[arg(long = "file", value_name = "PATH|HERE=THERE", value_parser = file_spec)]
    files: Vec<FileSpec>,
    /// Bring a file or a directory of the guest back, into the run's evidence.
    #[arg(long, value_name = "PATH")]
    collect: Vec<String>,
    /// Hide a file or a directory of the guest from the program, such as `/sys/kernel/btf`.
    #[arg(long, value_name = "PATH")]
    hide: Vec<String>,
    /// The guest's memory in MiB. By default, what the kernel and the program's files need.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..=65536))]
    memory: Option<u32>,
    /// The number of processors of the guest.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: Option<u32>,
    /// Kill the program after this many seconds; four times that without KVM.
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT)]
    timeout: NonZeroU32,
    /// Boot a guest instead of restoring a saved one.
    #[arg(long)]
    cold: bool,
    /// Run N guests at a time. By default as many as the machine has room for.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// A tar archive or a directory that becomes the guest's root file system.
    #[arg(long, value_name = "PATH")]
    root: Option<PathBuf>,
    /// Load a module of the kernel's package, and those that it needs.
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// Turn on a security module, beside those that the kernel turns on.
    #[arg(long, value_name = "NAME")]
    lsm: Option<String>,
    /// Print a report with the output as JSON.
    #[arg(long)]
    json: bool,
    /// The program and its arguments. A name without a slash is searched for in PATH.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

/// The seconds after which a program is killed, unless the command line says otherwise.
const TIMEOUT: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);

/// Parses `PATH` or `HERE=THERE`.
pub(crate) fn file_spec(text: &str) -> Result<FileSpec, String> {
    let (host, guest) = match text.split_once('=') {
        Some((host, guest)) => (host, Some(guest)),
        None => (text, None),
    };
    if let Some(guest) = guest.filter(|guest| !guest.starts_with('/')) {
        return Err(format!("expected an absolute path in the guest, not {guest:?}"));
    }
    let host = PathBuf::from(host);
    match host.exists() {
        true => Ok(FileSpec { host, guest: guest.map(str::to_owned) }),
        false => Err("no such file or directory".to_owned()),
    }
}

/// Runs the program on all kernels.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (kernels, entries) = selection::selected(&arguments.selected)?;
    let guest = arguments.guest.dir(&kernels)?;
    let input = piped()?;
    let suite = Suite {
        files: arguments.files.clone(),
        collect: arguments.collect.clone(),
        hide: arguments.hide.clone(),
        root: arguments.root.clone(),
        guest: GuestSpec {
            cpus: arguments.cpus,
            memory_mib: arguments.memory,
            modules: arguments.modules.clone(),
            lsm: arguments.lsm.clone(),
            ..GuestSpec::default()
        },
        ..Suite::command(arguments.command.clone())
    };
    let here = std::env::current_dir()?;
    let at = Circumstances::of_process(&here, input.as_ref().map(|file| file.path().to_owned()));
    let invocation =
        Invocation::Exec { options: given_options(arguments), argv: arguments.command.clone() };
    let suites = Suites { suites: std::slice::from_ref(&suite), kernels: &[], at, invocation };
    let options = TestOptions {
        selected: Selected {
            kernels: entries.iter().map(Entry::selector).collect(),
            scope: arguments.selected.scope.clone(),
        },
        cold: arguments.cold,
        jobs: arguments.jobs,
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
    let Outcomes { report, dir } = match done {
        Err(error) if one => return Ok(not_run(&Failure::from(error))),
        done => done?,
    };
    if arguments.json {
        failure::print(&to_json(&report, &dir))?;
    } else if one {
        for cell in &report.cells {
            explain(cell, "");
        }
    } else {
        show_all(&report, &dir)?;
    }
    match &report.cells[..] {
        [cell] => Ok(exit_code(cell)),
        cells => Ok(exit_of(Tally::of(cells).severity()).into()),
    }
}

/// The options that decide what the program finds in a guest, as they are given on a command line.
fn given_options(arguments: &Arguments) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for FileSpec { host, guest } in &arguments.files {
        let guest = guest.as_ref().map(|guest| format!("={guest}")).unwrap_or_default();
        add("--file", format!("{}{guest}", host.display()));
    }
    let texts = [("--collect", &arguments.collect), ("--hide", &arguments.hide)];
    for (name, values) in texts.into_iter().chain([("--module", &arguments.modules)]) {
        values.iter().for_each(|value| add(name, value.clone()));
    }
    for (name, value) in [
        ("--memory", arguments.memory.map(|mib| mib.to_string())),
        ("--cpus", arguments.cpus.map(|count| count.to_string())),
        ("--timeout", (arguments.timeout != TIMEOUT).then(|| arguments.timeout.to_string())),
        ("--root", arguments.root.as_ref().map(|root| root.display().to_string())),
        ("--lsm", arguments.lsm.clone()),
    ] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    words
}

/// What is piped into this command. A terminal stays with the user.
fn piped() -> io::Result<Option<NamedTempFile>> {
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut file = NamedTempFile::new()?;
    io::copy(&mut io::stdin(), &mut file)?;
    Ok(Some(file))
}

/// Passes a program's output on as it is. If nobody reads its standard output any more, as behind
/// head(1), this process ends as the program itself would, and its guests with it.
pub(crate) fn write_to(stream: Stream, bytes: &[u8]) {
    let written = match stream {
        Stream::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        // Nobody has to read it.
        Stream::Stderr => io::stderr().write_all(bytes).or(Ok(())),
        Stream::Result | Stream::KernelLog => Ok(()),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(UNREAD),
        Err(error) => failure::note_lost_output(&error),
        Ok(()) => {}
    }
}

/// As a shell reports a program that SIGPIPE killed.
const UNREAD: i32 = 128 + 13;

/// The lab could not run the only program.
fn not_run(failure: &Failure) -> ExitCode {
    match failure.report() {
        Exit::Usage => Exit::Usage.into(),
        Exit::Success | Exit::Failure | Exit::Infrastructure => ExitCode::from(NOT_RUN),
    }
}

/// `git bisect run` takes this code as "skip", and env(1) and container engines use it for faults of
/// their own.
const NOT_RUN: u8 = 125;
/// As timeout(1).
const OVERDUE: u8 = 124;

/// The exit code of the program on a single kernel, as a shell's `$?`.
fn exit_code(cell: &CellReport) -> ExitCode {
    let tracer = cell.tracer.clone().unwrap_or_default();
    match (cell.outcome, cell.reason, tracer.exit_code, tracer.signal) {
        (Outcome::Pass, ..) => ExitCode::SUCCESS,
        (Outcome::Timeout, ..) => ExitCode::from(OVERDUE),
        (Outcome::Fail, Some(Reason::UnexpectedExit), Some(code), _) => {
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        (Outcome::Fail, Some(Reason::UnexpectedExit), _, Some(signal)) => {
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
        }
        (Outcome::Infra | Outcome::Unavailable | Outcome::NotRun, ..) => ExitCode::from(NOT_RUN),
        _ => Exit::Failure.into(),
    }
}

/// Says on standard error how a program ended, unless it ended well, and what else the user should know.
fn explain(cell: &CellReport, heading: &str) {
    if cell.outcome != Outcome::Pass {
        // Its output has been shown.
        let message = cell.message.split("; stderr:\n").next().unwrap_or_default();
        say!("{heading}{}: {message}", cell.verdict());
    }
    for remark in &cell.remarks {
        say!("{heading}{remark}");
    }
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
    }
    Ok(())
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
