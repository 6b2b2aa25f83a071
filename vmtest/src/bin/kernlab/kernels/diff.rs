//! `kernlab kernels diff`: what changed between two kernels.

use clap::Args;
use kernlab_core::dossier::diff::{Difference, WholeDifference};
use kernlab_kernels::{Entry, Kernels, Selection, Tier};
use kernlab_vmtest::dossier::{self, DossierError, How};
use serde::Serialize;

use super::{complain, guest_programs, progress::Progress, show};
use crate::Exit;

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The kernel to compare with: an id, a release, `host`, or the path of an image.
    old: String,
    /// The kernel to compare.
    new: String,
    /// Compare everything: all symbols, prototypes and structures.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Take only kernels that are in kernels.lock, instead of adding what it lacks.
    #[arg(long)]
    locked: bool,
}

/// The JSON.
#[derive(Serialize)]
struct Output {
    old: String,
    new: String,
    difference: Difference,
    #[serde(skip_serializing_if = "Option::is_none")]
    all: Option<WholeDifference>,
}

pub(super) fn run(kernels: Kernels, arguments: &Diff) -> Exit {
    let kernels = &if arguments.locked { kernels.locked_only() } else { kernels };
    let Some(guest) = guest_programs("diff") else { return Exit::Usage };
    let mut entries = Vec::new();
    for selector in [&arguments.old, &arguments.new] {
        match one(kernels, selector) {
            Ok(entry) => entries.push(entry),
            Err(message) => {
                eprintln!("error: {message}");
                return Exit::Usage;
            }
        }
    }
    let how = How { guest: &guest, cold: false, refresh: false };
    let output = match compare(kernels, &entries[0], &entries[1], how, arguments.all) {
        Ok(output) => output,
        Err(error) => {
            complain(&error);
            return Exit::Infrastructure;
        }
    };
    let text = match arguments.json {
        false => render(&output),
        true => match serde_json::to_string_pretty(&output) {
            Ok(text) => text + "\n",
            Err(error) => unreachable!("a difference is plain data: {error}"),
        },
    };
    show(&text)
}

fn compare(
    kernels: &Kernels,
    old: &Entry,
    new: &Entry,
    how: How<'_>,
    all: bool,
) -> Result<Output, DossierError> {
    let mut notify = |line: String| eprintln!("note: {line}");
    let progress = Progress::new();
    let (ids, entries) = ((old.id.clone(), new.id.clone()), (old, new));
    let old = dossier::of(kernels, entries.0, how, &progress, &mut notify)?;
    let new = dossier::of(kernels, entries.1, how, &progress, &mut notify)?;
    let difference = Difference::between(&old.dossier, &new.dossier);
    let all = match all {
        false => None,
        true => {
            let old = old.whole(kernels, how, &mut notify)?;
            Some(WholeDifference::between(&old, &new.whole(kernels, how, &mut notify)?))
        }
    };
    Ok(Output { old: ids.0, new: ids.1, difference, all })
}

fn render(Output { old, new, difference, all }: &Output) -> String {
    let mut text =
        format!("{old} ({}) -> {new} ({})\n\n{difference}", difference.old, difference.new);
    if let Some(all) = all {
        text += &format!("\n{all}");
    }
    text
}

/// The kernel that is meant: where several are, the only one of the default tier.
fn one(kernels: &Kernels, selector: &str) -> Result<Entry, String> {
    let selection = Selection::of(std::slice::from_ref(&selector.to_owned()));
    let found = kernels.select(&selection).map_err(|error| error.to_string())?.entries;
    let by_default: Vec<_> = found.iter().filter(|entry| entry.tier == Tier::Default).collect();
    match (&found[..], &by_default[..]) {
        ([entry], _) => Ok(entry.clone()),
        (_, [entry]) => Ok((*entry).clone()),
        (all, _) => {
            let ids: Vec<_> = all.iter().map(|entry| entry.id.as_str()).collect();
            Err(format!("{selector:?} means {} kernels: name one of {}", ids.len(), ids.join(", ")))
        }
    }
}
