//! Runs one scenario under one backend, inside of a guest, and hands the record to the host.

mod arch;
mod bpf;
mod cost;
mod discovery;
mod events;
mod examine;
mod facts;
mod needs;
mod object;
mod offers;
mod primed;
mod run;
mod symbols;
mod trial;
mod workload;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::FromRawFd as _,
    path::PathBuf,
    process,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use kernlab_aya::AyaBackend;
use kernlab_core::{backend::Backend, cell::BackendKind, scenario::Scenario};
use kernlab_libbpf::LibbpfBackend;

use crate::{
    primed::{Implementation, PrimedTracer},
    run::Fresh,
};

/// The descriptor on which the agent expects a program's result: `kernlab_agent`'s result pipe.
const RESULT_FD: i32 = 3;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trace one scenario, and write the record to descriptor 3 as JSON.
    Run {
        /// Which implementation of the tracer.
        #[arg(long)]
        backend: BackendKind,
        /// What to trace: TRACER/SCENARIO.
        #[arg(long, value_parser = scenario)]
        scenario: &'static Scenario,
        /// Load this BPF object instead of the one compiled in.
        #[arg(long)]
        object: Option<PathBuf>,
        /// Take type information from this file: raw BTF.
        #[arg(long)]
        btf: Option<PathBuf>,
        /// The workload program.
        #[arg(long, default_value = "/bin/kernlab-workload")]
        workload: PathBuf,
    },
    /// Gather what is known of the kernel, search its memory where it has no type information, start the
    /// workload, load programs and stop (SIGSTOP): a guest that is saved now need not do it again. Then
    /// run what standard input says: a backend, a blank, TRACER/SCENARIO.
    Prime {
        /// Take type information from this file: raw BTF.
        #[arg(long)]
        btf: Option<PathBuf>,
        /// The workload program.
        #[arg(long, default_value = "/bin/kernlab-workload")]
        workload: PathBuf,
        /// Load the programs of these tracers.
        #[arg(long, value_name = "BACKEND/TRACER")]
        load: Vec<Implementation>,
    },
    /// Measure what tracing costs a program that only writes, and write it to descriptor 3 as JSON.
    Cost {
        /// Which implementation of the tracer; none to measure without.
        #[arg(long)]
        backend: Option<BackendKind>,
        /// Which buffer: `sys_write/burst_ring` or `sys_write/burst_perf`.
        #[arg(long, value_parser = scenario)]
        scenario: &'static Scenario,
        /// Trace with this bpftrace instead, whatever the scenario.
        #[arg(long, conflicts_with = "backend")]
        bpftrace: Option<PathBuf>,
        /// Calls of write(2).
        #[arg(long)]
        calls: u64,
    },
    /// The program that only writes: waits for a line, and says how many nanoseconds it took.
    Write {
        /// Calls of write(2).
        #[arg(long)]
        calls: u64,
    },
    /// Load anybody's BPF object, program by program, and write what became of each to descriptor 3 as
    /// JSON.
    Object {
        /// With which loader.
        #[arg(long, default_value = "libbpf")]
        backend: BackendKind,
        /// Attach each program to where its section says.
        #[arg(long)]
        attach: bool,
        /// Take type information from this file: raw BTF.
        #[arg(long)]
        btf: Option<PathBuf>,
        /// Print the JSON instead.
        #[arg(long)]
        print: bool,
        /// The object.
        file: PathBuf,
    },
    /// Find out everything that a plan may depend on, and write it to descriptor 3 as JSON.
    Examine,
    /// Print as JSON what the compiled objects need of a kernel. Also works outside of a guest.
    Needs,
    /// Write the kernel's BTF to descriptor 3.
    Btf,
    /// Write the names of the kernel's functions to descriptor 3, one a line.
    Functions,
    /// Find out what the kernel offers to any BPF program, and write it to descriptor 3 as JSON.
    Offers,
}

