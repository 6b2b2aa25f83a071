//! `kernlab kernels build`: builds kernels from source.

use std::collections::BTreeSet;

use clap::Args;
use kernlab_cli::{Exit, Scope};
use kernlab_core::outcome::Reason;
use kernlab_kernels::{Arch, Entry, Kernels, Source, State, Unpacked};

use super::progress::Progress;
use crate::{failure::Failure, selection};

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Which kernels whose source is `build`: releases, ids, globs.
    #[arg(value_name = "KERNEL", required = true)]
    selectors: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, Args)]
pub(crate) struct Unbuilt {
    /// Which kernels.
    #[arg(value_name = "KERNEL")]
    selectors: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

fn is_built_here(entry: &Entry) -> bool {
    matches!(entry.source, Source::Build(_))
}

fn names_pahole(entry: &Entry) -> bool {
    matches!(&entry.source, Source::Build(build) if build.toolchain.pahole.is_some())
}

/// Builds the selected kernels that are not built yet. Fails if a source can't be built.
pub(super) fn run(kernels: Kernels, arguments: &Build) -> Result<Exit, Failure> {
    let kernels = selection::limit(kernels, arguments.scope.locked);
    let entries = selection::entries(&kernels, &arguments.scope, &arguments.selectors)?;
    let entries: Vec<_> = entries.iter().filter(|entry| is_built_here(entry)).collect();
    if entries.is_empty() {
        let asked = arguments.selectors.join(" ");
        let message = format!("none of {asked} is built here: `kernels fetch` gets the others");
        return Err(Failure::usage(message));
    }
    let progress = Progress::new();
    let mut exit = Exit::Success;
    for entry in entries {
        match kernels.prepare(entry, &progress) {
            Ok(kernel) => {
                progress.ready(&kernel);
                progress.note(&files(&kernel));
            }
            Err(error) => {
                progress.failed();
                let reason = error.reason();
                Failure::from(error).report();
                exit = exit.and(match reason {
                    Reason::BuildFailed => Exit::Failure,
                    _ => Exit::Infrastructure,
                });
            }
        }
    }
    Ok(exit)
}

/// The files that the build made, with their sizes.
fn files(kernel: &Unpacked) -> String {
    let paths = [&kernel.image.bzimage, &kernel.image.vmlinux, &kernel.config];
    let lines = paths.into_iter().flatten().map(|path| {
        let size = path.metadata().map_or(0, |metadata| metadata.len());
        format!("  {} ({})", path.display(), indicatif::HumanBytes(size))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Prints which of the selected kernels have to be built before they can be used. `cargo xtask`
/// then checks that the build tools are installed.
pub(super) fn run_unbuilt(kernels: &Kernels, arguments: &Unbuilt) -> Exit {
    let entries = selected(kernels, arguments);
    for entry in entries.iter().filter(|entry| is_built_here(entry)) {
        if kernels.state(entry) != State::Stored {
            // An entry that names its own pahole doesn't need this machine's.
            let btf = match (entry.has_btf(), names_pahole(entry)) {
                (true, false) => "with BTF",
                _ => "without BTF",
            };
            let is_foreign = Arch::of_this_program() != Some(entry.arch);
            let arch = if is_foreign { format!(" for {}", entry.arch) } else { String::new() };
            println!("{} {btf}{arch}", entry.id);
        }
    }
    Exit::Success
}

/// Prints the architectures of the selected kernels. `cargo xtask` then builds the programs for their
/// guests.
pub(super) fn run_architectures(kernels: &Kernels, arguments: &Unbuilt) -> Exit {
    let entries = selected(kernels, arguments);
    let archs: BTreeSet<_> = entries.iter().map(|entry| entry.arch.name()).collect();
    archs.into_iter().for_each(|arch| println!("{arch}"));
    Exit::Success
}

/// The kernels that any of these words select. The command that they are for reports errors in them; some may
/// be no selectors but values of its options.
fn selected(kernels: &Kernels, Unbuilt { scope, selectors }: &Unbuilt) -> Vec<Entry> {
    let select = |selectors: &[String]| {
        let chosen = kernels.select(&selection::selection(scope, selectors));
        chosen.map_or_else(|_| Vec::new(), |chosen| chosen.entries)
    };
    let mut entries: Vec<Entry> = match &selectors[..] {
        [] => select(&[]),
        words => words.chunks(1).flat_map(select).collect(),
    };
    let mut seen = BTreeSet::new();
    entries.retain(|entry| seen.insert(entry.id.clone()));
    entries
}
