//! The matrix: which kernels there are, and where each comes from.

mod toolchain;

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf, str::FromStr};

use kernlab_core::{
    cell::{BackendKind, BtfMode},
    scenario::Scenario,
};
use serde::{Deserialize, Serialize};

pub use self::toolchain::Toolchain;
use crate::{
    digest::Digest,
    repository::snapshot::{SnapshotDate, SnapshotUrl},
};

/// All kernels that can be asked for, in the order of `kernels.toml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Package repositories by the name that entries use for them.
    pub repositories: BTreeMap<String, Repository>,
    /// The kernels.
    pub entries: Vec<Entry>,
    /// Mirrors that the overlay names, by repository.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

/// One kernel of the matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Unique, without a slash; part of every cell's name.
    pub id: String,
    /// What `--kernel 6.1` is compared with; absent until the kernel is locked, for an entry that
    /// follows whatever its repository calls newest.
    pub release: Option<Release>,
    /// The architecture that the kernel was built for.
    pub arch: Arch,
    /// Whether it runs when nothing is asked for.
    pub tier: Tier,
    /// Where it comes from.
    pub source: Source,
    /// The BTF modes that its cells run in.
    pub btf: Vec<BtfMode>,
    /// Type information for the BTF mode `external`: raw BTF, or an ELF file with a `.BTF` section,
    /// maybe compressed.
    pub btf_file: Option<PathBuf>,
    /// Mebibytes of memory that its guests have.
    pub memory_mib: u32,
    /// Processors that its guests have.
    pub processors: u32,
    /// One line: what this kernel is in the matrix for.
    pub why: String,
    /// Where this kernel legitimately differs from the golden snapshots.
    pub deviations: Vec<Deviation>,
    /// Which file the entry is from, and so which lock it belongs to.
    pub origin: Origin,
}

impl Entry {
    /// Whether the image has type information of its own: the entry's modes say so.
    pub fn has_btf(&self) -> bool {
        self.btf.iter().any(|mode| mode.needs_embedded())
    }
}

/// Mebibytes of memory that guests have if their entry says nothing. Those of distributions' kernels
/// use a third of it.
pub(crate) const MEMORY_MIB: u32 = 256;

/// Mebibytes of memory that an entry may ask for. The workloads and their tracers need the least.
pub(crate) const MEMORY_RANGE_MIB: RangeInclusive<u32> = 128..=65536;

/// Processors that guests have if their entry says nothing: with one they boot fastest.
pub(crate) const PROCESSORS: u32 = 1;

/// Processors that an entry may ask for.
pub(crate) const PROCESSORS_RANGE: RangeInclusive<u32> = 1..=64;

/// Where an entry was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `kernels.toml`: shared by everyone, locked in `kernels.lock`.
    Shared,
    /// `kernels.local.toml`: only on this machine, locked in `kernels.local.lock`.
    Local,
    /// The command line.
    AdHoc,
}

/// Whether a kernel runs when nothing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Runs when nothing is asked for.
    Default,
    /// Runs on request.
    Extended,
}

impl Tier {
    /// `default` or `extended`.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Default => "default",
            Tier::Extended => "extended",
        }
    }
}

/// The architecture of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// x86-64.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl Arch {
    /// The name that Debian's repositories use: `amd64`.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
        }
    }

    /// The name that RPM repositories use: `x86_64`.
    pub fn rpm(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
        }
    }
}

/// Where a kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Packages of a Debian or Ubuntu repository.
    Deb(DebSource),
    /// Packages of a RPM repository.
    Rpm(RpmSource),
    /// One package, archive or image at an address.
    Url(UrlSource),
    /// Files on this machine.
    File(FileSource),
    /// Built on this machine.
    Build(BuildSource),
    /// The running kernel of this machine.
    Host,
}

/// A package of a Debian or Ubuntu repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebSource {
    /// A repository of the matrix.
    pub repository: String,
    /// `bookworm-security`; with a slash at its end, a directory with an index in it.
    pub suite: String,
    /// `main`; empty for such a directory.
    #[serde(default)]
    pub component: String,
    /// A package or metapackage, or a glob of package names whose newest version is meant.
    pub package: String,
    /// The date of the distribution's dated archive at which it is meant; the repository of today
    /// if there is none.
    pub snapshot: Option<SnapshotDate>,
}

/// A package of a RPM repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpmSource {
    /// A repository of the matrix.
    pub repository: String,
    /// Where its metadata is.
    pub dir: RpmDir,
    /// A package, or a glob of package names whose newest version is meant.
    pub package: String,
}

/// The directory that has `repodata/` in it, below the address of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpmDir {
    /// `8/BaseOS/x86_64/os`.
    Path(String),
    /// A document whose first line is the directory's address, which changes from time to time.
    NamedBy(String),
}

/// A package, archive or image at an address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlSource {
    /// Where it is.
    pub url: String,
    /// What it must be.
    pub sha256: Digest,
}

/// Files on this machine. Relative paths begin at the directory of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// A bzImage, or an uncompressed vmlinux with a PVH entry point.
    pub image: PathBuf,
    /// The uncompressed kernel, where the image is a bzImage that it can't be extracted from.
    pub vmlinux: Option<PathBuf>,
    /// A tree of modules: what would be `/lib/modules/RELEASE`.
    pub modules: Option<PathBuf>,
    /// The configuration that the kernel was built with.
    pub config: Option<PathBuf>,
}

/// A kernel's source, and how it differs from what the lab builds of it by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSource {
    /// The source.
    pub tree: TreeSource,
    /// Options in the kernel's own format that are laid over the lab's.
    pub config: Option<PathBuf>,
    /// The programs that build it, where they are not this machine's usual ones.
    pub toolchain: Toolchain,
}

