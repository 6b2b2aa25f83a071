//! `kernlab shell`: an interactive shell on the console of a guest.

mod after;

use std::{
    error::Error,
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    thread,
    time::Duration,
};

use clap::Args;
use kernlab_cli::Scope;
use kernlab_kernels::{Entry, Kernels, chain};
use kernlab_proto::suite::ARCHIVES;
use kernlab_vmtest::{
    checkpoints::Checkpoints,
    lab::{self, Guest, Job, Keyboard, LabError, Ready, TerminalSize},
    machine,
    qemu::InjectedFile,
    run::RunObserver as _,
    suite::{
        manifest::FileSpec,
        payload::{Payload, PayloadError},
        platform::Platform,
    },
    verdict::GuestSplats,
};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tempfile::NamedTempFile;

use crate::{failure::Failure, guest_options::file_spec, selection, show::Terminal};

/// Open a shell in a guest, on the kernel's console, with the lab's own programs.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab shell --kernel debian-6.1
  kernlab shell --after debian-6.1/embedded/suite/opens")]
pub(crate) struct Arguments {
    /// The kernel: an id, the path of an image, or another selector that names exactly one.
    #[arg(long, value_name = "SEL", required_unless_present = "after")]
    kernel: Option<String>,
    /// Run this cell of a suite first, as `kernlab test` would, and open the shell in its guest. A glob
    /// names a cell of the newest run.
    #[arg(long, value_name = "CELL", conflicts_with = "kernel")]
    after: Option<String>,
    /// The description of the suites, instead of the nearest kernlab.toml at or above this directory.
    #[arg(long, value_name = "FILE", requires = "after")]
    config: Option<PathBuf>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    /// The shell: a program of this machine, instead of the guest's sh.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<String>,
    /// Copy a file or a directory into the guest, with the libraries that programs in it need: to the
    /// same absolute path, or from HERE to THERE.
    #[arg(long = "file", value_name = "PATH|HERE=THERE", value_parser = file_spec)]
    files: Vec<FileSpec>,
    /// Let a debugger connect to a character device of QEMU: `tcp:localhost:1234` if none is named,
    /// or `unix:PATH,server=on,wait=off`.
    #[arg(
        long,
        value_name = "DEVICE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "tcp:localhost:1234"
    )]
    gdb: Option<String>,
    /// Boot a guest instead of restoring a saved one.
    #[arg(long)]
    cold: bool,
}

/// The key that ends the guest, whatever it is doing: Ctrl-], as in telnet(1).
const LEAVE: u8 = 0x1d;
/// The shell of every guest.
const SHELL: &str = "/bin/sh";
/// Where the guest finds the script from standard input.
const SCRIPT: &str = "/run/script";
/// A shell's timeout: no session lasts longer. Without KVM, it is four times that.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens the shell. The exit code of a script becomes that of this command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let kernels = selection::open(&arguments.scope)?;
    let Some(selector) = &arguments.kernel else { return after::run(&kernels, arguments) };
    let entry = selection::only(&kernels, &arguments.scope, selector)?;
    let script = piped()?;
    let platform = Platform::of(&kernels, &entry, &Terminal::new())?;
    let shell = Payload::new(&platform)
        .and_then(|files| {
            Shell::prepare(arguments, script.as_ref().map(NamedTempFile::path), files)
        })
        .map_err(|error| Failure::usage(chain(&error)))?;
    visit(&kernels, &entry, &shell, arguments)
        .map_err(|error| Failure::infrastructure(error.as_ref()))
}

/// The shell's command line and files.
struct Shell {
    argv: Vec<String>,
    files: Payload,
}

impl Shell {
    /// Adds what the visitor brings to `files`, which are beside those that the guest has.
    fn prepare(
        arguments: &Arguments,
        script: Option<&Path>,
        mut files: Payload,
    ) -> Result<Self, PayloadError> {
        let here = std::path::absolute(".").unwrap_or_else(|_| PathBuf::from("/"));
        let shell = match &arguments.program {
            Some(program) => files.program(program, &here)?,
            None => SHELL.to_owned(),
        };
        for file in &arguments.files {
            files.tree(&here.join(&file.host), file.guest.as_deref())?;
        }
        let mut argv = vec![shell];
        if let Some(script) = script {
            files.placed(SCRIPT, script);
            argv.push(SCRIPT.to_owned());
        }
        Ok(Shell { argv, files })
    }
}

