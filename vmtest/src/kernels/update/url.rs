//! What is at an address.

use super::UpdateError;
use crate::kernels::{
    build,
    lock::{LockedFile, LockedKernel, Place, Role},
    matrix::{Entry, Source, UrlSource},
    observer::Observer,
    phases::Kernels,
    unpack,
};

/// What an entry is. It can't change without its digest in the matrix, so it is looked at once.
pub(super) fn resolve(
    kernels: &Kernels,
    entry: &Entry,
    source: &UrlSource,
    old: Option<&LockedKernel>,
    observer: &dyn Observer,
) -> Result<LockedKernel, UpdateError> {
    if let Some(old) = old.filter(|old| old.is_of(entry)) {
        return Ok(old.clone());
    }
    let role = match &entry.source {
        Source::Build(_) => Role::Source,
        _ => Role::Image,
    };
    let size = kernels
        .client
        .size(&source.url)
        .map_err(|error| UpdateError::Address { url: source.url.clone(), source: error })?;
    let file =
        LockedFile { role, place: Place::Url(source.url.clone()), size, sha256: source.sha256 };
    let mut kernel = LockedKernel {
        id: entry.id.clone(),
        source: entry.source.to_string(),
        release: String::new(),
        version: String::new(),
        snapshot: None,
        missing: Vec::new(),
        files: vec![file],
    };
    for file in kernels.fetcher(observer).fetch(&kernel).map_err(Box::new)? {
        let release = match role {
            Role::Source => build::version_of(&kernels.store, &file),
            _ => unpack::release_of(&kernels.store, &file),
        };
        kernel.release = release.map_err(Box::new)?;
    }
    kernel.version = kernel.release.clone();
    Ok(kernel)
}
