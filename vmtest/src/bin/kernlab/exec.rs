//! `kernlab exec`: runs a program of this machine in guests.

use std::{
    error::Error,
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use kernlab_cli::{Exit, Selected};
use kernlab_kernels::{Entry, Kernels, chain};
use kernlab_vmtest::{
    checkpoints::Checkpoints,
    image::root::RootStore,
    lab::{self, Job, JobOutput, LabError, Limits},
    machine::{self, Wanted},
    program::Program,
    qemu::InjectedFile,
    verdict::GuestSplats,
};

use crate::{failure::Failure, selection, show::Terminal};

/// Run a program of this machine in each kernel, and show its output, its exit code and the
/// kernel's complaints.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kernlab exec --kernel 6.1 -- /bin/uname -r")]
pub(crate) struct Arguments {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    /// Copy another executable into the guest: its path here, and its absolute path in the guest.
    #[arg(long = "file", value_name = "HERE=THERE", value_parser = injected)]
    files: Vec<InjectedFile>,
    /// Hide a file or a directory of the guest from the program, such as `/sys/kernel/btf`.
    #[arg(long, value_name = "PATH")]
    hide: Vec<String>,
    /// The guest's memory in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..=65536))]
    memory: Option<u32>,
    /// Kill the program after this many seconds; four times that without KVM.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    timeout: u32,
    /// Boot a guest instead of restoring a saved one.
    #[arg(long)]
    cold: bool,
    /// A tar archive or a directory with the guest's root file system, whose program is run.
    #[arg(long, value_name = "PATH", hide = true)]
    root: Option<PathBuf>,
    /// Load a module of the kernel's package.
    #[arg(long = "module", value_name = "NAME", hide = true)]
    modules: Vec<String>,
    /// Turn on a security module, beside those that the kernel turns on.
    #[arg(long, value_name = "NAME", hide = true)]
    lsm: Option<String>,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) fn injected(text: &str) -> Result<InjectedFile, String> {
    let (host, guest) = text.split_once('=').ok_or("expected HERE=THERE")?;
    if !guest.starts_with('/') || guest.len() > InjectedFile::LONGEST {
        let longest = InjectedFile::LONGEST;
        return Err(format!("expected an absolute path of at most {longest} bytes, not {guest:?}"));
    }
    let host = PathBuf::from(host);
    let readable = host.is_file();
    readable
        .then(|| InjectedFile { guest: guest.to_owned(), host })
        .ok_or("no such file".to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (kernels, entries) = selection::selected(&arguments.selected)?;
    let program = match &arguments.root {
        Some(_) => None,
        None => Some(
            Program::find(arguments.command[0].as_ref())
                .map_err(|error| Failure::usage(chain(&error)))?,
        ),
    };
    let show = Terminal::new();
    let mut exit = Exit::Success;
    for entry in &entries {
        let heading = match entries.len() {
            1 => String::new(),
            _ => format!("{}: ", entry.id),
        };
        let ended = run_in(&kernels, entry, program.as_ref(), arguments, &show)
            .map_err(|error| Failure::infrastructure(error.as_ref()).of(&heading))
            .and_then(|ended| Ok(ended.show(&heading)?));
        exit = exit.and(ended.unwrap_or_else(|failure| failure.report()));
    }
    Ok(exit)
}

/// What a guest returned.
struct Ended {
    release: String,
    output: JobOutput,
    kernel_log: String,
    console: String,
}

fn run_in(
    kernels: &Kernels,
    entry: &Entry,
    program: Option<&Program>,
    arguments: &Arguments,
    show: &Terminal,
) -> Result<Ended, Box<dyn Error>> {
    let kernel = kernels.prepare(entry, show)?;
    let store = kernels.store();
    let root = arguments.root.as_deref().map(|path| RootStore::of(store).image_of(path, show));
    let wanted = Wanted {
        memory_mib: arguments.memory,
        modules: arguments.modules.clone(),
        lsm: arguments.lsm.clone(),
        root: root.transpose()?,
        ..Wanted::default()
    };
    let guest = arguments.guest.dir(kernels)?;
    let mut bootable = machine::with(store, &kernel, &guest, &[], &wanted, show)?;
    bootable.machine.injected = program.map(Program::files).unwrap_or_default();
    bootable.machine.injected.extend(arguments.files.iter().cloned());
    let guest = Checkpoints::of(store).start(&bootable, arguments.cold, show);
    let mut guest = guest.map_err(Box::<LabError>::from)?;
    let room = 64 << 20;
    let job = match program {
        Some(program) => program.job(arguments.command[1..].iter().cloned()),
        None => Job::new(arguments.command.iter().cloned())
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    };
    let mut job = job.timeout(Duration::from_secs(arguments.timeout.into())).limits(Limits {
        stdout: room,
        stderr: room,
        result: 0,
    });
    for path in &arguments.hide {
        job = job.hide(path);
    }
    let release = guest.hello().release.clone();
    let output = guest.run(&job)?;
    let kernel_log = guest.kernel_log()?.to_owned();
    let console = guest.console().last_lines(usize::MAX);
    Ok(Ended { release, output, kernel_log, console })
}

impl Ended {
    /// Passes on the program's output, and reports on standard error how it ended.
    fn show(&self, heading: &str) -> io::Result<Exit> {
        let Ended { release, output, .. } = self;
        if !heading.is_empty() {
            eprintln!("--- {heading}{release}");
        }
        io::stdout().write_all(&output.stdout)?;
        io::stdout().flush()?;
        io::stderr().write_all(&output.stderr)?;
        if output.dropped > 0 {
            eprintln!(
                "note: {heading}{} bytes of output exceeded the limit and were dropped",
                output.dropped
            );
        }
        let guest_splats = GuestSplats::of(&self.kernel_log, &self.console);
        for splat in guest_splats.splats() {
            eprintln!("{heading}{}", guest_splats.verdict(splat).message);
        }
        let ended_well = output.exit == lab::Exit::Code(0);
        if !ended_well {
            let how = match output.exit {
                lab::Exit::Code(code) => format!("exit code {code}"),
                lab::Exit::Signal(signal) => format!("killed by signal {signal}"),
                lab::Exit::Deadline => "killed: it exceeded --timeout".to_owned(),
            };
            eprintln!("{heading}{how}");
        }
        Ok(if ended_well && guest_splats.splats().is_empty() {
            Exit::Success
        } else {
            Exit::Failure
        })
    }
}
