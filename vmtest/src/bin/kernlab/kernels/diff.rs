//! `kernlab kernels diff`: shows what changed between two kernels.

use clap::Args;
use globset::{Glob, GlobMatcher};
use kernlab_cli::{Exit, Scope};
use kernlab_core::dossier::diff::{Difference, WholeDifference};
use kernlab_kernels::{Entry, Kernels};
use kernlab_vmtest::{
    dossier::{self, DossierError, How},
    report::pretty_json,
};
use serde::Serialize;

use super::progress::Progress;
use crate::{
    failure::{self, Failure},
    selection,
};

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The kernel to compare with: an id, a release, `host`, or the path of an image.
    old: String,
    /// The kernel to compare.
    new: String,
    /// Compare everything: all symbols, prototypes and structures.
    #[arg(long)]
    all: bool,
    /// Compare only functions, structures and tracepoints with such a name, and show what they are
    /// likely called now.
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    name: Option<GlobMatcher>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Take only kernels that are in kernels.lock, instead of resolving and adding missing ones.
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    guest: selection::GuestPrograms,
}

fn glob(text: &str) -> Result<GlobMatcher, globset::Error> {
    Glob::new(text).map(|glob| glob.compile_matcher())
}

/// The JSON output.
#[derive(Serialize)]
struct Output {
    old: String,
    new: String,
    difference: Difference,
    #[serde(skip_serializing_if = "Option::is_none")]
    all: Option<WholeDifference>,
}

pub(super) fn run(kernels: Kernels, arguments: &Diff) -> Result<Exit, Failure> {
    let kernels = &selection::limit(kernels, arguments.locked);
    let guest = arguments.guest.dir(kernels)?;
    let one = |selector: &str| selection::only(kernels, &Scope::default(), selector);
    let (old, new) = (one(&arguments.old)?, one(&arguments.new)?);
    let how = How { guest: &guest, cold: false, refresh: false };
    let is_whole = arguments.all || arguments.name.is_some();
    let mut output = compare(kernels, &old, &new, how, is_whole)
        .map_err(|error| Failure::infrastructure(&error))?;
    if let Some(glob) = &arguments.name {
        output.all = output.all.map(|all| all.named(|name| glob.is_match(name)));
    }
    let text = match arguments.json {
        false => render(&output, arguments.name.as_ref()),
        true => pretty_json(&output),
    };
    failure::print(&text)?;
    Ok(Exit::Success)
}

fn compare(
    kernels: &Kernels,
    old: &Entry,
    new: &Entry,
    how: How<'_>,
    all: bool,
) -> Result<Output, DossierError> {
    let progress = Progress::new();
    let (ids, entries) = ((old.id.clone(), new.id.clone()), (old, new));
    let old = dossier::of(kernels, entries.0, how, &progress)?;
    let new = dossier::of(kernels, entries.1, how, &progress)?;
    let difference = Difference::between(&old.dossier, &new.dossier);
    let all = match all {
        false => None,
        true => {
            let old = old.whole(kernels, how, &progress)?;
            Some(WholeDifference::between(&old, &new.whole(kernels, how, &progress)?))
        }
    };
    Ok(Output { old: ids.0, new: ids.1, difference, all })
}

fn render(Output { old, new, difference, all }: &Output, named: Option<&GlobMatcher>) -> String {
    let heading = format!("{old} ({}) -> {new} ({})\n\n", difference.old, difference.new);
    match (all, named) {
        (None, _) => format!("{heading}{difference}"),
        (Some(all), None) => format!("{heading}{difference}\n{all}"),
        (Some(all), Some(glob)) if *all == WholeDifference::default() => {
            format!("{heading}nothing whose name matches {} changed\n", glob.glob())
        }
        (Some(all), Some(_)) => {
            let all = all.to_string();
            let lines = all.lines().filter(|line| !line.ends_with(": 0"));
            lines.fold(heading, |text, line| text + line + "\n")
        }
    }
}
