//! What a kernel's memory says about its layout: boots it, and lets the tracer program search.

use std::{path::Path, time::Duration};

use kernlab_core::discovery::LayoutReport;

use crate::{
    kernels::{Entry, Kernels, Observer, chain},
    lab::{Exit, Job, LabError},
    machine::{self, MachineError},
    warm::Warm,
};

/// How long a search may take with acceleration; it needs a hundredth of that.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing can be said about a kernel's layout.
#[derive(Debug, thiserror::Error)]
pub enum DossierError {
    /// The kernel can't be had.
    #[error(transparent)]
    Kernel(#[from] crate::kernels::Error),
    /// No machine can be made for it.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest failed. It is boxed because it carries its evidence.
    #[error(transparent)]
    Guest(Box<LabError>),
    /// The tracer program gave no answer.
    #[error("the search of the guest's memory {what}; it said: {said}")]
    Search {
        /// How it ended.
        what: String,
        /// Its standard error.
        said: String,
    },
    /// The kernel complained about the search.
    #[error("the kernel printed {0:?} while its memory was searched")]
    Splat(String),
}

impl From<LabError> for DossierError {
    fn from(error: LabError) -> Self {
        DossierError::Guest(Box::new(error))
    }
}

/// Searches the kernel's memory. `guest` is the folder of the guest's programs; `tell` hears what a
/// user should know.
pub fn layout(
    kernels: &Kernels,
    entry: &Entry,
    guest: &Path,
    observer: &dyn Observer,
    tell: &mut dyn FnMut(String),
) -> Result<LayoutReport, DossierError> {
    let kernel = kernels.prepare(entry, observer)?;
    let bootable = machine::of_kernel(kernels.store(), &kernel, guest, &["kernlab-tracer"], tell)?;
    let mut guest = Warm::of(kernels.store()).guest(&bootable, tell)?;
    let output = guest.run(&Job::new(["/bin/kernlab-tracer", "layout"]).timeout(TIMEOUT))?;
    let kernel_log = guest.kernel_log()?.to_owned();

    let search = |what: String| {
        let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        DossierError::Search { what, said }
    };
    if output.exit != Exit::Code(0) {
        return Err(search(format!("ended with {:?}", output.exit)));
    }
    if let Some(splat) = kernlab_splat::scan(&kernel_log).into_iter().next() {
        return Err(DossierError::Splat(splat.title));
    }
    serde_json::from_slice(&output.result)
        .map_err(|error| search(format!("gave an answer that can't be read: {}", chain(&error))))
}
