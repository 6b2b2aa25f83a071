//! PID 1 of the guest: sets up the machine, says hello on the protocol's serial port, then executes
//! one request after the other until it is asked to power off.
//!
//! It never exits: a kernel without its PID 1 panics, and that would look like a verdict on the
//! kernel. If anything fails, the agent prints the error on the console and ends the machine.

mod archives;
mod begin;
mod firmware;
mod guest_file;
mod job;
mod job_pipes;
mod kernel_log;
mod modules;
mod mounts;
mod network;
mod outlet;
mod parameters;
mod pinned;
mod port;
mod power;
mod processes;
mod root;
mod setup;
mod symbols;
mod terminal;

use std::path::Path;

use kernlab_proto::{GuestMessage, HostMessage};

use crate::{
    guest_file::GuestFile,
    kernel_log::KernelLog,
    port::{Port, PortError},
    root::RootError,
    setup::Setup,
};

fn main() {
    if std::process::id() != 1 {
        // On a real machine the following code would restart it.
        println!("kernlab-agent {}: PID 1 of kernlab's guests", env!("CARGO_PKG_VERSION"));
        return;
    }
    // `-- floor` on the kernel's command line: the least that an init can do, for benchmarks. It is
    // the last argument, because the kernel passes every parameter that it doesn't know.
    if std::env::args().next_back().as_deref() == Some("floor") {
        power::off();
    }
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("kernlab-agent: {panic}");
        power::off();
    }));
    if let Err(error) = serve() {
        eprintln!("kernlab-agent: {error}");
    }
    power::off();
}

/// Serves requests until the host asks to power off.
fn serve() -> Result<(), AgentError> {
    let setup = Setup::prepare();
    let mut port = Port::open(&setup.parameters.port)?;
    let files = setup.parameters.files;
    if let Err(refused) = modules::load_all(Path::new("/modules")) {
        let error = refused.error.to_string();
        port.send(&GuestMessage::ModuleRefused { module: refused.module, error })?;
        return Ok(port.flush()?);
    }
    if let Some(device) = &setup.parameters.root {
        root::mount_disk(device)?;
    }
    port.send(&GuestMessage::Hello(setup.hello()))?;
    let mut primed = None;
    let mut kernel_log = KernelLog::default();
    loop {
        match port.receive()? {
            HostMessage::Begin(begin) => {
                let begun = begin::begin(&begin, files);
                port.send(&begun.unwrap_or_else(|error| answer(Err(error))))?;
            }
            HostMessage::WriteFile { path, mode, append, bytes } => {
                let written = write_file(Path::new(&path), mode, append, &bytes);
                port.send(&answer(written.map_err(|error| format!("write {path}: {error}"))))?;
            }
            HostMessage::Run(run) if primed.is_none() => match archives::unpack_waiting() {
                Ok(()) => primed = job::run(&run, &mut port)?,
                Err(error) => port.send(&answer(Err(format!("unpack files: {error}"))))?,
            },
            HostMessage::Run(_) => port.send(&answer(Err("run a program: one is primed")))?,
            HostMessage::Proceed(proceed) => match primed.take() {
                Some(job) => match archives::unpack_waiting() {
                    Ok(()) => job::proceed(job, &proceed, &mut port)?,
                    Err(error) => port.send(&answer(Err(format!("unpack files: {error}"))))?,
                },
                None => port.send(&answer(Err("proceed: no program is primed")))?,
            },
            HostMessage::ReadKernelLog { mark } => kernel_log.send(mark, &mut port)?,
            HostMessage::Prewarm => port.send(&answer(symbols::sort_table()))?,
            HostMessage::Taken | HostMessage::NotTaken => {
                port.send(&answer(Err("read output: none waits")))?;
            }
            HostMessage::PowerOff => return Ok(()),
        }
    }
}

fn answer(result: Result<(), impl ToString>) -> GuestMessage {
    match result {
        Ok(()) => GuestMessage::Done,
        Err(error) => GuestMessage::Refused { what: error.to_string() },
    }
}

fn write_file(path: &Path, mode: u32, append: bool, bytes: &[u8]) -> std::io::Result<()> {
    GuestFile::open(path, mode, append)?.write_all(bytes)
}

/// Why the agent stopped serving before the host asked it to.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("could not {0}")]
    Root(#[from] RootError),
    #[error("the protocol's port failed: {0}")]
    Port(#[from] PortError),
    #[error("could not write to the kernel's log: {0}")]
    LogMark(#[source] std::io::Error),
    #[error("could not read the kernel's log: {0}")]
    KernelLog(#[source] std::io::Error),
    #[error("could not supervise a program: {0}")]
    Supervision(#[source] nix::Error),
}
