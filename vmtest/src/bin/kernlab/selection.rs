//! Which kernels a command works on.

use std::path::PathBuf;

use clap::Args;
use kernlab_cli::{Scope, Selected};
use kernlab_kernels::{Entry, Kernels, Selection};
use kernlab_vmtest::{
    guest_programs::{self, GuestProgramsError},
    run,
};

use crate::failure::Failure;

/// Opens the kernels of this checkout or project. `scope` says whether the lock may grow.
pub(crate) fn open(scope: &Scope) -> Result<Kernels, Failure> {
    Ok(limit(Kernels::open()?, scope.locked))
}

/// Makes an entry that is missing in the lock an error if `locked` is set.
pub(crate) fn limit(kernels: Kernels, locked: bool) -> Kernels {
    if locked { kernels.locked_only() } else { kernels }
}

/// The selection that these selectors mean.
pub(crate) fn selection(scope: &Scope, selectors: &[String]) -> Selection {
    run::selection(&Selected { kernels: selectors.to_owned(), scope: scope.clone() })
}

/// The entries that these selectors name. Reports entries of a release that are left out.
pub(crate) fn entries(
    kernels: &Kernels,
    scope: &Scope,
    selectors: &[String],
) -> Result<Vec<Entry>, Failure> {
    let chosen = kernels.select(&selection(scope, selectors))?;
    for left_out in chosen.notices() {
        say!("{left_out}");
    }
    Ok(chosen.entries)
}

/// The only entry that a selector names.
pub(crate) fn only(kernels: &Kernels, scope: &Scope, selector: &str) -> Result<Entry, Failure> {
    let mut entries = kernels.select(&selection(scope, &[selector.to_owned()]))?.entries;
    match entries.len() {
        1 => Ok(entries.remove(0)),
        count => {
            let ids: Vec<_> = entries.into_iter().map(|entry| entry.id).collect();
            let ids = ids.join(", ");
            Err(Failure::usage(format!("{selector:?} selects {count} kernels: name one of {ids}")))
        }
    }
}

/// The kernels of this checkout or project, and the selected entries.
pub(crate) fn selected(selected: &Selected) -> Result<(Kernels, Vec<Entry>), Failure> {
    let kernels = open(&selected.scope)?;
    let entries = entries(&kernels, &selected.scope, &selected.kernels)?;
    Ok((kernels, entries))
}

/// The option of commands that boot kernels.
#[derive(Args, Debug)]
pub(crate) struct GuestPrograms {
    /// The directory of the programs that run in guests, instead of those in this program.
    #[arg(long = "guest", env = "KERNLAB_GUEST", value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl GuestPrograms {
    /// The directory of the programs. Those in this program are unpacked into the store.
    pub(crate) fn dir(&self, kernels: &Kernels) -> Result<PathBuf, GuestProgramsError> {
        guest_programs::dir(self.dir.as_deref(), kernels.store())
    }
}