/// Where the source of a kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeSource {
    /// A package `linux-source-VERSION`, or a glob of such, whose newest is meant.
    Deb(DebSource),
    /// An archive at an address.
    Url(UrlSource),
    /// An archive on this machine: `.tar`, `.tar.gz`, `.tar.xz` or `.tar.zst`.
    Archive(PathBuf),
    /// A directory on this machine, in which nothing was built.
    Dir(PathBuf),
}

impl Source {
    /// Whether a lock tells which files this is.
    pub fn is_locked(&self) -> bool {
        match self {
            Source::Deb(_) | Source::Rpm(_) | Source::Url(_) => true,
            Source::Build(build) => match build.tree {
                TreeSource::Deb(_) | TreeSource::Url(_) => true,
                TreeSource::Archive(_) | TreeSource::Dir(_) => false,
            },
            Source::File(_) | Source::Host => false,
        }
    }
}

impl fmt::Display for DebSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DebSource { repository, suite, component, package, snapshot } = self;
        write!(f, "{repository} {suite} ")?;
        if !component.is_empty() {
            write!(f, "{component} ")?;
        }
        f.write_str(package)?;
        snapshot.map_or(Ok(()), |date| write!(f, " at {date}"))
    }
}

impl fmt::Display for TreeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeSource::Deb(deb) => write!(f, "deb {deb}"),
            TreeSource::Url(UrlSource { url, sha256 }) => write!(f, "url {url} {sha256}"),
            TreeSource::Archive(path) => write!(f, "archive {}", path.display()),
            TreeSource::Dir(path) => write!(f, "directory {}", path.display()),
        }
    }
}

impl fmt::Display for Source {
    /// One line that changes when the source does: a lock remembers it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Deb(deb) => write!(f, "deb {deb}"),
            Source::Rpm(RpmSource { repository, dir, package }) => {
                let dir = match dir {
                    RpmDir::Path(path) | RpmDir::NamedBy(path) => path,
                };
                write!(f, "rpm {repository} {dir} {package}")
            }
            Source::Url(UrlSource { url, sha256 }) => write!(f, "url {url} {sha256}"),
            Source::File(file) => write!(f, "file {}", file.image.display()),
            // What the options are does not matter to a lock, which is of the source only.
            Source::Build(build) => write!(f, "build {}", build.tree),
            Source::Host => f.write_str("host"),
        }
    }
}

/// A legitimate difference from a golden snapshot, or a warning that the kernel must print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Where it occurs.
    pub scenario: &'static Scenario,
    /// Only there, or in both backends.
    pub backend: Option<BackendKind>,
    /// Only there, or in all BTF modes.
    pub btf: Option<BtfMode>,
    /// Which kernel change is behind it.
    pub reason: String,
    /// Where that change can be read.
    pub link: String,
    /// The name of the snapshot that holds instead, if there are events at all.
    pub snapshot: Option<String>,
    /// What the kernel's warning contains that must appear there, exactly once.
    pub warning: Option<String>,
}

/// A package repository, signed by keys that the project keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The `ID` of `/etc/os-release` on machines whose own mirrors carry this repository.
    pub distribution: String,
    /// The last part of the path of every mirror: `debian-security`.
    pub archive: String,
    /// The public dated snapshot archive, with `{timestamp}` where the date goes.
    pub snapshot: Option<SnapshotUrl>,
    /// Addresses of the distribution itself, for everyone.
    pub public: Vec<String>,
    /// What its keys sign.
    pub signs: Signs,
    /// The keys of which one must have signed.
    pub keys: Vec<Key>,
}

/// What the keys of a repository sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signs {
    /// The document that leads to all others: `Release`, `repomd.xml`.
    #[default]
    Index,
    /// Nothing but the packages.
    Packages,
}

/// A public key in a file of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The armoured key, absolute.
    pub path: PathBuf,
    /// What the key's fingerprint must be: hexadecimal, upper case.
    pub fingerprint: String,
}

/// The numbers of a kernel release that a selection goes by: `6.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(Vec<u32>);

impl Release {
    /// The numbers, the most significant one first.
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// Whether this release is the other one, or in its series: 6.12 is in 6, but not in 6.1.
    pub fn is_within(&self, series: &Release) -> bool {
        self.0.starts_with(&series.0)
    }

    /// The first two numbers of what `uname -r` prints: `7.3` for `7.3.4+deb13-cloud-amd64`.
    pub fn of_uname(uname: &str) -> Option<Release> {
        let mut numbers = uname.split(['.', '-', '+']).map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return None;
        };
        Some(Release(vec![major, minor]))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.pad(&numbers.join("."))
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        numbers.map(Release).map_err(|_| format!("{text:?} is not a release such as \"6.1\""))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("6.1", "6", true)]
    #[case("6.1", "6.1", true)]
    #[case("6.12", "6.1", false)]
    #[case("6.1", "6.12", false)]
    #[case("6.1", "6.1.192", false)]
    fn a_series_goes_by_whole_numbers(
        #[case] release: Release,
        #[case] series: Release,
        #[case] within: bool,
    ) {
        assert_eq!(release.is_within(&series), within);
    }

    #[rstest]
    #[case("7.3.4+deb13-cloud-amd64", Some("7.3"))]
    #[case("6.1.0-56-cloud-amd64", Some("6.1"))]
    #[case("5.4-rc1", Some("5.4"))]
    #[case("linux", None)]
    fn uname_gives_a_release(#[case] uname: &str, #[case] release: Option<&str>) {
        assert_eq!(Release::of_uname(uname).map(|r| r.to_string()).as_deref(), release);
    }
}
