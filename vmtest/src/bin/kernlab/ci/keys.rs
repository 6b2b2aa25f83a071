//! `kernlab ci keys`: the names of caches.

use std::collections::BTreeSet;

use clap::Args;
use kernlab_cli::Exit;
use kernlab_kernels::{Arch, Digest, Entry, Kernels, Silent};
use kernlab_vmtest::{
    accel::{self, Expected},
    checkpoints::Checkpoints,
    qemu::{Accelerator, Binary},
    suite,
};

use super::{Choice, output};
use crate::{failure::Failure, selection, test::find, tested::Tested};

/// Print the store's directory, what its caches are named after, and whether this machine has KVM.
///
/// Kernels are named after what the lock says of them. Saved guests are also named after the
/// processor, the running kernel and QEMU: no other machine can use them.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kernlab ci keys --kernels '5.10 6.1'")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
}

pub(super) fn run(Arguments { choice }: &Arguments) -> Result<Exit, Failure> {
    let options = choice.options()?;
    let kernels = selection::open(&options.selected.scope)?;
    // A project that tests a command has no kernlab.toml.
    let has_project = choice.config().is_some() || find(&std::env::current_dir()?).is_some();
    let project = match has_project {
        true => Tested::project(choice.config())?.project.kernels,
        false => Vec::new(),
    };
    let entries = suite::run::entries(&kernels, &options, &project, &Silent)?;
    let locked = Digest::of(describe(&kernels, &entries).as_bytes());
    let host = Arch::of_this_program().unwrap_or_default();
    let mut archs: BTreeSet<Arch> = entries.iter().map(|entry| entry.arch).collect();
    if archs.is_empty() {
        archs.insert(host);
    }
    let mut saved = format!("{locked}\n{}", env!("CARGO_PKG_VERSION"));
    let why = "the kernels are of another architecture".to_owned();
    let mut expected = Expected { accelerator: Accelerator::Tcg, why };
    for arch in archs {
        let qemu = Binary::find(arch).map_err(|error| Failure::infrastructure(&error))?;
        let machine = Checkpoints::of(kernels.store())
            .host_key(&qemu)
            .map_err(|error| Failure::from(error).of("cannot read QEMU: "))?;
        saved = format!("{saved}\n{machine}");
        if arch == host {
            expected = accel::expected(kernels.store(), &qemu)
                .map_err(|error| Failure::usage(error.to_string()))?;
        }
    }
    let saved = Digest::of(saved.as_bytes());
    let Expected { accelerator, why } = expected;
    if accelerator == Accelerator::Tcg {
        output::notice(&format!(
            "no KVM on this machine ({why}): guests are emulated (TCG), which is slower; deadlines are \
             four times as long"
        ))?;
    }
    output::hand_over(&[
        ("store", kernels.store().root().display().to_string()),
        ("kernels-key", format!("kernlab-kernels-{locked}")),
        ("checkpoints-key", format!("kernlab-checkpoints-{saved}")),
        ("accelerator", accelerator.name().to_owned()),
    ])?;
    Ok(Exit::Success)
}

/// What decides which files of the store the entries need.
fn describe(kernels: &Kernels, entries: &[Entry]) -> String {
    let mut lines: Vec<String> = entries
        .iter()
        .map(|entry| match kernels.locked(entry) {
            Some(locked) => format!("{locked:?}"),
            None => format!("{} {:?}", entry.id, entry.source),
        })
        .collect();
    // The order of the command line does not matter.
    lines.sort();
    lines.join("\n")
}
