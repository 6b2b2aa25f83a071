//! Programs of an object, from the file into the kernel and to their places.

use aya::{
    Ebpf,
    programs::{
        KProbe, Link as _, Program, TracePoint, kprobe::KProbeLink, trace_point::TracePointLink,
    },
};
use kernlab_core::{
    backend::BackendError,
    outcome::Reason,
    plan::{AttachPoint, Target},
};

use crate::error::{failed, load_failed};

/// A program at its place. Dropping this detaches it.
pub(crate) enum Attached {
    Tracepoint(TracePointLink),
    Kprobe(KProbeLink),
}

impl Attached {
    /// Once this returns, the program isn't run any more.
    pub(crate) fn detach(self) -> Result<(), BackendError> {
        let result = match self {
            Attached::Tracepoint(link) => link.detach(),
            Attached::Kprobe(link) => link.detach(),
        };
        result.map_err(|error| failed("detaching a program", Reason::AttachRefused, error))
    }
}

/// Loads the program of `point` into the kernel.
pub(crate) fn load(ebpf: &mut Ebpf, point: &AttachPoint) -> Result<(), BackendError> {
    let result = match find(ebpf, point)? {
        Found::Tracepoint(program, ..) => program.load(),
        Found::Kprobe(program, ..) => program.load(),
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
    };
    attached.map_err(|error| {
        let stage = format!("attaching {} to {}", point.program, point.target);
        failed(stage, Reason::AttachRefused, error)
    })
}

/// A program with the place that its kind can be attached to.
enum Found<'e, 'p> {
    Tracepoint(&'e mut TracePoint, &'p str, &'p str),
    Kprobe(&'e mut KProbe, &'p str),
}

fn find<'e, 'p>(ebpf: &'e mut Ebpf, point: &'p AttachPoint) -> Result<Found<'e, 'p>, BackendError> {
    match (ebpf.program_mut(&point.program), &point.target) {
        (Some(Program::TracePoint(program)), Target::Tracepoint { category, name }) => {
            Ok(Found::Tracepoint(program, category, name))
        }
        (Some(Program::KProbe(program)), Target::Kprobe { symbol }) => {
            Ok(Found::Kprobe(program, symbol))
        }
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
