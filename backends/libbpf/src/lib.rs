//! The tracers as C programs, loaded with libbpf.

pub mod any_object;
mod log;
mod object;
mod session;
pub mod source;

use std::{
    borrow::Cow,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use kernlab_core::{
    backend::{Backend, BackendError, Programs, Session},
    cell::BackendKind,
    elf::file_offset,
    outcome::Reason,
    plan::{ProbePlan, Target, UserFunction},
};
use libbpf_rs::{
    Link, MapCore as _, MapFlags, Object, ObjectBuilder, ProgramMut, TracepointCategory,
};

pub use object::embedded_objects;

use crate::{log::failure, session::LibbpfSession};

/// The backend. Loads the objects that were compiled with this crate, or one that it is given.
#[derive(Debug, Default)]
pub struct LibbpfBackend {
    object: Option<Vec<u8>>,
}

impl LibbpfBackend {
    /// Loads this object instead of the embedded one: it must have the same programs and maps.
    pub fn with_object(object: Vec<u8>) -> Self {
        LibbpfBackend { object: Some(object) }
    }

    fn object(&self, plan: &ProbePlan) -> Cow<'_, [u8]> {
        match &self.object {
            Some(object) => Cow::Borrowed(object),
            None => Cow::Borrowed(object::embedded(plan.tracer, plan.buffer, plan.types)),
        }
    }
}

impl Backend for LibbpfBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Libbpf
    }

    fn load(&self, plan: &ProbePlan) -> Result<Box<dyn Programs>, BackendError> {
        log::capture();
        let stage = |what: &str| format!("{what} the {} object", plan.tracer);
        let object = builder(plan)
            .and_then(|mut builder| builder.open_memory(&self.object(plan)))
            .map_err(|source| failure(stage("opening"), Reason::LoadFailed, source))?
            .load()
            .map_err(|source| failure(stage("loading"), Reason::LoadFailed, source))?;
        try_features(&object);
        // The buffer is there before the first program can write to it.
        Ok(Box::new(LibbpfSession::new(object, plan)?))
    }
}

impl Programs for LibbpfSession {
    fn attach(self: Box<Self>, plan: &ProbePlan) -> Result<Box<dyn Session>, BackendError> {
        log::capture();
        let config = object::map(self.object(), "config")?;
        config
            .update(&0u32.to_ne_bytes(), object::bytes_of_config(&plan.config), MapFlags::ANY)
            .map_err(|source| {
                let stage = format!("configuring the {} object", plan.tracer);
                failure(stage, Reason::LoadFailed, source)
            })?;
        let links = plan
            .attach
            .iter()
            .map(|point| {
                let stage = || format!("attaching {} to {}", point.program, point.target);
                let program = self
                    .object()
                    .progs_mut()
                    .find(|program| program.name() == point.program.as_str())
                    .ok_or_else(|| BackendError {
                        stage: format!("finding the program {}", point.program),
                        reason: Reason::LoadFailed,
                        verifier_log: None,
                        source: None,
                    })?;
                attach(&program, &point.target)
                    .map_err(|source| failure(stage(), Reason::AttachRefused, source))
            })
            .collect::<Result<Vec<Link>, BackendError>>()?;
        Ok(Box::new(self.attached(links)))
    }
}

/// Lets libbpf find out now what it would find out when a program is attached or a map is read: it tries
/// each feature once, and remembers. Programs may be loaded in a guest that is then saved.
fn try_features(object: &Object) {
    let _ = libbpf_rs::num_possible_cpus();
    if let Some(program) = object.progs_mut().next() {
        // No program is a perf event, so this is refused, and not before libbpf has looked how those
        // are attached to.
        let _ = program.attach_perf_event(program.as_fd().as_raw_fd());
    }
}

fn builder(plan: &ProbePlan) -> libbpf_rs::Result<ObjectBuilder> {
    let mut builder = ObjectBuilder::default();
    builder.name(plan.tracer.name())?;
    if let Some(file) = &plan.btf_file {
        builder.btf_custom_path(file)?;
    }
    Ok(builder)
}

fn attach(program: &ProgramMut<'_>, target: &Target) -> libbpf_rs::Result<Link> {
    match target {
        Target::Tracepoint { category, name } => {
            program.attach_tracepoint(TracepointCategory::Custom(category.clone()), name)
        }
        Target::Kprobe { symbol } => program.attach_kprobe(false, symbol),
        Target::Kretprobe { symbol } => program.attach_kprobe(true, symbol),
        Target::Uprobe(function) => attach_uprobe(program, function, false),
        Target::Uretprobe(function) => attach_uprobe(program, function, true),
    }
}

fn attach_uprobe(
    program: &ProgramMut<'_>,
    function: &UserFunction,
    on_return: bool,
) -> libbpf_rs::Result<Link> {
    /// The programs themselves tell the traced process from others.
    const ALL_PROCESSES: i32 = -1;
    let executable = fs::read(&function.binary)?;
    let offset = file_offset(&executable, &function.symbol)
        .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
    program.attach_uprobe(on_return, ALL_PROCESSES, &function.binary, offset as usize)
}

#[cfg(test)]
mod tests {
    use kernlab_abi::ProgramConfig;
    use kernlab_core::{
        plan::{BufferKind, ReadHelper, TypeSource},
        tracer::Tracer,
    };

    use super::*;

    #[test]
    fn a_plan_decides_which_object_is_loaded() {
        let known: Vec<_> = embedded_objects().collect();
        for tracer in Tracer::all() {
            for (buffer, types, variant) in [
                (BufferKind::Ring, TypeSource::Core, "ring.core"),
                (BufferKind::Ring, TypeSource::Layout, "ring.layout"),
                (BufferKind::Perf, TypeSource::Core, "perf.core"),
                (BufferKind::Perf, TypeSource::Layout, "perf.layout"),
            ] {
                let plan = ProbePlan {
                    tracer,
                    attach: Vec::new(),
                    buffer,
                    read: ReadHelper::Split,
                    types,
                    btf_file: None,
                    config: ProgramConfig::default(),
                };
                let name = format!("{tracer}.{variant}");
                let loaded = LibbpfBackend::default().object(&plan).into_owned();
                assert!(
                    known.iter().any(|(known, object)| *known == name && *object == loaded),
                    "{name}"
                );
            }
        }
    }
}