fn visit(
    kernels: &Kernels,
    entry: &Entry,
    shell: &Shell,
    arguments: &Arguments,
) -> Result<ExitCode, Box<dyn Error>> {
    let terminal = Terminal::new();
    let kernel = kernels.prepare(entry, &terminal)?;
    let store = kernels.store();
    let programs = ["kernlab-tracer", "kernlab-workload", "kernlab-workload-static"];
    let guest = arguments.guest.dir(kernels)?;
    let mut bootable = machine::of_kernel(store, &kernel, &guest, &programs, &terminal)?;
    bootable.machine.injected.push(InjectedFile {
        guest: format!("{ARCHIVES}1-shell.tar"),
        host: shell.files.archive(store)?,
    });
    bootable.machine.memory_mib += u32::try_from(shell.files.size() >> 20)? * 3 / 2;
    bootable.machine.debugger = arguments.gdb.clone();
    let guest = Checkpoints::of(store).start(&bootable, arguments.cold, &terminal);
    // A progress bar would be drawn over the console.
    terminal.end();
    let guest = guest.map_err(Box::<LabError>::from)?;
    say!("{}, {}; Ctrl-] ends the guest", entry.id, guest.hello().release);
    if let Some(device) = &arguments.gdb {
        let image = kernel.image.fastest().display();
        say!("a debugger may connect to {device}: gdb {image}, then `target remote`");
    }
    let job = Job::new(shell.argv.iter().cloned())
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root");
    at_terminal(guest, job)
}

/// Runs the shell on the guest's console.
fn at_terminal(mut guest: Guest<Ready>, job: Job) -> Result<ExitCode, Box<dyn Error>> {
    let mut job = job.timeout(DAY);
    for name in ["TERM", "LANG"] {
        if let Ok(value) = std::env::var(name) {
            job = job.env(name, value);
        }
    }
    let screen = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let keyboard = Keyboard::default();
    let raw = RawTerminal::begin()?;
    if let Some(modes) = raw.modes.clone() {
        let keyboard = keyboard.clone();
        thread::spawn(move || type_on(&keyboard, &modes));
    }
    let ended = guest.run_at_terminal(&job, size(), screen, &keyboard);
    let is_interactive = raw.modes.is_some();
    drop(raw);
    let exit = ended?.exit;
    let kernel_log = guest.kernel_log()?.to_owned();
    let guest_splats = GuestSplats::of(&kernel_log, "");
    for splat in guest_splats.splats() {
        say!("{}", guest_splats.verdict(splat).message);
    }
    Ok(match exit {
        lab::Exit::Code(0) if guest_splats.splats().is_empty() => ExitCode::SUCCESS,
        // The code of what was typed last is nobody's result.
        _ if is_interactive && guest_splats.splats().is_empty() => ExitCode::SUCCESS,
        lab::Exit::Code(code @ 1..=255) => ExitCode::from(u8::try_from(code)?),
        lab::Exit::Signal(signal) => ExitCode::from(u8::try_from(128 + signal)?),
        lab::Exit::Code(_) | lab::Exit::Deadline => ExitCode::FAILURE,
    })
}

/// Standard input as a file, unless it is a terminal. Through the guest's terminal, a long script
/// would lose bytes, and some bytes would act as control keys.
pub(crate) fn piped() -> io::Result<Option<NamedTempFile>> {
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut file = NamedTempFile::new()?;
    io::copy(&mut io::stdin(), &mut file)?;
    Ok(Some(file))
}

/// Forwards keys until the user ends the guest or the guest is gone.
fn type_on(keyboard: &Keyboard, modes: &Termios) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
        let keys = &buffer[..length];
        if keys.contains(&LEAVE) {
            restore(modes);
            say!("");
            // QEMU ends with this process.
            process::exit(0);
        }
        if keyboard.press(keys).is_err() {
            return;
        }
    }
}

/// The user's terminal in raw mode until this is dropped. If the input is no terminal, nothing
/// changes.
struct RawTerminal {
    modes: Option<Termios>,
}

impl RawTerminal {
    fn begin() -> io::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(RawTerminal { modes: None });
        }
        let modes = tcgetattr(io::stdin())?;
        let mut raw = modes.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(RawTerminal { modes: Some(modes) })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.modes.iter().for_each(restore);
    }
}

fn restore(modes: &Termios) {
    // An error can't be reported any more.
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, modes);
}

fn size() -> TerminalSize {
    let (rows, columns) = console::Term::stdout().size_checked().unwrap_or((24, 80));
    TerminalSize { rows, columns }
}
