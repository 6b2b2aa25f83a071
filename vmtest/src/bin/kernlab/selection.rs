//! Which kernels a command is about.

use std::{env, path::PathBuf};

use kernlab_cli::{Scope, Selected};
use kernlab_kernels::{Entry, Kernels, Selection};
use kernlab_vmtest::run;

use crate::failure::Failure;

/// The kernels of this checkout, as far as the lock may be changed.
pub(crate) fn open(scope: &Scope) -> Result<Kernels, Failure> {
    Ok(limit(Kernels::open()?, scope.locked))
}

/// The kernels; an entry that is not in the lock is an error if they are `locked`.
pub(crate) fn limit(kernels: Kernels, locked: bool) -> Kernels {
    if locked { kernels.locked_only() } else { kernels }
}

/// What these selectors mean.
pub(crate) fn selection(scope: &Scope, selectors: &[String]) -> Selection {
    run::selection(&Selected { kernels: selectors.to_owned(), scope: scope.clone() })
}

/// The entries that these selectors name. Says which of a release are left out.
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

/// The kernels of this checkout, and those that are named.
pub(crate) fn selected(selected: &Selected) -> Result<(Kernels, Vec<Entry>), Failure> {
    let kernels = open(&selected.scope)?;
    let entries = entries(&kernels, &selected.scope, &selected.kernels)?;
    Ok((kernels, entries))
}

/// The directory of the guest's programs, for commands that boot kernels and are started by
/// `cargo xtask COMMAND`.
pub(crate) fn guest_programs(command: &str) -> Result<PathBuf, Failure> {
    env::var_os("KERNLAB_GUEST").map(PathBuf::from).ok_or_else(|| {
        Failure::usage(format!(
            "KERNLAB_GUEST does not name the directory of the guest's programs: run this as `cargo \
             xtask {command}`"
        ))
    })
}
