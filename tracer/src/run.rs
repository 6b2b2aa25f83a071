//! From a scenario to a record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};
use kernlab_core::{
    backend::{self, Backend, BackendError},
    burst::{Drain, condense},
    decoder::Decoder,
    discovery::Discovered,
    event::Event,
    facts::KernelFacts,
    live,
    outcome::Reason,
    plan::{ProbePlan, Unsupported, plan_with_search},
    record::{Decision, Leftover, Observation, Record},
    scenario::Scenario,
};

use crate::{
    bpf::{self, Loaded},
    discovery, events, facts,
    workload::IdleWorkload,
};

/// Provides what a session needs: facts, a plan, a workload and programs.
pub(crate) trait Resources {
    /// What is known of the kernel.
    fn facts(&mut self) -> Result<KernelFacts>;

    /// Searches memory for what type information does not tell.
    fn search(&self, facts: &KernelFacts, functions: &[&str]) -> Discovered;

    /// Decides from the facts how to trace the scenario, and adds to them what that took to find out.
    fn plan(&self, scenario: &Scenario, facts: &mut KernelFacts) -> Result<ProbePlan, Unsupported> {
        plan_with_search(scenario, facts, |facts, functions| self.search(facts, functions))
    }

    /// The workload, started.
    fn workload(&mut self) -> Result<IdleWorkload>;

    /// The plan's programs, and what is loaded beside them.
    fn programs(&mut self, backend: &dyn Backend, plan: &ProbePlan) -> Result<Programs, Failure>;
}

/// A plan's programs.
pub(crate) struct Programs {
    /// Attached nowhere.
    pub(crate) loaded: Box<dyn backend::Programs>,
    /// What may stay loaded when they are gone.
    pub(crate) others: Loaded,
}

impl Programs {
    /// Loads them.
    pub(crate) fn load(backend: &dyn Backend, plan: &ProbePlan) -> Result<Self, Failure> {
        let others = Loaded::now().context("listing programs");
        let others = others.map_err(because(Reason::TracerDied))?;
        Ok(Programs { loaded: backend.load(plan)?, others })
    }
}

/// All of it from scratch.
pub(crate) struct Fresh {
    /// A file with type information that outranks the kernel's own.
    pub(crate) btf: Option<PathBuf>,
    /// The workload's program.
    pub(crate) workload: PathBuf,
}

impl Resources for Fresh {
    fn facts(&mut self) -> Result<KernelFacts> {
        facts::live(self.btf.as_deref())
    }

    fn search(&self, facts: &KernelFacts, functions: &[&str]) -> Discovered {
        discovery::search(facts, functions)
    }

    fn workload(&mut self) -> Result<IdleWorkload> {
        IdleWorkload::start(&self.workload)
    }

    fn programs(&mut self, backend: &dyn Backend, plan: &ProbePlan) -> Result<Programs, Failure> {
        Programs::load(backend, plan)
    }
}

/// Plans, traces, and reports whatever came of it.
pub(crate) fn record(
    backend: &dyn Backend,
    scenario: &Scenario,
    resources: &mut dyn Resources,
) -> Result<Record> {
    let mut stages = Stages::begin();
    let mut facts = resources.facts()?;
    stages.end("facts");
    let planned = resources.plan(scenario, &mut facts);
    stages.end("plan");
    let decision = Decision::of(&planned, &facts);
    let observation = planned.ok().map(|plan| {
        let traced = trace(backend, scenario, plan, &facts, resources, &mut stages);
        traced.unwrap_or_else(|failure| Observation::Failed {
            reason: failure.reason,
            message: failure.to_string(),
            verifier_log: failure.verifier_log,
        })
    });
    Ok(Record {
        backend: backend.kind(),
        scenario: scenario.to_string(),
        release: facts.release,
        discovered: facts.discovered,
        decision,
        observation,
        stages_us: stages.took_us,
    })
}

/// Where the time goes.
struct Stages {
    last: Instant,
    took_us: BTreeMap<String, u64>,
}

impl Stages {
    fn begin() -> Self {
        Stages { last: Instant::now(), took_us: BTreeMap::new() }
    }

