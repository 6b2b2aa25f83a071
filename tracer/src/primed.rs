//! What all scenarios of a kernel begin with, done once, in a guest that is then saved.

use std::{io, path::Path, str::FromStr};

use anyhow::{Context as _, Result, ensure};
use kernlab_core::{
    backend::{self, Backend},
    cell::{BackendKind, UnknownName},
    discovery::Discovered,
    facts::{KernelFacts, ProbeResult},
    plan::{ProbePlan, Unsupported, plan_with_search},
    scenario::Scenario,
    tracer::Tracer,
};
use nix::sys::signal::{Signal, raise};

use crate::{
    bpf::Loaded,
    discovery, facts, make,
    run::{Failure, Programs, Resources},
    workload::IdleWorkload,
};

/// A tracer that does not know its scenario yet.
pub(crate) struct PrimedTracer {
    /// What it knows of the kernel, until a record is made of it.
    facts: Option<KernelFacts>,
    /// What a search of memory found; none where plans have type information, or it missed something.
    found: Option<Discovered>,
    workload: Option<IdleWorkload>,
    planned: Vec<Planned>,
    ahead: Vec<Ahead>,
    /// Every program in the kernel.
    loaded: Loaded,
}

/// What was decided before a scenario was asked for.
struct Planned {
    scenario: &'static Scenario,
    plan: Result<ProbePlan, Unsupported>,
    discovered: Option<Discovered>,
}

/// Programs that were loaded before a scenario asked for them.
struct Ahead {
    backend: BackendKind,
    plan: ProbePlan,
    programs: Box<dyn backend::Programs>,
    own: Loaded,
}

/// A tracer of one backend, written as `backend/tracer`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Implementation {
    backend: BackendKind,
    tracer: Tracer,
}

impl FromStr for Implementation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (backend, name) = text.split_once('/').ok_or("expected BACKEND/TRACER")?;
        let backend = backend.parse().map_err(|error: UnknownName| error.to_string())?;
        let tracer = Tracer::by_name(name).ok_or_else(|| format!("no tracer {name}"))?;
        Ok(Implementation { backend, tracer })
    }
}

impl PrimedTracer {
    /// Gathers the kernel's facts, and leaves no program of that in the kernel. Then starts the workload,
    /// and loads the programs of these tracers.
    pub(crate) fn prepare(
        btf: Option<&Path>,
        workload: &Path,
        tracers: &[Implementation],
    ) -> Result<Self> {
        let before = Loaded::now().context("listing programs")?;
        let facts = facts::live(btf)?;
        let is_searched = btf.is_some() || facts.btf.is_none();
        let found = is_searched
            .then(|| discovery::search(&facts, &all_functions_asked()))
            // A search that missed something may have been unlucky: each cell makes its own.
            .filter(|found| found.failures.is_empty());
        for trial in [facts.ring_buffer, facts.probe_read_kernel] {
            ensure!(
                !matches!(trial, ProbeResult::CouldNotTell(_)),
                "a trial has no answer: {trial:?}"
            );
        }
        let remaining = before.remaining().context("listing programs")?;
        ensure!(remaining == 0, "{remaining} programs that were tried are still loaded");
        let mut workload = IdleWorkload::start(workload)?;
        workload.await_readiness()?;
        let mut primed = PrimedTracer {
            facts: Some(facts.clone()),
            found,
            workload: Some(workload),
            planned: Vec::new(),
            ahead: Vec::new(),
            loaded: before,
        };
        for &tracer in tracers {
            primed.prepare_for(tracer, &facts)?;
        }
        primed.loaded = Loaded::now().context("listing programs")?;
        Ok(primed)
    }

    /// Plans the scenarios of a tracer, and loads what they need. What the kernel refuses is left to the
    /// cells that want it: they are refused as well, and say why.
    fn prepare_for(&mut self, of: Implementation, facts: &KernelFacts) -> Result<()> {
        let backend = make(of.backend, None);
        for scenario in of.tracer.scenarios() {
            let mut facts = facts.clone();
            let plan = self.plan(scenario, &mut facts);
            if self.planned.iter().all(|planned| planned.scenario != scenario) {
                let (plan, discovered) = (plan.clone(), facts.discovered);
                self.planned.push(Planned { scenario, plan, discovered });
            }
            let Ok(plan) = plan else { continue };
            if self.ahead.iter().any(|ahead| ahead.suits(of.backend, &plan)) {
                continue;
            }
            let before = Loaded::now().context("listing programs")?;
            let Ok(programs) = backend.load(&plan) else { continue };
            let own = Loaded::now().context("listing programs")?.without(&before);
            self.ahead.push(Ahead { backend: of.backend, plan, programs, own });
        }
        Ok(())
    }

    /// Lets the workload end and waits for that, if no scenario took it: an unsupported one doesn't.
    pub(crate) fn end_workload(&mut self) {
        drop(self.workload.take());
    }

    /// Stops until the process is continued, and then reads from standard input what it is to do: a
    /// backend, a blank, `TRACER/SCENARIO`.
    pub(crate) fn await_work() -> Result<(BackendKind, &'static Scenario)> {
        raise(Signal::SIGSTOP).context("stopping")?;
        let work = io::read_to_string(io::stdin()).context("reading what to trace")?;
        work.split_once(' ')
            .and_then(|(backend, id)| Some((backend.parse().ok()?, Scenario::by_id(id)?)))
            .with_context(|| format!("{work:?} is not a backend and a scenario"))
    }
}

