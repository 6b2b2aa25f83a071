//! Kernels that tracers run on have the options that the lab requires.

use kernlab_kernels::{Arch, Kernels, Silent, State, Suitability, examine};

use super::workbench::kernel;

#[test]
fn the_list_of_options_holds_for_kernels_that_work() {
    let mut checked = Vec::new();
    let mut check = |id: &str, arch: Arch, config: &std::path::Path| {
        let config = examine(config).unwrap().config.unwrap();
        let suitability = Suitability::of(&config);
        let unsatisfied: Vec<&str> =
            suitability.unsatisfied.iter().map(|lack| lack.requirement.option.as_str()).collect();
        // Some of Debian's kernels do without these, and so without the scenarios that need them: those for
        // arm64 up to 6.1, and 5.10.
        let may_lack = |option: &&str| match *option {
            "CONFIG_KALLSYMS_ALL" => arch == Arch::Aarch64,
            "CONFIG_MPTCP" => id.starts_with("debian-5.10"),
            _ => false,
        };
        assert!(
            suitability.suits() && unsatisfied.iter().all(may_lack),
            "{id} works, and lacks {unsatisfied:?}"
        );
        checked.push(id.to_owned());
    };
    let known = kernel();
    check(&known.id, known.arch, known.config.as_deref().unwrap());
    // Also checks the other kernels of the matrix that are on this machine.
    let kernels = Kernels::open().unwrap();
    for entry in &kernels.matrix().entries {
        if kernels.state(entry) != State::Stored {
            continue;
        }
        let unpacked = kernels.prepare(entry, &Silent).unwrap();
        if let Some(config) = &unpacked.config {
            check(&entry.id, entry.arch, config);
        }
    }
    assert!(checked.len() > 1, "{checked:?}");
}