fn scenario(id: &str) -> Result<&'static Scenario, String> {
    Scenario::by_id(id).ok_or_else(|| format!("no scenario {id}"))
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run { backend, scenario, object, btf, workload } => {
            let object = object
                .map(|path| fs::read(&path).with_context(|| format!("reading {}", path.display())))
                .transpose()?;
            let backend = make(backend, object);
            let result = result_pipe()?;
            let mut fresh = Fresh { btf, workload };
            let record = run::record(backend.as_ref(), scenario, &mut fresh)?;
            write(serde_json::to_vec(&record), result)
        }
        Command::Prime { btf, workload, load } => {
            let result = result_pipe()?;
            let mut primed = PrimedTracer::prepare(btf.as_deref(), &workload, &load)?;
            let (backend, scenario) = PrimedTracer::await_work()?;
            let record = run::record(make(backend, None).as_ref(), scenario, &mut primed)?;
            write(serde_json::to_vec(&record), result)?;
            primed.end_workload();
            // The kernel closes what was loaded for other scenarios quicker than its owners would.
            process::exit(0)
        }
        Command::Cost { backend, scenario, bpftrace, calls } => {
            let result = result_pipe()?;
            let cost = if let Some(bpftrace) = bpftrace {
                cost::measure_bpftrace(&bpftrace, calls)?
            } else {
                let backend = backend.map(|backend| make(backend, None));
                cost::measure(backend.as_deref(), scenario, &facts::live(None)?, calls)?
            };
            write(serde_json::to_vec(&cost), result)
        }
        Command::Write { calls } => cost::write(calls),
        Command::Object { backend, attach, btf, print, file } => {
            let result = if print { None } else { Some(result_pipe()?) };
            let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let question = object::Question { bytes: &bytes, btf: btf.as_deref(), attach };
            let record = object::record(backend, &question)?;
            if let Some(result) = result {
                return write(serde_json::to_vec(&record), result);
            }
            println!("{}", serde_json::to_string(&record).context("encoding the record")?);
            Ok(())
        }
        Command::Examine => {
            let result = result_pipe()?;
            let examination = examine::examine()?;
            write(serde_json::to_vec(&examination), result)
        }
        Command::Needs => {
            let needs = needs::of_all_objects()?;
            serde_json::to_writer(io::stdout().lock(), &needs).context("printing")
        }
        Command::Btf => btf(),
        Command::Functions => {
            let mut result = result_pipe()?;
            let functions = examine::functions()?;
            result.write_all(functions.as_bytes()).context("writing the functions")
        }
        Command::Offers => {
            let result = result_pipe()?;
            write(serde_json::to_vec(&offers::offers()?), result)
        }
    }
}

/// Hands a result over in one piece: each write(2) wakes the agent, which would send each as a message.
fn write(json: serde_json::Result<Vec<u8>>, mut result: File) -> Result<()> {
    result.write_all(&json.context("encoding the result")?).context("writing the result")
}

fn make(backend: BackendKind, object: Option<Vec<u8>>) -> Box<dyn Backend> {
    match (backend, object) {
        (BackendKind::Libbpf, None) => Box::<LibbpfBackend>::default(),
        (BackendKind::Libbpf, Some(object)) => Box::new(LibbpfBackend::with_object(object)),
        (BackendKind::Aya, None) => Box::<AyaBackend>::default(),
        (BackendKind::Aya, Some(object)) => Box::new(AyaBackend::with_object(object)),
    }
}

fn btf() -> Result<()> {
    let mut result = result_pipe()?;
    let bytes = facts::btf_bytes()?.context("there is no BTF")?;
    result.write_all(&bytes).context("writing the BTF")
}

/// The pipe that the agent opened for us; kept from the workload.
fn result_pipe() -> Result<File> {
    // SAFETY: fcntl on a descriptor that may be closed is an error, not UB.
    let flags = unsafe { libc::fcntl(RESULT_FD, libc::F_SETFD, libc::FD_CLOEXEC) };
    ensure!(flags == 0, "descriptor {RESULT_FD} is not open: it has no reader for the record");
    // SAFETY: the descriptor is open, and nothing else in this process uses it.
    Ok(unsafe { File::from_raw_fd(RESULT_FD) })
}