    /// Ends a stage; the next one begins.
    fn end(&mut self, stage: &str) {
        let took = u64::try_from(self.last.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.took_us.insert(stage.to_owned(), took);
        self.last = Instant::now();
    }
}

/// What stopped a trace, and whose fault it is.
pub(crate) struct Failure {
    reason: Reason,
    error: anyhow::Error,
    verifier_log: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<BackendError> for Failure {
    fn from(mut error: BackendError) -> Self {
        let verifier_log = error.verifier_log.take();
        Failure { reason: error.reason, error: error.into(), verifier_log }
    }
}

fn because(reason: Reason) -> impl Fn(anyhow::Error) -> Failure {
    move |error| Failure { reason, error, verifier_log: None }
}

fn trace(
    backend: &dyn Backend,
    scenario: &Scenario,
    mut plan: ProbePlan,
    facts: &KernelFacts,
    resources: &mut dyn Resources,
    stages: &mut Stages,
) -> Result<Observation, Failure> {
    let workload_failed = because(Reason::WorkloadFailed);
    let tracer_died = because(Reason::TracerDied);

    let workload = resources.workload().and_then(|idle| idle.prepare(scenario));
    let workload = workload.map_err(&workload_failed)?;
    plan.config.tgid = workload.tgid();
    stages.end("prepare workload");
    let Programs { loaded, others } = resources.programs(backend, &plan)?;
    stages.end("load");
    let mut session = loaded.attach(&plan)?;
    stages.end("attach");
    let mut workload = workload.release().map_err(&workload_failed)?;

    let burst = scenario.burst();
    let mut records: Vec<Vec<u8>> = Vec::new();
    if scenario.is_live() {
        for call in 1..=live::CALLS {
            let woken = events::wake(session.wait_on(), live::BOUND).map_err(&tracer_died)?;
            if !woken {
                // A workload that has stopped early has failed, and says why.
                match workload.is_done().map_err(&workload_failed)? {
                    true => drop(workload.ground_truth().map_err(&workload_failed)?),
                    false => workload.end().map_err(&workload_failed)?,
                }
                let late = anyhow!(
                    "nothing woke the tracer in {} seconds to read the event of call {call}",
                    live::BOUND.as_secs()
                );
                return Err(because(Reason::EventsLate)(late));
            }
            session.consume(&mut |record: &[u8]| records.push(record.to_vec()))?;
            if (records.len() as u64) < call {
                workload.end().map_err(&workload_failed)?;
                let late = anyhow!("the tracer woke, and found no event of call {call}");
                return Err(because(Reason::EventsLate)(late));
            }
            workload.go_on().map_err(&workload_failed)?;
        }
    }
    let mut keep = |record: &[u8]| records.push(record.to_vec());
    let mut rounds_left = burst.map_or(1, |burst| burst.rounds);
    loop {
        let buffer = match burst.map(|burst| burst.drain) {
            Some(Drain::AtTheEnd) => Vec::new(),
            Some(Drain::AsTheyCome) | None => session.wait_on(),
        };
        let changed = events::wait(buffer, workload.changes()).map_err(&tracer_died)?;
        let done = changed && workload.is_done().map_err(&workload_failed)?;
        rounds_left -= u64::from(done);
        if rounds_left == 0 {
            // The session hands over the last events when it ends.
            break;
        }
        session.consume(&mut keep)?;
        if done {
            workload = workload.paused().release().map_err(&workload_failed)?;
        }
    }
    stages.end("workload");
    // The workload is stopped: every event it caused has been written to the buffer by now.
    let skipped: Result<Vec<u64>, _> =
        session.programs().into_iter().map(bpf::skipped_runs).collect();
    let skipped = skipped.context("counting skipped runs").map_err(&tracer_died)?.iter().sum();
    // Each program that is attached must have been asked how many runs were skipped.
    let own = session.programs().len() as u64;
    let attached: BTreeSet<_> = plan.attach.iter().map(|point| &point.program).collect();
    if own < attached.len() as u64 {
        let attached = attached.len();
        return Err(tracer_died(anyhow!("{attached} programs are attached, and {own} are known")));
    }
    // Leftovers are found in lists of loaded programs: those must show this session's own ones now.
    let known = others.since().context("listing programs").map_err(&tracer_died)?;
    if known < own {
        return Err(tracer_died(anyhow!("{own} programs are loaded, and {known} are known to be")));
    }
    let tally = session.finish(&mut keep)?;
    let ground_truth = workload.ground_truth().map_err(&workload_failed)?;
    let still_loaded = others.remaining().context("listing programs").map_err(&tracer_died)?;
    let pinned = bpf::pinned(bpf::PINS).context("listing what is pinned").map_err(&tracer_died)?;
    if !pinned.is_empty() {
        let pinned =
            anyhow!("maps or programs stay pinned in {}: {}", bpf::PINS, pinned.join(", "));
        return Err(because(Reason::StateLeftBehind)(pinned));
    }
    stages.end("finish");

    let decoder = Decoder::new(scenario, &facts.symbols, plan.config.kernel_address_min);
    let mut events = records
        .iter()
        .map(|record| decoder.decode(record))
        .collect::<Result<Vec<(u64, Event)>, _>>()
        .context("decoding an event")
        .map_err(&tracer_died)?;
    events.sort_by_key(|&(time, _)| time);
    let events = events.into_iter().map(|(_, event)| event).collect();
    Ok(Observation::Traced {
        events: if burst.is_some() { condense(events) } else { events },
        lost: tally.lost,
        losses: tally.losses,
        skipped,
        left_behind: Leftover::among(&tally.state, &ground_truth.under_way),
        still_loaded,
        ground_truth,
    })
}
