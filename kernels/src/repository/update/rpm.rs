//! Resolves entries in an RPM repository.

use std::{collections::VecDeque, io::BufReader};

use jiff::Timestamp;

use super::{Bypassed, RepositoryError, Resolution, Unproven, UpdateError};
use crate::{
    catalog::{
        data::Catalog,
        lock::{LockedFile, LockedKernel, Place, Role},
        matrix::{Entry, RpmDir, RpmSource, Signs},
    },
    compression::{Bounded, Compression},
    image::members,
    progress::Observer,
    repository::{
        dependencies::Dependencies,
        mirror::{Mirror, Wanted},
        rpm::{
            XmlError, dependencies,
            primary::{Index, Package},
            proof::{self, Identity, ProofError},
            repomd::Primary,
        },
    },
    signature::{AsOf, Keyring, SignedBy},
};

const MAX_REPOMD: u64 = 4 << 20;
const MAX_MIRROR_LIST: u64 = 1 << 16;
/// The size limit of a package list, both compressed and uncompressed.
const MAX_PRIMARY: u64 = 512 << 20;
const MAX_PRIMARY_UNPACKED: u64 = 4 << 30;
/// The size limit of the headers before a package's payload.
const MAX_PREAMBLE: u64 = 128 << 20;

/// The kernels of one architecture in a repository. All entries of the repository share them.
pub(super) struct Repository {
    signs: Signs,
    keyring: Keyring,
    now: Timestamp,
    found: Found,
    /// Mirrors that were not tried yet.
    others: VecDeque<Mirror>,
    pub(super) bypassed: Bypassed,
}

/// The repository as the currently used mirror has it.
struct Found {
    url: String,
    index: Index,
    /// Relative to the mirror's URL.
    dir: String,
    /// The keys that signed the index; none if only packages are signed.
    signed_by: Vec<SignedBy>,
}

/// What an entry resolves to at one mirror. The inner error means that the mirror's packages do not
/// match its index.
type AtMirror = Result<Resolution, RepositoryError>;

impl Repository {
    /// Reads a repository from the first mirror that has it in a valid state.
    pub(super) fn read(
        catalog: &Catalog,
        entry: &Entry,
        source: &RpmSource,
        now: Timestamp,
    ) -> Result<Self, UpdateError> {
        let repository = catalog.matrix.repositories.get(&source.repository);
        let keyring = Keyring::load(repository.map(|r| &r.keys[..]).unwrap_or_default())?;
        let signs = repository.map(|repository| repository.signs).unwrap_or_default();
        let arch = entry.arch.rpm();
        let reader = Reader { catalog, source, arch, keyring: &keyring, signs, now };
        let wanted = Wanted::Now { fallback: None };
        let mut others = catalog.mirrors.of(&catalog.matrix, &source.repository, wanted).into();
        let mut bypassed = Vec::new();
        let found = reader.first_good(&mut others, &mut bypassed)?;
        Ok(Repository { signs, keyring, now, found, others, bypassed })
    }

    /// Moves on to the next valid mirror, after this one delivered a wrong package.
    pub(super) fn go_on(
        &mut self,
        catalog: &Catalog,
        entry: &Entry,
        source: &RpmSource,
        lie: RepositoryError,
    ) -> Result<(), UpdateError> {
        self.bypassed.push((self.found.url.clone(), lie));
        let (arch, keyring, signs, now) = (entry.arch.rpm(), &self.keyring, self.signs, self.now);
        let reader = Reader { catalog, source, arch, keyring, signs, now };
        self.found = reader.first_good(&mut self.others, &mut self.bypassed)?;
        Ok(())
    }

    /// What an entry resolves to now. If only packages are signed, downloads and checks those that
    /// are not in the lock.
    pub(super) fn resolve(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        source: &RpmSource,
        old: Option<&LockedKernel>,
        observer: &dyn Observer,
    ) -> Result<AtMirror, UpdateError> {
        let dependencies = dependencies::resolve(&self.found.index, &source.package)?;
        let locked = self.locked(entry, source, &dependencies);
        Ok(locked.and_then(|kernel| {
            let is_known = old.is_some_and(|old| old.same_files(&kernel));
            let signed_by = match self.signs {
                Signs::Index => self.found.signed_by.clone(),
                Signs::Packages if is_known => Vec::new(),
                Signs::Packages => self.prove(catalog, &kernel, &dependencies, observer)?,
            };
            Ok(Resolution { kernel, signed_by, unproven: None })
        }))
    }

    /// Like [`Repository::resolve`], but downloads no package. If only packages are signed, this
    /// checks their headers.
    pub(super) fn verify(
        &self,
        catalog: &Catalog,
        entry: &Entry,
        source: &RpmSource,
    ) -> Result<AtMirror, UpdateError> {
        let dependencies = dependencies::resolve(&self.found.index, &source.package)?;
        let locked = self.locked(entry, source, &dependencies);
        Ok(locked.and_then(|kernel| {
            let (signed_by, unproven) = match self.signs {
                Signs::Index => (self.found.signed_by.clone(), None),
                Signs::Packages => {
                    (self.prove_headers(catalog, &kernel, &dependencies)?, Some(Unproven::Payload))
                }
            };
            Ok(Resolution { kernel, signed_by, unproven })
        }))
    }

