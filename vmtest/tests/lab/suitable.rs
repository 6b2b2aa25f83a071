//! Kernels that tracers run on have the options that the lab requires.

use kernlab_kernels::{Kernels, Silent, State, Suitability, examine};

use crate::workbench::kernel;

#[test]
fn the_list_of_options_holds_for_kernels_that_work() {
    let mut checked = Vec::new();
    let mut check = |id: &str, config: &std::path::Path| {
        let config = examine(config).unwrap().config.unwrap();
        let unsatisfied = Suitability::of(&config).unsatisfied;
        let unsatisfied: Vec<_> =
            unsatisfied.iter().map(|unsatisfied| &unsatisfied.requirement.option).collect();
        assert!(unsatisfied.is_empty(), "{id} works, and lacks {unsatisfied:?}");
        checked.push(id.to_owned());
    };
    let known = kernel();
    check(&known.id, known.config.as_deref().unwrap());
    // Also checks the other kernels of the matrix that are on this machine.
    let kernels = Kernels::open().unwrap();
    for entry in &kernels.matrix().entries {
        if kernels.state(entry) != State::Stored {
            continue;
        }
        let unpacked = kernels.prepare(entry, &Silent).unwrap();
        if let Some(config) = &unpacked.config {
            check(&entry.id, config);
        }
    }
    assert!(checked.len() > 1, "{checked:?}");
}
