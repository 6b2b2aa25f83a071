//! The shell and the small tools of guests whose programs this machine can't run: Debian's busybox for
//! their architecture.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use kernlab_core::outcome::Reason;

use crate::{
    catalog::{
        Kernels,
        error::{Error, ErrorKind},
        lock::{LockedFile, Place, Role},
        matrix::{Arch, Entry},
    },
    digest::Digest,
    image::{FilesError, members::for_each_member},
    progress::{Event, Observer},
    repository::fetch::{FetchError, Purpose, StoredPackage},
    store::{Store, StoreError, write_read_only},
};

/// A busybox in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busybox {
    /// The program, which is static.
    pub path: PathBuf,
    /// The names that it can be called by, such as `sh`.
    pub applets: Vec<String>,
}

/// A package of Debian.
struct Pinned {
    arch: Arch,
    size: u64,
    sha256: &'static str,
}

/// The version of `busybox-static` in Debian 13.
const VERSION: &str = "1.37.0-6+b9";
/// A date at which the public archive of snapshots has it.
const SNAPSHOT: &str = "20261121T091544Z";

const PINNED: [Pinned; 2] = [
    Pinned {
        arch: Arch::X86_64,
        size: 955_316,
        sha256: "598a3fd92bdafc34cd81196b2952ad36e910e47a4ecf162f8ce5e8e262598e53",
    },
    Pinned {
        arch: Arch::Aarch64,
        size: 847_552,
        sha256: "c833be48abfa16bc19c4966ec93e289ff1ce5d2f1476cad3a57bd105378cd15c",
    },
];

/// The program in the store.
const PROGRAM: &str = "busybox";
/// The names of its applets, one a line.
const APPLETS: &str = "applets";
/// It has two megabytes.
const MAX_PROGRAM: u64 = 64 << 20;

impl Pinned {
    fn of(arch: Arch) -> &'static Pinned {
        let [x86_64, aarch64] = &PINNED;
        match arch {
            Arch::X86_64 => x86_64,
            Arch::Aarch64 => aarch64,
        }
    }

    fn digest(&self) -> Digest {
        self.sha256.parse().unwrap_or_else(|error| unreachable!("{}: {error}", self.sha256))
    }

    fn file(&self) -> LockedFile {
        let arch = self.arch.debian();
        LockedFile {
            role: Role::Tools,
            place: Place::Repository {
                repository: "debian".to_owned(),
                path: format!("pool/main/b/busybox/busybox-static_{VERSION}_{arch}.deb"),
            },
            size: self.size,
            sha256: self.digest(),
        }
    }
}

/// The digests of the packages.
pub(crate) fn digests() -> impl Iterator<Item = Digest> {
    PINNED.iter().map(Pinned::digest)
}

/// Why there is no busybox for guests of an architecture.
#[derive(Debug, thiserror::Error)]
pub enum BusyboxError {
    /// It can't be downloaded.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It can't be unpacked.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The package has something else in it.
    #[error("{file} has no program bin/{PROGRAM} that names its applets")]
    NoApplets {
        /// The package.
        file: String,
    },
}

impl From<StoreError> for BusyboxError {
    fn from(error: StoreError) -> Self {
        BusyboxError::Files(error.into())
    }
}

impl BusyboxError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            BusyboxError::Fetch(error) => error.reason(),
            BusyboxError::Files(error) => error.reason(),
            BusyboxError::NoApplets { .. } => Reason::BadPackage,
        }
    }
}

impl Kernels {
    /// Busybox for guests of this kernel, downloaded if necessary from the mirrors that kernels come from.
    pub fn busybox(&self, entry: &Entry, observer: &dyn Observer) -> Result<Busybox, Error> {
        let purpose =
            Purpose { id: &entry.id, snapshot: Some(SNAPSHOT), pinned: false, is_locked: false };
        let package = Pinned::of(entry.arch).file();
        let fetched = self.catalog.fetcher(observer).fetch_file(purpose, &package);
        let unpacked = fetched
            .map_err(BusyboxError::from)
            .and_then(|package| unpacked(self.store(), &package))
            .map_err(|error| ErrorKind::Busybox(error).of(&entry.id));
        observer.observe(&entry.id, Event::Ready);
        unpacked
    }
}

