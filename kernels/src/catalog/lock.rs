//! The format of `kernels.lock`: what each entry of the matrix resolved to.
//!
//! An entry missing from the lock is added when it is first needed. Only `kernels update` changes
//! existing lock entries.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::matrix::{Entry, Release},
    digest::Digest,
    document::{Document, DocumentError},
    paths::program,
};

const SCHEMA: u32 = 1;

const PROVENANCE: &str = "\
# Every file was reached through a signed index, is a signed package, or is named by its digest.
";

/// The lock entries, by entry id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lock {
    kernels: BTreeMap<String, LockedKernel>,
}

/// What one entry resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedKernel {
    /// The entry's id.
    pub id: String,
    /// The entry's source at the time it was resolved.
    pub source: String,
    /// What `uname -r` prints in the guest.
    pub release: String,
    /// The version of the packages.
    pub version: String,
    /// A date at which the public snapshot archive has the files: `20261121T001241Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Whether the entry pins that date. Then only a dated archive has the files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Packages that this kernel depends on and that its repository no longer offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The files to download.
    #[serde(rename = "file")]
    pub files: Vec<LockedFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FileTable", into = "FileTable")]
pub struct LockedFile {
    pub role: Role,
    pub place: Place,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the whole file.
    pub sha256: Digest,
}

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the mirrors of a repository.
    Repository {
        /// A repository of the matrix.
        repository: String,
        /// Path relative to a mirror's URL.
        path: String,
    },
    /// At a fixed URL.
    Url(String),
}

impl LockedFile {
    /// The file's name: the last part of its path or URL.
    pub fn name(&self) -> &str {
        let address = match &self.place {
            Place::Repository { path, .. } => path,
            Place::Url(url) => url,
        };
        address.rsplit('/').next().unwrap_or(address)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Repository { path, .. } => f.write_str(path),
            Place::Url(url) => f.write_str(url),
        }
    }
}

/// A file as the lock spells it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    size: u64,
    sha256: Digest,
}

impl TryFrom<FileTable> for LockedFile {
    type Error = &'static str;

    fn try_from(table: FileTable) -> Result<Self, &'static str> {
        let FileTable { role, repository, path, url, size, sha256 } = table;
        let place = match (repository, path, url) {
            (Some(repository), Some(path), None) => Place::Repository { repository, path },
            (None, None, Some(url)) => Place::Url(url),
            _ => return Err("expected either `repository` and `path`, or `url`"),
        };
        Ok(LockedFile { role, place, size, sha256 })
    }
}

impl From<LockedFile> for FileTable {
    fn from(file: LockedFile) -> Self {
        let LockedFile { role, place, size, sha256 } = file;
        let (repository, path, url) = match place {
            Place::Repository { repository, path } => (Some(repository), Some(path), None),
            Place::Url(url) => (None, None, Some(url)),
        };
        FileTable { role, repository, path, url, size, sha256 }
    }
}

/// What a package is downloaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The kernel image, and in older packages also everything else.
    Image,
    /// The configuration it was built with.
    Config,
    /// Its modules.
    Modules,
    /// The kernel's source code.
    Source,
    /// Programs for its guests, which no lock names.
    Tools,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockTable {
    schema: toml::Spanned<u32>,
    #[serde(default, rename = "kernel")]
    kernels: Vec<LockedKernel>,
}

