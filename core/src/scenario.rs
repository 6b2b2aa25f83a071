//! What can be run: every tracer with each of the workloads that prove it.

use std::fmt;

use crate::tracer::{self, Tracer};

/// A tracer and the workload that it watches. Written as `tracer/name`.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scenario {
    /// Who watches.
    pub tracer: Tracer,
    /// What happens: also the name of the workload.
    pub name: &'static str,
}

impl Scenario {
    /// Every scenario, grouped by tracer.
    pub const ALL: &'static [Scenario] = &tracer::scenarios();

    /// The scenario with the id `tracer/name`.
    pub fn by_id(id: &str) -> Option<&'static Scenario> {
        Scenario::ALL.iter().find(|scenario| scenario.to_string() == id)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tracer, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_grouped_by_tracer() {
        assert!(Scenario::ALL.is_sorted_by_key(|scenario| scenario.tracer));
        assert_eq!(Scenario::ALL[0].to_string(), "sys_write/files_and_pipes");
    }

    #[test]
    fn ids_are_unique_and_found_again() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::by_id(&scenario.to_string()), Some(scenario));
        }
        assert_eq!(Scenario::by_id("inotify/nothing"), None);
    }
}