    fn locked(
        &self,
        entry: &Entry,
        source: &RpmSource,
        dependencies: &Dependencies<Package>,
    ) -> Result<LockedKernel, RepositoryError> {
        let file = |(role, package): &(Role, Package)| {
            let path = join(&self.found.dir, &package.path)
                .ok_or_else(|| RepositoryError::OutOfRepository { path: package.path.clone() })?;
            let place = Place::Repository { repository: source.repository.clone(), path };
            Ok(LockedFile { role: *role, place, size: package.size, sha256: package.sha256 })
        };
        Ok(LockedKernel {
            id: entry.id.clone(),
            source: entry.source.to_string(),
            release: dependencies.release.clone(),
            version: dependencies.version.clone(),
            snapshot: None,
            pinned: false,
            missing: dependencies.missing.clone(),
            files: dependencies
                .packages
                .iter()
                .map(file)
                .collect::<Result<_, RepositoryError>>()?,
        })
    }

    /// Checks that every package is signed and is the one in the index.
    fn prove(
        &self,
        catalog: &Catalog,
        kernel: &LockedKernel,
        dependencies: &Dependencies<Package>,
        observer: &dyn Observer,
    ) -> Result<Vec<SignedBy>, RepositoryError> {
        let stored = catalog.fetcher(observer).fetch(kernel)?;
        let mut signed_by = Vec::new();
        for (file, (_, package)) in stored.iter().zip(&dependencies.packages) {
            let identity = members::read(&catalog.store, file, |mut reader| {
                proof::prove(&mut reader, &self.keyring)
            });
            let identity = identity?;
            signed_by.extend(expect(package, &file.file, identity)?);
        }
        Ok(each_once(signed_by))
    }

    /// Checks that the header of every package is signed and describes the package in the index.
    /// Downloads no more of a package than that.
    fn prove_headers(
        &self,
        catalog: &Catalog,
        kernel: &LockedKernel,
        dependencies: &Dependencies<Package>,
    ) -> Result<Vec<SignedBy>, RepositoryError> {
        let mut signed_by = Vec::new();
        for (file, (_, package)) in kernel.files.iter().zip(&dependencies.packages) {
            let path = file.place.to_string();
            let beginning =
                catalog.client.beginning(&format!("{}/{path}", self.found.url), MAX_PREAMBLE);
            let mut beginning =
                beginning.map_err(|source| RepositoryError::Transfer { path, source })?;
            let identity = proof::prove_header(&mut beginning, &self.keyring);
            signed_by.extend(expect(package, file.name(), identity)?);
        }
        Ok(each_once(signed_by))
    }
}

/// The keys that signed a package, if it is the one in the index.
fn expect(
    package: &Package,
    file: &str,
    identity: Result<Identity, ProofError>,
) -> Result<Vec<SignedBy>, RepositoryError> {
    let unproven = |source| RepositoryError::Unproven { file: file.to_owned(), source };
    let Identity { nvra, signed_by } = identity.map_err(unproven)?;
    let (version, release) = (package.version.version(), package.version.release());
    let expected = format!("{}-{version}-{release}.{}", package.name, package.arch);
    match nvra == expected {
        true => Ok(signed_by),
        false => Err(unproven(ProofError::OtherPackage { found: nvra, expected })),
    }
}

fn each_once(keys: Vec<SignedBy>) -> Vec<SignedBy> {
    let mut unique = Vec::new();
    for key in keys {
        if !unique.contains(&key) {
            unique.push(key);
        }
    }
    unique
}

struct Reader<'a> {
    catalog: &'a Catalog,
    source: &'a RpmSource,
    arch: &'static str,
    keyring: &'a Keyring,
    signs: Signs,
    now: Timestamp,
}