impl Lock {
    /// Reads a lock. A file that does not exist is an empty lock.
    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        match Document::read_if_there(path)? {
            None => Ok(Lock::default()),
            Some(document) => Lock::parse(&document),
        }
    }

    pub(crate) fn parse(document: &Document) -> Result<Self, DocumentError> {
        let table: LockTable = document.parse()?;
        if *table.schema.get_ref() != SCHEMA {
            let message = format!(
                "unknown schema {}: expected {SCHEMA}; write a new lock with `{} kernels update`",
                table.schema.get_ref(),
                program()
            );
            return Err(document.invalid(table.schema.span(), message));
        }
        Ok(table.kernels.into_iter().collect())
    }

    /// The lock entry of this id.
    pub fn get(&self, id: &str) -> Option<&LockedKernel> {
        self.kernels.get(id)
    }

    /// Adds or replaces a lock entry.
    pub fn insert(&mut self, kernel: LockedKernel) {
        self.kernels.insert(kernel.id.clone(), kernel);
    }

    /// Adds or replaces lock entries.
    pub fn extend(&mut self, kernels: impl IntoIterator<Item = LockedKernel>) {
        kernels.into_iter().for_each(|kernel| self.insert(kernel));
    }

    /// Makes the changes of an update: entries that are replaced, and those that are removed.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for Change { id, new, .. } in changes {
            match new {
                Some(kernel) => self.insert(kernel),
                None => drop(self.kernels.remove(&id)),
            }
        }
    }

    /// Removes lock entries that `keep` rejects.
    pub fn retain(&mut self, mut keep: impl FnMut(&LockedKernel) -> bool) {
        self.kernels.retain(|_, kernel| keep(kernel));
    }

    /// All lock entries, ordered by id.
    pub fn kernels(&self) -> impl Iterator<Item = &LockedKernel> {
        self.kernels.values()
    }

    /// The text of the file: first the kernels in the order of these ids, then all others.
    pub fn render<'a>(&self, order: impl Iterator<Item = &'a str>) -> String {
        let mut left: BTreeMap<&str, &LockedKernel> =
            self.kernels.iter().map(|(id, kernel)| (id.as_str(), kernel)).collect();
        let mut kernels: Vec<_> = order.filter_map(|id| left.remove(id)).cloned().collect();
        kernels.extend(left.into_values().cloned());
        let table = LockTable { schema: toml::Spanned::new(0..0, SCHEMA), kernels };
        match toml::to_string(&table) {
            Ok(text) => format!(
                "# Written by `{} kernels update`, and by commands that need a kernel it lacks; do not \
                 edit.\n{PROVENANCE}\n{text}",
                program()
            ),
            Err(error) => unreachable!("a lock has only strings and numbers: {error}"),
        }
    }

    /// The differences from this lock to a newer one.
    pub fn changes(&self, newer: &Lock) -> Vec<Change> {
        let ids: std::collections::BTreeSet<_> =
            self.kernels.keys().chain(newer.kernels.keys()).collect();
        let change = |id: &String| match (self.kernels.get(id), newer.kernels.get(id)) {
            (Some(old), Some(new)) if old == new => None,
            (old, new) => Some(Change { id: id.clone(), old: old.cloned(), new: new.cloned() }),
        };
        ids.into_iter().filter_map(change).collect()
    }
}

impl FromIterator<LockedKernel> for Lock {
    fn from_iter<I: IntoIterator<Item = LockedKernel>>(kernels: I) -> Self {
        Lock { kernels: kernels.into_iter().map(|kernel| (kernel.id.clone(), kernel)).collect() }
    }
}

impl LockedKernel {
    /// Whether this was resolved from the entry's current source.
    pub fn is_of(&self, entry: &Entry) -> bool {
        self.source == entry.source.to_string()
    }

    /// The release that selections compare with.
    pub fn series(&self) -> Option<Release> {
        Release::of_uname(&self.release)
    }

    /// The total download size in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether both name the same files, regardless of the snapshot date.
    pub fn same_files(&self, other: &LockedKernel) -> bool {
        let undated = LockedKernel { snapshot: other.snapshot.clone(), ..self.clone() };
        undated == *other
    }
}

/// A difference between two locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The entry's id.
    pub id: String,
    pub old: Option<LockedKernel>,
    pub new: Option<LockedKernel>,
}

