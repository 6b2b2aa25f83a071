//! What all scenarios of a kernel begin with, done once, in a guest that is then saved.

use std::{io, path::Path};

use anyhow::{Context as _, Result, ensure};
use kernlab_core::{
    backend::Backend,
    cell::BackendKind,
    discovery::Discovered,
    facts::{KernelFacts, Trial},
    plan::functions_asked,
    record::Record,
    scenario::Scenario,
};
use nix::sys::signal::{Signal, raise};

use crate::{bpf::Loaded, discovery, facts, run, workload::Idle};

/// A tracer that does not know its scenario yet.
pub(crate) struct Standby {
    facts: KernelFacts,
    /// What a search of memory found; none where plans have type information, or it missed something.
    found: Option<Discovered>,
    workload: Idle,
}

impl Standby {
    /// Gathers the kernel's facts, and leaves no program of that in the kernel; then starts the workload.
    pub(crate) fn prepare(btf: Option<&Path>, workload: &Path) -> Result<Self> {
        let before = Loaded::now().context("listing programs")?;
        let facts = facts::live(btf)?;
        let is_searched = btf.is_some() || facts.btf.is_none();
        let found = is_searched
            .then(|| discovery::search(&facts, &all_functions_asked()))
            // A search that missed something may have been unlucky: each cell makes its own.
            .filter(|found| found.failures.is_empty());
        for trial in [facts.ring_buffer, facts.probe_read_kernel] {
            ensure!(!matches!(trial, Trial::CouldNotTell(_)), "a trial has no answer: {trial:?}");
        }
        let remaining = before.remaining().context("listing programs")?;
        ensure!(remaining == 0, "{remaining} programs that were tried are still loaded");
        Ok(Standby { facts, found, workload: Idle::start(workload)? })
    }

    /// Stops until somebody lets the process go on, and reads from standard input what for: a backend,
    /// a blank, `TRACER/SCENARIO`.
    pub(crate) fn await_work() -> Result<(BackendKind, &'static Scenario)> {
        raise(Signal::SIGSTOP).context("stopping")?;
        let work = io::read_to_string(io::stdin()).context("reading what to trace")?;
        work.split_once(' ')
            .and_then(|(backend, id)| Some((backend.parse().ok()?, Scenario::by_id(id)?)))
            .with_context(|| format!("{work:?} is no backend and scenario"))
    }

    /// Plans, traces, and reports whatever came of it.
    pub(crate) fn record(self, backend: &dyn Backend, scenario: &Scenario) -> Result<Record> {
        let Standby { facts, found, workload } = self;
        let search = |facts: &KernelFacts, asked: &[&str]| match &found {
            Some(found) => {
                let mut found = found.clone();
                found.prototypes.retain(|function, _| asked.contains(&function.as_str()));
                found
            }
            None => discovery::search(facts, asked),
        };
        run::record(backend, scenario, || Ok(facts), search, || Ok(workload))
    }
}

/// The functions whose parameters any plan may ask about.
fn all_functions_asked() -> Vec<&'static str> {
    let asked = Scenario::ALL.iter().flat_map(|scenario| functions_asked(scenario.tracer));
    let mut asked: Vec<_> = asked.copied().collect();
    asked.sort_unstable();
    asked.dedup();
    asked
}
