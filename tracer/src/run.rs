//! From a scenario to a record.

use std::{collections::BTreeMap, fmt, time::Instant};

use anyhow::{Context as _, Result};
use kernlab_core::{
    backend::{Backend, BackendError},
    burst::{Burst, Drain, condense},
    discovery::Discovered,
    event::{Decoder, Event},
    facts::KernelFacts,
    outcome::Reason,
    plan::{ProbePlan, plan_with_search},
    record::{Decision, Observation, Record},
    scenario::Scenario,
};

use crate::{
    bpf::Loaded,
    events,
    workload::{Idle, Prepared},
};

/// Plans, traces, and reports whatever came of it. `search` searches memory, `workload` starts the
/// workload.
pub(crate) fn record(
    backend: &dyn Backend,
    scenario: &Scenario,
    facts: impl FnOnce() -> Result<KernelFacts>,
    search: impl Fn(&KernelFacts, &[&str]) -> Discovered,
    workload: impl FnOnce() -> Result<Idle>,
) -> Result<Record> {
    let mut stages = Stages::begin();
    let mut facts = facts()?;
    stages.end("facts");
    let planned = plan_with_search(scenario, &mut facts, search);
    stages.end("plan");
    let decision = Decision::of(&planned, &facts);
    let observation = planned.ok().map(|plan| {
        let traced = trace(backend, scenario, plan, &facts, workload, &mut stages);
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
struct Failure {
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
    workload: impl FnOnce() -> Result<Idle>,
    stages: &mut Stages,
) -> Result<Observation, Failure> {
    let workload_failed = because(Reason::WorkloadFailed);
    let tracer_died = because(Reason::TracerDied);

    let workload = workload().and_then(|idle| idle.prepare(scenario)).map_err(&workload_failed)?;
    plan.config.tgid = workload.tgid();
    stages.end("prepare workload");
    let loaded_before = Loaded::now().context("listing programs").map_err(&tracer_died)?;
    let mut session = backend.open(&plan)?;
    stages.end("open");
    let mut workload = workload.release().map_err(&workload_failed)?;

    let burst = Burst::of(scenario);
    let mut records: Vec<Vec<u8>> = Vec::new();
    let mut keep = |record: &[u8]| records.push(record.to_vec());
    let mut rounds_left = burst.map_or(1, |burst| burst.rounds);
    loop {
        let buffer = match burst.map(|burst| burst.drain) {
            Some(Drain::AtTheEnd) => Vec::new(),
            Some(Drain::AsTheyCome) | None => session.wait_on(),
        };
        let done = events::wait(buffer, workload.done()).map_err(&tracer_died)?;
        session.consume(&mut keep)?;
        rounds_left -= u64::from(done);
        if rounds_left == 0 {
            break;
        }
        if done {
            let next = workload.paused().and_then(Prepared::release);
            workload = next.map_err(&workload_failed)?;
        }
    }
    stages.end("workload");
    // The workload is stopped: every event it caused has been written to the buffer by now.
    let tally = session.finish(&mut keep)?;
    let account = workload.account().map_err(&workload_failed)?;
    let still_loaded =
        loaded_before.remaining().context("listing programs").map_err(&tracer_died)?;
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
        skipped: tally.skipped,
        left_behind: tally.left_behind,
        still_loaded,
        account,
    })
}
