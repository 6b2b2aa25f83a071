//! Searches the running kernel's memory for its layout.

mod capture;
mod parked;
mod peek;
mod prototypes;
mod subjects;

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use kernlab_core::{
    discovery::{Discovered, QUESTIONS, Question, discover},
    facts::{KernelFacts, SOCKET_FILE_OPS},
    plan::ReadHelper,
};

use self::{capture::Reading, peek::Peek, subjects::ProbeSubjects};

/// Whatever can be found: all fields, and the parameters of the functions that are asked about. A
/// search that can't be made finds nothing, and says why.
pub(crate) fn search(facts: &KernelFacts, asked: &[&str]) -> Discovered {
    attempt(facts, asked).unwrap_or_else(|error| {
        let why = format!("it could not be read: {error:#}");
        Discovered { failures: [("kernel memory".to_owned(), why)].into(), ..Discovered::default() }
    })
}

fn attempt(facts: &KernelFacts, asked: &[&str]) -> Result<Discovered> {
    let kernel_address_min = facts.arch.kernel_address_min(facts.five_level_paging);
    let helper = ReadHelper::of(facts);
    let peek = Peek::open(helper, kernel_address_min).context("preparing to read memory")?;
    let peek = Arc::new(Mutex::new(peek));
    let listed = facts.symbols.get(SOCKET_FILE_OPS).copied();
    let prepared = ProbeSubjects::new(&peek, kernel_address_min, listed)?;
    let mut discovered = {
        let mut peek = peek.lock().expect("no thread panics while it reads memory");
        let discovered = discover(&mut *peek, prepared.subjects());
        peek.check()?;
        discovered
    };
    drop(prepared);
    let present = |question: &&Question| {
        asked.contains(&question.function) && facts.has_symbol(question.function)
    };
    let questions: Vec<_> = QUESTIONS.iter().filter(present).collect();
    if questions.is_empty() {
        return Ok(discovered);
    }
    if let Ok(qstr_name) = discovered.offset("qstr", "name") {
        let reading = Reading { helper, kernel_address_min, qstr_name };
        prototypes::search(&questions, &peek, reading, &mut discovered)?;
        peek.lock().expect("no thread panics while it reads memory").check()?;
    }
    Ok(discovered)
}
