//! Resolves entries in a suite of a Debian repository, current or dated.

use jiff::Timestamp;

use super::{Bypassed, RepositoryError, UpdateError};
use crate::{
    catalog::{
        data::Catalog,
        lock::{LockedFile, LockedKernel, Place},
        matrix::{DebSource, Entry, Source},
    },
    compression::Compression,
    repository::{
        deb::{
            dependencies,
            index::Index,
            release::{IndexFile, Release, is_flat},
        },
        download::TransferError,
        mirror::{Mirror, Wanted},
        snapshot::SnapshotDate,
    },
    signature::{AsOf, Keyring, Signed, SignedBy},
};

const MAX_RELEASE: u64 = 16 << 20;
const MAX_INDEX: u64 = 256 << 20;

/// A suite's index for one architecture. All entries of the suite share it.
pub(super) struct Suite {
    found: Found,
    pub(super) bypassed: Bypassed,
}

/// The suite as one mirror has it.
struct Found {
    index: Index,
    /// A date for which dated archives have the same state.
    snapshot: String,
    signed_by: Vec<SignedBy>,
}

impl Suite {
    /// Reads a suite from the first mirror that has it in a valid state.
    pub(super) fn read(
        catalog: &Catalog,
        entry: &Entry,
        source: &DebSource,
        now: Timestamp,
    ) -> Result<Self, UpdateError> {
        let keys = catalog.matrix.repositories.get(&source.repository).map(|r| &r.keys[..]);
        let keyring = Keyring::load(keys.unwrap_or_default())?;
        if let Some(date) = source.snapshot.filter(|date| date.time() > now) {
            return Err(UpdateError::Future { date });
        }
        let today = SnapshotDate::from(now).to_string();
        let pinned = source.snapshot.map(|date| date.to_string());
        let wanted = match &pinned {
            Some(date) => Wanted::At(date),
            None => Wanted::Now { fallback: Some(&today) },
        };
        let as_of = source.snapshot.map_or(AsOf::Now(now), |date| AsOf::Kept(date.time()));
        let arch = entry.arch.debian();
        let reader = Reader { catalog, source, arch, keyring: &keyring, as_of };
        let mirrors = catalog.mirrors.of(&catalog.matrix, &source.repository, wanted);
        super::first_good(&source.repository, mirrors, |mirror| reader.read(mirror))
            .map(|(found, bypassed)| Suite { found, bypassed })
    }

    /// The keys that signed the suite.
    pub(super) fn signed_by(&self) -> &[SignedBy] {
        &self.found.signed_by
    }

    pub(super) fn resolve(
        &self,
        entry: &Entry,
        source: &DebSource,
    ) -> Result<LockedKernel, UpdateError> {
        let dependencies = match &entry.source {
            Source::Build(_) => dependencies::source(&self.found.index, &source.package)?,
            _ => dependencies::resolve(&self.found.index, &source.package)?,
        };
        let files = dependencies.packages.into_iter().map(|(role, package)| LockedFile {
            role,
            place: Place::Repository { repository: source.repository.clone(), path: package.path },
            size: package.size,
            sha256: package.sha256,
        });
        Ok(LockedKernel {
            id: entry.id.clone(),
            source: entry.source.to_string(),
            release: dependencies.release,
            version: dependencies.version,
            snapshot: Some(match source.snapshot {
                Some(date) => date.to_string(),
                None => self.found.snapshot.clone(),
            }),
            pinned: source.snapshot.is_some(),
            missing: dependencies.missing,
            files: files.collect(),
        })
    }
}

struct Reader<'a> {
    catalog: &'a Catalog,
    source: &'a DebSource,
    arch: &'static str,
    keyring: &'a Keyring,
    as_of: AsOf,
}

impl Reader<'_> {
    fn read(&self, mirror: &Mirror) -> Result<Found, RepositoryError> {
        let Signed { text, by } = self.signed_release(mirror)?;
        let release = Release::parse(&text, &self.source.suite)?;
        release.check_date(self.as_of)?;
        let (file, compression) = release.index(&self.source.component, self.arch)?;
        let index = self.index(mirror, &release, file, compression)?;
        let index = Index::parse(&index)?;
        Ok(Found { index, snapshot: release.snapshot(), signed_by: by })
    }

    fn signed_release(&self, mirror: &Mirror) -> Result<Signed, RepositoryError> {
        match self.get(mirror, "InRelease", MAX_RELEASE) {
            Ok(document) => Ok(self.keyring.verify_inline(&document, self.as_of)?),
            // Old repositories have the signatures in a separate file.
            Err(RepositoryError::Transfer { source: TransferError::Status(status), .. })
                if status.is_client_error() =>
            {
                let document = self.get(mirror, "Release", MAX_RELEASE)?;
                let signatures = self.get(mirror, "Release.gpg", MAX_RELEASE)?;
                Ok(self.keyring.verify_detached(&document, &signatures, self.as_of)?)
            }
            Err(error) => Err(error),
        }
    }

    fn index(
        &self,
        mirror: &Mirror,
        release: &Release,
        file: &IndexFile,
        compression: Compression,
    ) -> Result<String, RepositoryError> {
        let by_hash = release.by_hash.then(|| self.get(mirror, &file.path_by_hash(), file.size));
        let document = match by_hash {
            Some(Ok(document)) => document,
            // An incomplete mirror may lack it. The file under its plain name serves as well.
            _ => self.get(mirror, &file.path, file.size)?,
        };
        let path = || file.path.clone();
        if !file.digest.is_of(&document) {
            return Err(RepositoryError::OtherIndex {
                path: path(),
                promised_by: "signed release file",
            });
        }
        let text = compression
            .decompress(&document, MAX_INDEX)
            .map_err(|source| RepositoryError::Decompress { path: path(), source })?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn get(&self, mirror: &Mirror, path: &str, limit: u64) -> Result<Vec<u8>, RepositoryError> {
        let suite = self.source.suite.as_str();
        let path = match is_flat(suite) {
            true => format!("{}{path}", suite.trim_start_matches("./").trim_start_matches('/')),
            false => format!("dists/{suite}/{path}"),
        };
        super::get(self.catalog, mirror, &path, limit)
    }
}