impl Reader<'_> {
    fn first_good(
        &self,
        mirrors: &mut VecDeque<Mirror>,
        bypassed: &mut Bypassed,
    ) -> Result<Found, UpdateError> {
        while let Some(mirror) = mirrors.pop_front() {
            match self.read(&mirror) {
                Ok(found) => return Ok(found),
                Err(error) => bypassed.push((mirror.url, error)),
            }
        }
        let repository = self.source.repository.clone();
        Err(UpdateError::Repository { repository, attempts: std::mem::take(bypassed) })
    }

    fn read(&self, mirror: &Mirror) -> Result<Found, RepositoryError> {
        let dir = self.dir(mirror)?;
        let below = |path: &str| format!("{dir}/{path}");
        let repomd = self.get(mirror, &below("repodata/repomd.xml"), MAX_REPOMD)?;
        let mut signed_by = Vec::new();
        if self.signs == Signs::Index {
            let signature = self.get(mirror, &below("repodata/repomd.xml.asc"), MAX_REPOMD)?;
            let as_of = AsOf::Now(self.now);
            signed_by = self.keyring.verify_detached(&repomd, &signature, as_of)?.by;
        }
        let path = below("repodata/repomd.xml");
        let primary =
            Primary::parse(&repomd).map_err(|source| RepositoryError::Metadata { path, source })?;
        let path = join(&dir, &primary.path)
            .ok_or_else(|| RepositoryError::OutOfRepository { path: primary.path.clone() })?;
        let index = self.index(mirror, &path, &primary)?;
        Ok(Found { url: mirror.url.clone(), index, dir, signed_by })
    }

    /// The directory that contains `repodata/`, relative to the mirror's URL.
    fn dir(&self, mirror: &Mirror) -> Result<String, RepositoryError> {
        let path = match &self.source.dir {
            RpmDir::Path(path) => return Ok(path.clone()),
            RpmDir::NamedBy(path) => path,
        };
        let list = self.get(mirror, path, MAX_MIRROR_LIST)?;
        let list = String::from_utf8_lossy(&list);
        let dir = list.lines().map(str::trim).find(|line| !line.is_empty());
        let dir = dir.and_then(|line| below_host(line, &mirror.url));
        dir.ok_or_else(|| RepositoryError::MirrorList { path: path.clone() })
    }

    fn index(
        &self,
        mirror: &Mirror,
        path: &str,
        primary: &Primary,
    ) -> Result<Index, RepositoryError> {
        let limit = primary.size.unwrap_or(MAX_PRIMARY).min(MAX_PRIMARY);
        let document = self.get(mirror, path, limit)?;
        if !primary.digest.is_of(&document) {
            let path = path.to_owned();
            return Err(RepositoryError::OtherIndex { path, promised_by: "repomd.xml" });
        }
        self.parse(&document, primary.compression)
            .map_err(|source| RepositoryError::Metadata { path: path.to_owned(), source })
    }

    fn parse(&self, document: &[u8], compression: Compression) -> Result<Index, XmlError> {
        let reader = compression.reader(document).map_err(XmlError::Read)?;
        Index::parse(BufReader::new(Bounded::new(reader, MAX_PRIMARY_UNPACKED)), self.arch)
    }

    fn get(&self, mirror: &Mirror, path: &str, limit: u64) -> Result<Vec<u8>, RepositoryError> {
        super::get(self.catalog, mirror, path, limit)
    }
}

/// Joins a relative path to a directory, unless the result is outside the mirror.
fn join(dir: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains("://") {
        return None;
    }
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The part of a URL below the mirror's. A mirror list may name another host, which has the same
/// paths as the mirror.
fn below_host(address: &str, mirror: &str) -> Option<String> {
    let path = |url: &str| {
        let rest = url.split_once("://")?.1;
        Some(rest.split_once('/').map_or("", |(_, path)| path).trim_matches('/').to_owned())
    };
    let (address, mirror) = (path(address)?, path(mirror)?);
    let below = match mirror.as_str() {
        "" => address.as_str(),
        mirror => address.strip_prefix(mirror)?.strip_prefix('/')?,
    };
    join("", below)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("8/BaseOS/x86_64/os", "Packages/a.rpm", Some("8/BaseOS/x86_64/os/Packages/a.rpm"))]
    #[case("2/core/2.0/x86_64/f00", "../../../../../blobstore/b/a.rpm", Some("blobstore/b/a.rpm"))]
    #[case("2/core", "../../../etc/passwd", None)]
    #[case("2/core", "./a//b.rpm", Some("2/core/a/b.rpm"))]
    #[case("2/core", "/etc/passwd", None)]
    #[case("2/core", "http://elsewhere.example.org/a.rpm", None)]
    #[case("2/core", "../..", None)]
    fn paths(#[case] dir: &str, #[case] path: &str, #[case] expected: Option<&str>) {
        assert_eq!(join(dir, path).as_deref(), expected);
    }

    #[rstest]
    #[case("https://cdn.example.org/2/x/f00/", "http://127.0.0.1:80", Some("2/x/f00"))]
    #[case("https://cdn.example.org/am/2/x", "https://mirror.example.org/am", Some("2/x"))]
    #[case("https://cdn.example.org/2/x", "https://mirror.example.org/am", None)]
    #[case("2/x/f00", "https://mirror.example.org", None)]
    #[case("https://cdn.example.org/2/../../x", "https://mirror.example.org", None)]
    #[case("<html>", "https://mirror.example.org", None)]
    fn addresses(#[case] address: &str, #[case] mirror: &str, #[case] expected: Option<&str>) {
        assert_eq!(below_host(address, mirror).as_deref(), expected);
    }
}
