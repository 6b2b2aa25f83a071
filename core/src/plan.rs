//! The pure decision, from what is known of a kernel, of which symbols to probe with which layout.

use std::{collections::BTreeSet, path::PathBuf};

use kernlab_abi::ProgramConfig;
use serde::{Deserialize, Serialize};

pub use crate::{
    attach::{AttachPoint, Target, UserFunction},
    buffer::BufferKind,
    unsupported::Unsupported,
};
use crate::{discovery::Discovered, facts::KernelFacts, scenario::Scenario, tracer::Tracer};

/// Which programs to attach where, and how they are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// Whose programs.
    pub tracer: Tracer,
    /// Every program with the place that it is attached to.
    pub attach: Vec<AttachPoint>,
    /// How events reach user space.
    pub buffer: BufferKind,
    /// How programs read kernel memory.
    pub read: ReadHelper,
    /// Where field offsets come from.
    pub types: TypeSource,
    /// The BTF for CO-RE relocations, if it is not the kernel's own.
    pub btf_file: Option<PathBuf>,
    /// What the programs read at run time; `tgid` is filled in when the traced process is known.
    pub config: ProgramConfig,
}

impl ProbePlan {
    /// Does a backend load the same for both plans? They may differ in where programs are attached, and in
    /// how they are configured.
    pub fn loads_like(&self, other: &ProbePlan) -> bool {
        let programs = |plan: &ProbePlan| -> BTreeSet<String> {
            plan.attach.iter().map(|point| point.program.clone()).collect()
        };
        let object = |plan: &ProbePlan| (plan.tracer, plan.buffer, plan.read, plan.types);
        object(self) == object(other)
            && self.btf_file == other.btf_file
            && programs(self) == programs(other)
    }
}

/// How programs read kernel memory. Every read is guarded by `kernel_address_min` as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadHelper {
    /// `bpf_probe_read_kernel`.
    Split,
    /// `bpf_probe_read`, where the split helpers are missing; both loaders rewrite the call.
    Legacy,
}

impl ReadHelper {
    /// `split` or `legacy`.
    pub fn name(self) -> &'static str {
        match self {
            ReadHelper::Split => "split",
            ReadHelper::Legacy => "legacy",
        }
    }

    /// What a kernel has.
    pub fn of(facts: &KernelFacts) -> Self {
        if facts.probe_read_kernel.is_yes() { ReadHelper::Split } else { ReadHelper::Legacy }
    }
}

/// Where the programs' field offsets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TypeSource {
    /// CO-RE relocations against the kernel's BTF, where the backend has them.
    Core,
    /// The plan's layout.
    Layout,
}

impl TypeSource {
    /// `core` or `layout`.
    pub fn name(self) -> &'static str {
        match self {
            TypeSource::Core => "core",
            TypeSource::Layout => "layout",
        }
    }
}

/// Decides how `scenario` is traced on the kernel that `facts` describe.
pub fn plan(scenario: &Scenario, facts: &KernelFacts) -> Result<ProbePlan, Unsupported> {
    let mut config = ProgramConfig {
        kernel_address_min: facts.arch.kernel_address_min(facts.five_level_paging),
        user_address_end: facts.arch.user_address_end(facts.five_level_paging),
        user_address_tag: facts.arch.user_address_tag(),
        ..ProgramConfig::default()
    };
    let attach = scenario.tracer.attach(scenario, facts, &mut config)?;
    Ok(ProbePlan {
        tracer: scenario.tracer,
        attach,
        buffer: BufferKind::of(scenario, facts)?,
        read: ReadHelper::of(facts),
        types: if facts.btf.is_some() { TypeSource::Core } else { TypeSource::Layout },
        btf_file: facts.btf_file.clone(),
        config,
    })
}

/// Plans with what is known at once, and has memory searched where that is not enough, or not certain;
/// for the parameters of the functions in the second argument, too.
pub fn plan_with_search(
    scenario: &Scenario,
    facts: &mut KernelFacts,
    search: impl Fn(&KernelFacts, &[&str]) -> Discovered,
) -> Result<ProbePlan, Unsupported> {
    let asked = &scenario.tracer.functions_asked();
    if facts.btf_file.is_some() {
        facts.discovered = Some(search(facts, asked));
    }
    if let (Some(discovered), Some(btf)) = (&facts.discovered, &facts.btf) {
        discovered.check_btf(btf)?;
    }
    plan(scenario, facts).or_else(|refusal| {
        if !facts.lacks_layout(&refusal) {
            return Err(refusal);
        }
        facts.discovered = Some(search(facts, asked));
        plan(scenario, facts)
    })
}

#[cfg(test)]
pub(crate) mod tests;
