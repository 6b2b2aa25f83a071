//! Resolves entries whose source is a URL.

use super::{Resolution, Unproven, UpdateError};
use crate::{
    catalog::{
        data::Catalog,
        lock::{LockedFile, LockedKernel, Place, Role},
        matrix::{Entry, Source, UrlSource},
    },
    from_source,
    image::unpack,
    progress::Observer,
    repository::download::TransferError,
};

/// What an entry resolves to. The digest in the matrix fixes its content, so this inspects it only
/// once.
pub(super) fn resolve(
    catalog: &Catalog,
    entry: &Entry,
    source: &UrlSource,
    old: Option<&LockedKernel>,
    observer: &dyn Observer,
) -> Result<Resolution, UpdateError> {
    let proven = |kernel| Resolution { kernel, signed_by: Vec::new(), unproven: None };
    if let Some(old) = old.filter(|old| old.is_of(entry)) {
        return Ok(proven(old.clone()));
    }
    let mut kernel = described(catalog, entry, source)?;
    let is_source = kernel.files.iter().all(|file| file.role == Role::Source);
    for file in catalog.fetcher(observer).fetch(&kernel)? {
        kernel.release = match is_source {
            true => from_source::version_of(&catalog.store, &file).map_err(Box::new)?,
            false => unpack::release_of(&catalog.store, &file)?,
        };
    }
    kernel.version = kernel.release.clone();
    Ok(proven(kernel))
}

/// Checks that the URL has a file, and that its size is the locked one if there is one. Downloads
/// nothing.
pub(super) fn verify(
    catalog: &Catalog,
    entry: &Entry,
    source: &UrlSource,
    old: Option<&LockedKernel>,
) -> Result<Resolution, UpdateError> {
    let mut kernel = described(catalog, entry, source)?;
    if let Some(old) = old.filter(|old| old.is_of(entry)) {
        let size = |kernel: &LockedKernel| kernel.files.first().map_or(0, |file| file.size);
        let (expected, found) = (size(old), size(&kernel));
        if expected != found {
            let wrong = TransferError::WrongSize { expected, found };
            return Err(UpdateError::Address { url: source.url.clone(), source: wrong });
        }
        kernel = old.clone();
    }
    Ok(Resolution { kernel, signed_by: Vec::new(), unproven: Some(Unproven::Content) })
}

/// What is known of a file without downloading it. Its release is not.
fn described(
    catalog: &Catalog,
    entry: &Entry,
    source: &UrlSource,
) -> Result<LockedKernel, UpdateError> {
    let role = match &entry.source {
        Source::Build(_) => Role::Source,
        _ => Role::Image,
    };
    let size = catalog
        .client
        .size(&source.url)
        .map_err(|error| UpdateError::Address { url: source.url.clone(), source: error })?;
    let file =
        LockedFile { role, place: Place::Url(source.url.clone()), size, sha256: source.sha256 };
    Ok(LockedKernel {
        id: entry.id.clone(),
        source: entry.source.to_string(),
        release: String::new(),
        version: String::new(),
        snapshot: None,
        pinned: false,
        missing: Vec::new(),
        files: vec![file],
    })
}