impl Ahead {
    fn suits(&self, backend: BackendKind, plan: &ProbePlan) -> bool {
        self.backend == backend && self.plan.loads_like(plan)
    }
}

impl Resources for PrimedTracer {
    fn facts(&mut self) -> Result<KernelFacts> {
        self.facts.take().context("the facts were taken before")
    }

    fn search(&self, facts: &KernelFacts, functions: &[&str]) -> Discovered {
        match &self.found {
            Some(found) => {
                let mut found = found.clone();
                found.prototypes.retain(|function, _| functions.contains(&function.as_str()));
                found
            }
            None => discovery::search(facts, functions),
        }
    }

    fn plan(&self, scenario: &Scenario, facts: &mut KernelFacts) -> Result<ProbePlan, Unsupported> {
        match self.planned.iter().find(|planned| planned.scenario == scenario) {
            Some(planned) => {
                facts.discovered = planned.discovered.clone();
                planned.plan.clone()
            }
            None => {
                plan_with_search(scenario, facts, |facts, functions| self.search(facts, functions))
            }
        }
    }

    fn workload(&mut self) -> Result<IdleWorkload> {
        self.workload.take().context("the workload was taken before")
    }

    fn programs(&mut self, backend: &dyn Backend, plan: &ProbePlan) -> Result<Programs, Failure> {
        let suits = |ahead: &Ahead| ahead.suits(backend.kind(), plan);
        match self.ahead.iter().position(suits) {
            Some(index) => {
                let Ahead { programs, own, .. } = self.ahead.swap_remove(index);
                Ok(Programs { loaded: programs, others: self.loaded.without(&own) })
            }
            None => Programs::load(backend, plan),
        }
    }
}

/// The functions whose parameters any plan may ask about.
fn all_functions_asked() -> Vec<&'static str> {
    let mut asked: Vec<_> = Tracer::all().flat_map(Tracer::functions_asked).collect();
    asked.sort_unstable();
    asked.dedup();
    asked
}

#[cfg(test)]
mod tests {
    use kernlab_abi::ProgramConfig;
    use kernlab_core::{
        backend::BackendError,
        outcome::Reason,
        plan::{BufferKind, ReadHelper, TypeSource},
    };
    use rstest::rstest;

    use super::*;

    /// Loads nothing. What was loaded ahead by a backend is told by its name.
    struct Nothing(BackendKind);

    impl Backend for Nothing {
        fn kind(&self) -> BackendKind {
            self.0
        }

        fn load(&self, _: &ProbePlan) -> Result<Box<dyn backend::Programs>, BackendError> {
            panic!("it was loaded ahead")
        }
    }

    impl backend::Programs for Nothing {
        fn attach(
            self: Box<Self>,
            _: &ProbePlan,
        ) -> Result<Box<dyn backend::Session>, BackendError> {
            let (stage, reason) = (self.0.to_string(), Reason::AttachRefused);
            Err(BackendError { stage, reason, verifier_log: None, source: None })
        }
    }

    #[test]
    fn what_is_loaded_ahead_is_of_the_backend_that_asks() {
        let plan = ProbePlan {
            tracer: Tracer::by_name("sys_write").unwrap(),
            attach: Vec::new(),
            buffer: BufferKind::Ring,
            read: ReadHelper::Split,
            types: TypeSource::Layout,
            btf_file: None,
            config: ProgramConfig::default(),
        };
        let ahead = |backend| {
            let (programs, own) = (Box::new(Nothing(backend)), Loaded::default());
            Ahead { backend, plan: plan.clone(), programs, own }
        };
        let mut primed = PrimedTracer {
            facts: None,
            found: None,
            workload: None,
            planned: Vec::new(),
            ahead: [BackendKind::Aya, BackendKind::Libbpf].map(ahead).into(),
            loaded: Loaded::default(),
        };
        for backend in [BackendKind::Libbpf, BackendKind::Aya] {
            let programs = primed.programs(&Nothing(backend), &plan).ok().unwrap();
            let told = programs.loaded.attach(&plan).err().unwrap();
            assert_eq!(told.stage, backend.to_string());
        }
    }

    #[rstest]
    #[case("aya/sys_write", Ok((BackendKind::Aya, "sys_write")))]
    #[case("libbpf/user_args", Ok((BackendKind::Libbpf, "user_args")))]
    #[case("aya", Err("expected BACKEND/TRACER"))]
    #[case("aya/nothing", Err("no tracer nothing"))]
    #[case("bcc/inotify", Err("bcc"))]
    fn tracers_are_named_with_their_backend(
        #[case] text: &str,
        #[case] expected: Result<(BackendKind, &str), &str>,
    ) {
        match (text.parse(), expected) {
            (Ok(Implementation { backend, tracer }), Ok(expected)) => {
                assert_eq!((backend, tracer.name()), expected);
            }
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (other, _) => panic!("{other:?}"),
        }
    }
}
