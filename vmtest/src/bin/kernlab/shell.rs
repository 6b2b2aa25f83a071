//! `kernlab shell`: an interactive shell on the console of a guest.

use std::{
    error::Error,
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    os::fd::AsFd as _,
    path::PathBuf,
    process, thread,
    time::Duration,
};

use clap::Args;
use kernlab_cli::{Exit, Scope};
use kernlab_kernels::{Entry, Kernels, chain};
use kernlab_vmtest::{
    checkpoints::Checkpoints,
    lab::{Keyboard, LabError, TerminalSize},
    machine,
    program::{Program, ProgramError},
    qemu::InjectedFile,
    verdict::GuestSplats,
};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tempfile::NamedTempFile;

use crate::{exec::injected, failure::Failure, selection, show::Terminal};

/// Open a shell in a guest, on the kernel's console, with the lab's own programs.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kernlab shell --kernel debian-6.1")]
pub(crate) struct Arguments {
    /// The kernel: an id, the path of an image, or another selector that names exactly one.
    #[arg(long, value_name = "SEL")]
    kernel: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    /// The shell: a program of this machine. By default busybox if it is installed, otherwise
    /// /bin/sh.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// Copy another executable into the guest: its path here, and its absolute path in the guest.
    #[arg(long = "file", value_name = "HERE=THERE", value_parser = injected)]
    files: Vec<InjectedFile>,
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
/// Where the guest finds the script from standard input.
const SCRIPT: &str = "/run/script";
/// A shell's timeout: no session lasts longer. Without KVM, it is four times that.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let kernels = selection::open(&arguments.scope)?;
    let selector = std::slice::from_ref(&arguments.kernel);
    let mut entries = selection::entries(&kernels, &arguments.scope, selector)?;
    let entry = match entries.len() {
        1 => entries.remove(0),
        count => {
            let ids: Vec<_> = entries.into_iter().map(|entry| entry.id).collect();
            let (selector, ids) = (&arguments.kernel, ids.join(", "));
            let message = format!("{selector:?} selects {count} kernels: name one of {ids}");
            return Err(Failure::usage(message));
        }
    };
    let shell =
        Shell::find(arguments.program.clone()).map_err(|error| Failure::usage(chain(&error)))?;
    visit(&kernels, &entry, &shell, arguments)
        .map_err(|error| Failure::infrastructure(error.as_ref()))
}

/// The interactive program.
struct Shell {
    program: Program,
    arguments: Vec<String>,
}

impl Shell {
    fn find(given: Option<PathBuf>) -> Result<Self, ProgramError> {
        if let Some(path) = given {
            return Ok(Shell { program: Program::find(&path)?, arguments: Vec::new() });
        }
        if let Some(busybox) = Program::in_path("busybox") {
            let arguments = vec!["sh".to_owned()];
            return Ok(Shell { program: Program::find(&busybox)?, arguments });
        }
        eprintln!(
            "note: busybox is not installed: the guest's shell is /bin/sh, without ls and the like"
        );
        Ok(Shell { program: Program::find("/bin/sh".as_ref())?, arguments: Vec::new() })
    }
}

fn visit(
    kernels: &Kernels,
    entry: &Entry,
    shell: &Shell,
    arguments: &Arguments,
) -> Result<Exit, Box<dyn Error>> {
    let terminal = Terminal::new();
    let kernel = kernels.prepare(entry, &terminal)?;
    let store = kernels.store();
    let programs = ["kernlab-tracer", "kernlab-workload", "kernlab-workload-static"];
    let guest = arguments.guest.dir(kernels)?;
    let mut bootable = machine::of_kernel(store, &kernel, &guest, &programs, &terminal)?;
    bootable.machine.injected.extend(shell.program.files());
    bootable.machine.injected.extend(arguments.files.iter().cloned());
    let script = piped()?;
    let injected = |file: &NamedTempFile| InjectedFile {
        guest: SCRIPT.to_owned(),
        host: file.path().to_owned(),
    };
    bootable.machine.injected.extend(script.as_ref().map(injected));
    bootable.machine.debugger = arguments.gdb.clone();
    let guest = Checkpoints::of(store).start(&bootable, arguments.cold, &terminal);
    let mut guest = guest.map_err(Box::<LabError>::from)?;
    eprintln!("{}, {}; Ctrl-] ends the guest", entry.id, guest.hello().release);
    if let Some(device) = &arguments.gdb {
        let image = kernel.image.fastest().display();
        eprintln!("a debugger may connect to {device}: gdb {image}, then `target remote`");
    }
    let mut args = shell.arguments.clone();
    args.extend(script.is_some().then(|| SCRIPT.to_owned()));
    let mut job = shell.program.job(args).timeout(DAY);
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
    drop(raw);
    let _ = ended?;
    let kernel_log = guest.kernel_log()?.to_owned();
    let guest_splats = GuestSplats::of(&kernel_log, "");
    for splat in guest_splats.splats() {
        eprintln!("{}", guest_splats.verdict(splat).message);
    }
    Ok(if guest_splats.splats().is_empty() { Exit::Success } else { Exit::Failure })
}

/// Standard input as a file, unless it is a terminal. Through the guest's terminal, a long script
/// would lose bytes, and some bytes would act as control keys.
fn piped() -> io::Result<Option<NamedTempFile>> {
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
            eprintln!();
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
