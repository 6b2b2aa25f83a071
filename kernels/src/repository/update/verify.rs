//! Checks whether entries resolve. Downloads only the metadata of repositories.

use std::sync::Arc;

use super::{Depth, Repositories, RepositoryError, Resolution, UpdateError};
use crate::{
    catalog::{data::Catalog, matrix::Entry},
    progress::Silent,
    repository::{deb::release::ReleaseError, download::TransferError, fetch::FetchError},
};

/// The result of a verification.
#[derive(Debug)]
pub struct Verification {
    /// In the order of the request.
    pub entries: Vec<Verified>,
    /// URLs that failed although a later one worked, and why.
    pub bypassed: Vec<(String, RepositoryError)>,
}

/// Whether one entry resolves.
#[derive(Debug)]
pub struct Verified {
    pub id: String,
    /// What it resolves to; `None` for an entry whose files are on this machine.
    pub outcome: Result<Option<Resolution>, Unverified>,
    /// Whether that matches the lock; `None` if the entry is not in the lock.
    pub is_locked: Option<bool>,
}

/// Why an entry does not resolve.
#[derive(Clone, Debug)]
pub enum Unverified {
    /// The repository could not be reached, or has no current state. The entry may be good or bad.
    Unreachable(Arc<UpdateError>),
    /// The repository's metadata is not signed as required, is malformed, or lacks the kernel.
    Wrong(Arc<UpdateError>),
}

impl Unverified {
    pub fn error(&self) -> &UpdateError {
        let (Unverified::Unreachable(error) | Unverified::Wrong(error)) = self;
        error
    }
}

/// Resolves these entries and checks signatures as an update does, but writes no lock and downloads
/// no kernel.
pub(crate) fn verify(catalog: &Catalog, entries: &[Entry]) -> Verification {
    let mut repositories = Repositories::new(Depth::Metadata);
    let verify = |entry| verify_entry(catalog, &mut repositories, entry);
    let entries = entries.iter().map(verify).collect();
    Verification { entries, bypassed: repositories.bypassed() }
}

fn verify_entry(catalog: &Catalog, repositories: &mut Repositories, entry: &Entry) -> Verified {
    let id = entry.id.clone();
    if !entry.source.is_locked() {
        return Verified { id, outcome: Ok(None), is_locked: None };
    }
    let old = catalog.locks.get(entry);
    let resolved = repositories.resolve(catalog, entry, old, &Silent);
    let outcome = resolved.map(Some).map_err(|error| match is_wrong(&error) {
        true => Unverified::Wrong(error),
        false => Unverified::Unreachable(error),
    });
    let is_locked = match &outcome {
        Ok(Some(resolution)) => old.map(|old| old.same_files(&resolution.kernel)),
        _ => None,
    };
    Verified { id, outcome, is_locked }
}

/// Whether an error proves that something is wrong. Other errors prove nothing.
fn is_wrong(error: &UpdateError) -> bool {
    match error {
        UpdateError::Repository { attempts, .. } => {
            attempts.iter().any(|(_, error)| is_wrong_at_address(error))
        }
        UpdateError::Address { source, .. } => is_wrong_document(source),
        UpdateError::Fetch(error) => !matches!(
            error,
            FetchError::Unreachable { .. }
                | FetchError::Vanished { .. }
                | FetchError::Offline { .. }
        ),
        UpdateError::Files(_) | UpdateError::FromSource(_) => true,
        UpdateError::Dependencies(_) | UpdateError::Key(_) | UpdateError::Future { .. } => true,
    }
}

fn is_wrong_at_address(error: &RepositoryError) -> bool {
    match error {
        RepositoryError::Transfer { source, .. } => is_wrong_document(source),
        // A stale mirror or a wrong clock: the suite's current state stays unknown.
        RepositoryError::Release(
            ReleaseError::Expired(_)
            | ReleaseError::FromTheFuture(_)
            | ReleaseError::OtherDate { .. },
        ) => false,
        _ => true,
    }
}

fn is_wrong_document(error: &TransferError) -> bool {
    matches!(
        error,
        TransferError::TooLarge { .. }
            | TransferError::WrongSize { .. }
            | TransferError::WrongDigest
    )
}
