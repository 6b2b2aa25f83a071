//! Whether entries resolve: the repositories are asked, and nothing but their metadata is
//! downloaded.

use std::sync::Arc;

use super::{Depth, Repositories, RepositoryError, Resolution, UpdateError};
use crate::{
    catalog::{
        data::Catalog,
        matrix::{Entry, Origin},
    },
    progress::Silent,
    repository::{deb::release::ReleaseError, download::TransferError, fetch::FetchError},
};

/// What became of entries that were to be verified.
#[derive(Debug)]
pub struct Verification {
    /// In the order in which they were asked for.
    pub entries: Vec<Verified>,
    /// Addresses that could not be used although a later one could, and why.
    pub bypassed: Vec<(String, RepositoryError)>,
}

/// An entry, and whether it resolves.
#[derive(Debug)]
pub struct Verified {
    /// The entry's id.
    pub id: String,
    /// What it resolves to; nothing for an entry whose files are on this machine.
    pub outcome: Result<Option<Resolution>, Unverified>,
    /// Whether that is what the lock has; nothing if the entry is not in the lock.
    pub is_locked: Option<bool>,
}

/// Why an entry does not resolve.
#[derive(Clone, Debug)]
pub enum Unverified {
    /// Its repository could not be reached, or has nothing of this time: nothing can be said.
    Unreachable(Arc<UpdateError>),
    /// What the repository says is not signed as it should be, can't be understood, or lacks the
    /// kernel.
    Wrong(Arc<UpdateError>),
}

impl Unverified {
    /// The error itself.
    pub fn error(&self) -> &UpdateError {
        let (Unverified::Unreachable(error) | Unverified::Wrong(error)) = self;
        error
    }
}

/// Asks the repositories what these entries are, and believes as an update does. No lock is written,
/// no kernel downloaded.
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
    let lock = match entry.origin {
        Origin::Shared => &catalog.lock,
        Origin::Local | Origin::AdHoc => &catalog.local_lock,
    };
    let old = lock.get(&entry.id);
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

/// Whether something was learned that is not as it should be. If not, nothing was learned.
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
        // A stale mirror, or a wrong clock: what the suite is now stays unknown.
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