/// The program of a package, which is unpacked unless that was done before.
fn unpacked(store: &Store, package: &StoredPackage) -> Result<Busybox, BusyboxError> {
    let no_applets = || BusyboxError::NoApplets { file: package.file.clone() };
    let key = Digest::of(format!("busybox {}", package.object.digest()).as_bytes()).to_string();
    let whole = |dir: &Path| {
        let names = fs::read_to_string(dir.join(APPLETS)).ok()?;
        dir.join(PROGRAM).is_file().then(|| names.lines().map(str::to_owned).collect())
    };
    let (dir, applets) = store.artifact(&key, whole, |scratch| {
        let mut program = None;
        for_each_member(store, package, |member| {
            if member.path.trim_start_matches("usr/") == "bin/busybox" {
                let content = member.read(MAX_PROGRAM);
                program = Some(content.map_err(|source| FilesError::Package {
                    file: package.file.clone(),
                    source,
                })?);
            }
            Ok::<_, FilesError>(())
        })?;
        let program = program.ok_or_else(no_applets)?;
        let names = applets(&program).ok_or_else(no_applets)?;
        let path = scratch.join(PROGRAM);
        write_read_only(&path, &program)?;
        fs::set_permissions(&path, Permissions::from_mode(0o555))
            .map_err(|error| StoreError::io("write", &path, error))?;
        Ok::<_, BusyboxError>(write_read_only(&scratch.join(APPLETS), names.join("\n").as_bytes())?)
    })?;
    Ok(Busybox { path: dir.join(PROGRAM), applets })
}

/// The names that busybox looks itself up by. They are in order, each with a zero behind it, and an empty
/// one ends them: `applet_names` of include/applet_tables.h, which its build makes.
fn applets(program: &[u8]) -> Option<Vec<String>> {
    // The first two are other names of test(1).
    const FIRST: &[u8] = b"[\0[[\0";
    let start = program.windows(FIRST.len()).position(|bytes| bytes == FIRST)?;
    let names = program[start..].split(|&byte| byte == 0).take_while(|name| !name.is_empty());
    let names = names.map(|name| str::from_utf8(name).map(str::to_owned));
    let names: Vec<String> = names.collect::<Result<_, _>>().ok()?;
    (names.is_sorted() && names.iter().any(|name| name == "sh")).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::archive::{Entry as Member, deb, tar};

    #[test]
    fn busybox_names_its_applets() {
        let program = b"\x7fELF [[\0 code[\0[[\0acpid\0ash\0sh\0zcat\0\0 more";
        assert_eq!(applets(program).unwrap(), ["[", "[[", "acpid", "ash", "sh", "zcat"]);
        for other in [&b"[[\0["[..], b"[\0[[\0zcat\0sh\0\0", b"[\0[[\0cat\0\0", b"[\0[[\0\xff\0"] {
            assert_eq!(applets(other), None);
        }
    }

    #[test]
    fn a_package_is_unpacked_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let unpack = |member: &str| {
            let content = b"[\0[[\0sh\0\0";
            let content = deb(&tar(&[Member::File(member, content)]));
            let mut partial = store.partial(Digest::of(&content), content.len() as u64).unwrap();
            partial.append(&content).unwrap();
            let object = partial.commit(&store).unwrap().unwrap();
            unpacked(&store, &StoredPackage { file: "busybox.deb".to_owned(), object })
        };
        let busybox = unpack("./usr/bin/busybox").unwrap();
        assert_eq!(busybox.applets, ["[", "[[", "sh"]);
        assert_eq!(fs::metadata(&busybox.path).unwrap().permissions().mode() & 0o777, 0o555);
        assert_eq!(unpack("./usr/bin/busybox").unwrap(), busybox);
        let error = unpack("./usr/bin/toybox").unwrap_err();
        assert_eq!(
            error.to_string(),
            "busybox.deb has no program bin/busybox that names its applets"
        );
    }
}
