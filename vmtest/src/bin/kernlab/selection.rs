//! Which kernels a command works on.

use std::{env, path::PathBuf};

use kernlab_cli::{Scope, Selected};
use kernlab_kernels::{Entry, Kernels, Selection};
use kernlab_vmtest::run;

use crate::failure::Failure;

/// Opens the kernels of this checkout. `scope` says whether the lock may grow.
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
    if let Some(left_out) = chosen.notice() {
        eprintln!("{left_out}");
    }
    Ok(chosen.entries)
}

/// The kernels of this checkout, and the selected entries.
pub(crate) fn selected(selected: &Selected) -> Result<(Kernels, Vec<Entry>), Failure> {
    let kernels = open(&selected.scope)?;
    let entries = entries(&kernels, &selected.scope, &selected.kernels)?;
    Ok((kernels, entries))
}

/// The directory of the guest programs, for commands that boot kernels and that `cargo xtask
/// COMMAND` starts.
pub(crate) fn guest_programs(command: &str) -> Result<PathBuf, Failure> {
    env::var_os("KERNLAB_GUEST").map(PathBuf::from).ok_or_else(|| {
        Failure::usage(format!(
            "KERNLAB_GUEST does not name the directory of the guest's programs: run this as `cargo \
             xtask {command}`"
        ))
    })
}
