//! From a plan to a session.

use std::collections::BTreeSet;

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, Map, MapError, PerCpuArray},
};
use kernlab_abi::ProgramConfig;
use kernlab_core::{
    backend::{Backend, BackendError, Programs, RESULTS, Session},
    cell::BackendKind,
    outcome::Reason,
    plan::ProbePlan,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    attach::{attach, descriptor, load},
    buffer::EventBuffer,
    error::{failed, object_failed},
    objects::object,
    session::AyaSession,
    state::State,
    totals::Totals,
};

/// Runs the Rust programs.
///
/// Of a plan, `read` and `types` are not looked at: Aya's loader replaces the split read helpers
/// by itself where the kernel lacks them, and the programs know no type source but the layout.
#[derive(Clone, Debug, Default)]
pub struct AyaBackend {
    replacement: Option<Vec<u8>>,
}

impl AyaBackend {
    /// Runs the built-in object of each plan's tracer.
    pub fn new() -> Self {
        AyaBackend::default()
    }

    /// Runs `object`, whatever the plan's tracer and buffer kind: for objects that are broken on
    /// purpose.
    pub fn with_object(object: Vec<u8>) -> Self {
        AyaBackend { replacement: Some(object) }
    }
}

impl Backend for AyaBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Aya
    }

    fn load(&self, plan: &ProbePlan) -> Result<Box<dyn Programs>, BackendError> {
        let object = match &self.replacement {
            Some(object) => object,
            None => object(plan.tracer, plan.buffer),
        };
        let mut ebpf = loader_without_btf()?.load(object).map_err(object_failed)?;
        // The maps stay open until all programs that refer to them are loaded.
        let events = take_map(&mut ebpf, "events")?;
        let events = EventBuffer::open(events, plan.buffer, plan.tracer.event_size())?;
        let emitted = take_map(&mut ebpf, "emitted")?;
        let emitted = PerCpuArray::try_from(emitted).map_err(wrong_map("emitted"))?;
        let totals = ebpf.take_map(RESULTS).map(Totals::open);
        let totals = totals.transpose().map_err(wrong_map(RESULTS))?;
        let state = State::take(&mut ebpf)
            .map_err(|error| failed("opening the maps of state", Reason::LoadFailed, error))?;
        // A program may have several places.
        let mut loaded = BTreeSet::new();
        for point in plan.attach.iter().filter(|point| loaded.insert(&point.program)) {
            load(&mut ebpf, point)?;
        }
        let programs = loaded
            .into_iter()
            .map(|program| descriptor(&ebpf, program))
            .collect::<Result<_, _>>()?;
        let session = AyaSession { attached: Vec::new(), programs, events, emitted, state, totals };
        Ok(Box::new(AyaPrograms { ebpf, session }))
    }
}

/// Loaded programs, with the session that they will have.
struct AyaPrograms {
    ebpf: Ebpf,
    session: AyaSession,
}

impl Programs for AyaPrograms {
    fn attach(self: Box<Self>, plan: &ProbePlan) -> Result<Box<dyn Session>, BackendError> {
        let AyaPrograms { mut ebpf, mut session } = *self;
        configure(&mut ebpf, &plan.config)?;
        session.attached =
            plan.attach.iter().map(|point| attach(&mut ebpf, point)).collect::<Result<_, _>>()?;
        Ok(Box::new(session))
    }
}

/// A loader that knows no BTF: our programs have no relocations that need it. `EbpfLoader::new` parses
/// that of the kernel all the same, whatever `btf` is told afterwards: a tenth of a second in an emulated
/// guest. It does without where no file can be opened, so for a moment none can. No other thread of
/// this process opens any.
fn loader_without_btf() -> Result<EbpfLoader<'static>, BackendError> {
    let limit = |error| failed("limiting open files", Reason::LoadFailed, error);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(limit)?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).map_err(limit)?;
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(limit)?;
    Ok(loader)
}

/// A [`ProgramConfig`] that Aya may copy into a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct ConfigValue(ProgramConfig);

// SAFETY: integers without padding, whose size kernlab-abi tests.
unsafe impl Pod for ConfigValue {}

/// Writes the plan's decisions to where the programs read them.
fn configure(ebpf: &mut Ebpf, config: &ProgramConfig) -> Result<(), BackendError> {
    let map = ebpf.map_mut("config").ok_or_else(|| no_map("config"))?;
    Array::<_, ConfigValue>::try_from(map)
        .and_then(|mut map| map.set(0, ConfigValue(*config), 0))
        .map_err(|error| failed("writing the configuration", Reason::LoadFailed, error))
}

fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, BackendError> {
    ebpf.take_map(name).ok_or_else(|| no_map(name))
}

fn no_map(name: &str) -> BackendError {
    failed(format!("finding the map {name}"), Reason::LoadFailed, "the object has no such map")
}

fn wrong_map(name: &str) -> impl Fn(MapError) -> BackendError {
    move |error| failed(format!("opening the map {name}"), Reason::LoadFailed, error)
}