impl fmt::Display for Change {
    /// One line for the kernel, then lines for changes of its source, files and missing packages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let describe = |kernel: &LockedKernel| match &kernel.version {
            version if *version == kernel.release => version.clone(),
            version => format!("{} ({version})", kernel.release),
        };
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if describe(old) == describe(new) => {
                write!(f, "~ {}: {}", self.id, describe(new))?;
            }
            (Some(old), Some(new)) => {
                write!(f, "~ {}: {} -> {}", self.id, describe(old), describe(new))?;
            }
            (None, Some(new)) => write!(f, "+ {}: {}", self.id, describe(new))?,
            (Some(old), None) => {
                write!(f, "- {}: {}, which no entry names any more", self.id, describe(old))?;
            }
            (None, None) => {}
        }
        if let (Some(old), Some(new)) = (&self.old, &self.new)
            && old.source != new.source
        {
            write!(f, "\n    from {:?}\n      to {:?}", old.source, new.source)?;
        }
        let files = |kernel: &Option<LockedKernel>| {
            kernel.iter().flat_map(|kernel| kernel.files.clone()).collect::<Vec<_>>()
        };
        let (old, new) = (files(&self.old), files(&self.new));
        for file in old.iter().filter(|file| !new.contains(file)) {
            match new.iter().find(|other| other.place == file.place) {
                // A file replaced under the same name deserves a close look.
                Some(other) => write!(
                    f,
                    "\n    ~ {} was replaced: {} -> {} bytes, SHA-256 {:.12}... -> {:.12}...",
                    file.place,
                    file.size,
                    other.size,
                    file.sha256.to_string(),
                    other.sha256.to_string()
                )?,
                None => write!(f, "\n    - {}", file.place)?,
            }
        }
        let is_new = |file: &&LockedFile| !old.iter().any(|other| other.place == file.place);
        for file in new.iter().filter(is_new) {
            write!(f, "\n    + {} ({} bytes)", file.place, file.size)?;
        }
        let missing = |kernel: &Option<LockedKernel>| {
            kernel.iter().flat_map(|kernel| kernel.missing.clone()).collect::<Vec<_>>()
        };
        let (old, new) = (missing(&self.old), missing(&self.new));
        for package in new.iter().filter(|package| !old.contains(package)) {
            write!(f, "\n    ! {package} is no longer in the repository")?;
        }
        for package in old.iter().filter(|package| self.new.is_some() && !new.contains(package)) {
            write!(f, "\n    ! {package} is no longer missing")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(id: &str, release: &str) -> LockedKernel {
        LockedKernel {
            id: id.to_owned(),
            source: "deb debian s main p".to_owned(),
            release: release.to_owned(),
            version: "1-1".to_owned(),
            snapshot: Some("20261121T001241Z".to_owned()),
            pinned: false,
            missing: Vec::new(),
            files: vec![LockedFile {
                role: Role::Image,
                place: Place::Repository {
                    repository: "debian".to_owned(),
                    path: format!("pool/{release}.deb"),
                },
                size: 3,
                sha256: Digest::of(release.as_bytes()),
            }],
        }
    }

    #[test]
    fn a_lock_reads_back_what_it_writes_in_the_order_asked_for() {
        let lock: Lock = [kernel("a", "6.1.0-1"), kernel("b", "5.10.0-1")].into_iter().collect();
        let text = lock.render(["b", "a", "gone"].into_iter());
        assert!(text.find("id = \"b\"") < text.find("id = \"a\""), "{text}");
        assert_eq!(Lock::parse(&Document::new("kernels.lock", text.as_str())).unwrap(), lock);
        assert_eq!(lock.render(["b", "a"].into_iter()), text);
    }

    /// An unknown key, or one that is left out, would say less than was meant.
    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let lock = Lock::from_iter([kernel("a", "6.1.0-1")]);
        let text = lock.render(["a"].into_iter());
        let comments = text.lines().take_while(|line| line.starts_with('#'));
        let begin: usize = comments.map(|line| line.len() + 1).sum();
        let end = text.trim_end().len();
        for (place, bit) in (begin..end).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            // What is not UTF-8 can't be read at all.
            let Ok(damaged) = String::from_utf8(bytes) else { continue };
            // Between the parts of a line, and between lines, all kinds of space are alike, and digests
            // are written in either case.
            let is_alike = |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_hexdigit();
            if is_alike(text.as_bytes()[place]) && is_alike(damaged.as_bytes()[place]) {
                let without_space =
                    |text: &str| text.to_lowercase().replace(char::is_whitespace, "");
                if without_space(&damaged) == without_space(&text) {
                    continue;
                }
            }
            let read = Lock::parse(&Document::new("kernels.lock", damaged.as_str()));
            assert!(read.is_err() || read.unwrap() != lock, "it is read as before: {damaged}");
        }
    }

    #[test]
    fn a_damaged_lock_says_where() {
        let text = Lock::from_iter([kernel("a", "6.1.0-1")])
            .render(["a"].into_iter())
            .replace("sha256 = \"", "sha256 = \"x");
        let error = Lock::parse(&Document::new("kernels.lock", text)).unwrap_err().to_string();
        assert!(error.starts_with("kernels.lock:"), "{error}");
        assert!(error.contains("is not a SHA-256 digest"), "{error}");
    }

    #[test]
    fn changes_are_readable() {
        let mut partial = kernel("c", "6.19.14");
        partial.missing = vec!["linux-modules-6.19.14".to_owned()];
        let old: Lock =
            [kernel("a", "1.0"), kernel("b", "1.0"), kernel("d", "1.0")].into_iter().collect();
        let new: Lock = [kernel("a", "1.1"), partial, kernel("d", "1.0")].into_iter().collect();
        let text: Vec<_> = old.changes(&new).iter().map(ToString::to_string).collect();
        assert_eq!(
            text.join("\n"),
            "~ a: 1.0 (1-1) -> 1.1 (1-1)\n    - pool/1.0.deb\n    + pool/1.1.deb (3 bytes)\n\
             - b: 1.0 (1-1), which no entry names any more\n    - pool/1.0.deb\n\
             + c: 6.19.14 (1-1)\n    + pool/6.19.14.deb (3 bytes)\n    \
             ! linux-modules-6.19.14 is no longer in the repository"
        );
    }

    #[test]
    fn a_change_of_the_same_kernel_says_what_changed() {
        let (old, mut new) = (kernel("a", "1.0"), kernel("a", "1.0"));
        new.source = "deb debian s main q".to_owned();
        new.files[0].sha256 = Digest::of(b"other");
        new.files[0].size = 4;
        let changes = Lock::from_iter([old]).changes(&Lock::from_iter([new]));
        assert_eq!(
            changes[0].to_string(),
            "~ a: 1.0 (1-1)\n    from \"deb debian s main p\"\n      to \"deb debian s main q\"\n    \
             ~ pool/1.0.deb was replaced: 3 -> 4 bytes, SHA-256 d0ff5974b6aa... -> d9298a10d1b0..."
        );
    }

    #[test]
    fn a_file_is_in_a_repository_or_at_an_address() {
        let mut url = kernel("a", "1.0");
        url.files[0].place = Place::Url("http://example.org/a.tar.xz".to_owned());
        url.snapshot = None;
        let lock = Lock::from_iter([url]);
        let text = lock.render(["a"].into_iter());
        let parse = |text: &str| Lock::parse(&Document::new("kernels.lock", text));
        assert_eq!(parse(&text).unwrap(), lock);
        assert_eq!(lock.get("a").unwrap().files[0].name(), "a.tar.xz");
        for line in ["path = \"p\"\n", "repository = \"r\"\n"] {
            let error = parse(&text.replace("url = ", &format!("{line}url = "))).unwrap_err();
            assert!(error.to_string().contains("expected either `repository` and"), "{error}");
        }
    }
}
