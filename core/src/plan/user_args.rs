//! Where the programs of `user_args` go.

use super::{AttachPoint, Target, Unsupported, UserFunction};
use crate::{facts::KernelFacts, outcome::Reason, scenario::Scenario};

/// The workload's place in the guest: position-independent, as most programs are.
pub const WORKLOAD: &str = "/bin/kernlab-workload";

/// The same function in a program that is linked to fixed addresses.
pub const STATIC_WORKLOAD: &str = "/bin/kernlab-workload-static";

/// The function that both have.
pub const EIGHT_INTS: &str = "kernlab_eight_ints";

pub(super) fn attach(
    scenario: &Scenario,
    facts: &KernelFacts,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if !facts.uprobes {
        return Err(Unsupported::new(
            Reason::MissingConfig,
            "the kernel has no uprobes: CONFIG_UPROBE_EVENTS",
        ));
    }
    let binaries: &[&str] = match scenario.name {
        "pie_and_static" => &[WORKLOAD, STATIC_WORKLOAD],
        _ => &[WORKLOAD],
    };
    Ok(binaries
        .iter()
        .flat_map(|&binary| {
            let function =
                UserFunction { binary: binary.to_owned(), symbol: EIGHT_INTS.to_owned() };
            [
                ("user_call", Target::Uprobe(function.clone())),
                ("user_return", Target::Uretprobe(function)),
            ]
        })
        .map(|(program, target)| AttachPoint { program: program.to_owned(), target })
        .collect())
}
