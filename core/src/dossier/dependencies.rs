//! What each tracer depends on: found by letting it plan, and noting what it asks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dossier, GivenTypes};
use crate::{facts::Dependency, scenario::Scenario, tracer::Tracer};

/// What a tracer depends on.
pub type Dependencies = BTreeSet<Dependency>;

/// What every tracer wants to know of this kernel, and what it attaches to there, in all its scenarios,
/// with BTF and without.
///
/// What it asks may depend on what it is told: another kernel may have other dependencies.
pub fn dependencies_of(dossier: &Dossier) -> BTreeMap<Tracer, Dependencies> {
    let mut all: BTreeMap<Tracer, Dependencies> = BTreeMap::new();
    for scenario in Scenario::ALL {
        for types in [GivenTypes::Own, GivenTypes::None] {
            let of_tracer = all.entry(scenario.tracer).or_default();
            of_tracer.extend(dependencies(dossier, scenario, types));
        }
    }
    all
}

/// Like above, for one scenario.
pub fn dependencies_of_scenario(dossier: &Dossier, scenario: &Scenario) -> Dependencies {
    let with = |types| dependencies(dossier, scenario, types);
    &with(GivenTypes::Own) | &with(GivenTypes::None)
}

fn dependencies(dossier: &Dossier, scenario: &Scenario, types: GivenTypes<'_>) -> Dependencies {
    let (planned, facts) = dossier.plan(scenario, types);
    let mut dependencies = facts.asked.into_dependencies();
    let attached = planned.into_iter().flat_map(|plan| plan.attach);
    dependencies.extend(attached.flat_map(|point| point.target.dependencies()));
    dependencies
}
