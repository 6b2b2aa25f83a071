//! Programs of an object, from the file into the kernel and to their places.

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    programs::{
        KProbe, Link as _, Program, TracePoint, UProbe,
        kprobe::KProbeLink,
        trace_point::TracePointLink,
        uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope},
    },
};
use kernlab_core::{
    backend::BackendError,
    elf::file_offset,
    outcome::Reason,
    plan::{AttachPoint, Target, UserFunction},
};

use crate::error::{failed, load_failed};

/// A program at its place. Dropping this detaches it.
pub(crate) enum Attached {
    Tracepoint(TracePointLink),
    Kprobe(KProbeLink),
    Uprobe(UProbeLink),
}

impl Attached {
    /// Once this returns, the program isn't run any more.
    pub(crate) fn detach(self) -> Result<(), BackendError> {
        let result = match self {
            Attached::Tracepoint(link) => link.detach(),
            Attached::Kprobe(link) => link.detach(),
            Attached::Uprobe(link) => link.detach(),
        };
        result.map_err(|error| failed("detaching a program", Reason::AttachRefused, error))
    }
}

/// Loads the program of `point` into the kernel.
pub(crate) fn load(ebpf: &mut Ebpf, point: &AttachPoint) -> Result<(), BackendError> {
    let result = match find(ebpf, point)? {
        Found::Tracepoint(program, ..) => program.load(),
        Found::Kprobe(program, ..) => program.load(),
        Found::Uprobe(program, ..) => program.load(),
    };
    result.map_err(|error| load_failed(&point.program, error))
}

/// Attaches the program of `point`, which is loaded.
pub(crate) fn attach(ebpf: &mut Ebpf, point: &AttachPoint) -> Result<Attached, BackendError> {
    let attached = match find(ebpf, point)? {
        Found::Tracepoint(program, category, name) => program
            .attach(category, name)
            .and_then(|link| program.take_link(link))
            .map(Attached::Tracepoint),
        Found::Kprobe(program, symbol) => {
            program.attach(symbol, 0).and_then(|link| program.take_link(link)).map(Attached::Kprobe)
        }
        Found::Uprobe(program, function) => {
            let location = UProbeAttachLocation::AbsoluteOffset(offset_of(function)?);
            // The programs themselves tell the traced process from others.
            program
                .attach(location, &function.binary, UProbeScope::AllProcesses)
                .and_then(|link| program.take_link(link))
                .map(Attached::Uprobe)
        }
    };
    attached.map_err(|error| {
        let stage = format!("attaching {} to {}", point.program, point.target);
        failed(stage, Reason::AttachRefused, error)
    })
}

/// A descriptor of a loaded program that outlives the object.
pub(crate) fn descriptor(ebpf: &Ebpf, program: &str) -> Result<OwnedFd, BackendError> {
    let stage = || format!("keeping a descriptor of {program}");
    let loaded = ebpf.program(program).map(Program::fd).transpose();
    let fd = loaded
        .map_err(|error| failed(stage(), Reason::LoadFailed, error))?
        .ok_or_else(|| failed(stage(), Reason::LoadFailed, "the object has no such program"))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| failed(stage(), Reason::LoadFailed, error))
}

fn offset_of(function: &UserFunction) -> Result<u64, BackendError> {
    let stage = || format!("looking for {function}");
    let executable = fs::read(&function.binary)
        .map_err(|error| failed(stage(), Reason::AttachRefused, error))?;
    file_offset(&executable, &function.symbol)
        .map_err(|error| failed(stage(), Reason::AttachRefused, error))
}

/// A program with the place that its kind can be attached to.
enum Found<'e, 'p> {
    Tracepoint(&'e mut TracePoint, &'p str, &'p str),
    Kprobe(&'e mut KProbe, &'p str),
    Uprobe(&'e mut UProbe, &'p UserFunction),
}

fn find<'e, 'p>(ebpf: &'e mut Ebpf, point: &'p AttachPoint) -> Result<Found<'e, 'p>, BackendError> {
    match (ebpf.program_mut(&point.program), &point.target) {
        (Some(Program::TracePoint(program)), Target::Tracepoint { category, name }) => {
            Ok(Found::Tracepoint(program, category, name))
        }
        // Whether it is for the entry or the return is in the program's section.
        (
            Some(Program::KProbe(program)),
            Target::Kprobe { symbol } | Target::Kretprobe { symbol },
        ) => Ok(Found::Kprobe(program, symbol)),
        (
            Some(Program::UProbe(program)),
            Target::Uprobe(function) | Target::Uretprobe(function),
        ) => Ok(Found::Uprobe(program, function)),
        (found, target) => {
            let what = match found {
                Some(program) => format!("it is of type {:?}", program.prog_type()),
                None => "the object has no such program".to_owned(),
            };
            let stage = format!("finding {} for {target}", point.program);
            Err(failed(stage, Reason::LoadFailed, what))
        }
    }
}
