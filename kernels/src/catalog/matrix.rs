//! The matrix: the kernels, and the source of each.

mod btf_file;
mod toolchain;

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf, str::FromStr};

pub use kernlab_core::arch::Arch;
use kernlab_core::{
    cell::{BackendKind, BtfMode, Cell},
    scenario::Scenario,
};
use serde::{Deserialize, Serialize};

pub(crate) use self::btf_file::is_name;
pub use self::{
    btf_file::{BtfArchive, BtfArchivePlace, BtfFile},
    toolchain::Toolchain,
};
use crate::{
    digest::Digest,
    repository::snapshot::{SnapshotDate, SnapshotUrl},
};

/// All known kernels, in the order of `kernels.toml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Package repositories, by name.
    pub repositories: BTreeMap<String, Repository>,
    pub entries: Vec<Entry>,
    /// Mirrors that the overlay adds, by repository.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

/// One kernel of the matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Unique, without a slash; a part of every cell's name.
    pub id: String,
    /// The release that `--kernel 6.1` is compared with. An entry that follows the newest kernel of
    /// its repository has none until it is locked.
    pub release: Option<Release>,
    pub arch: Arch,
    /// Whether it runs when no kernel is selected.
    pub tier: Tier,
    pub source: Source,
    /// The BTF modes of its cells.
    pub btf: Vec<BtfMode>,
    /// BTF for the mode `external`.
    pub btf_file: Option<BtfFile>,
    /// Memory of each guest, in MiB.
    pub memory_mib: u32,
    /// Number of processors of each guest.
    pub processors: u32,
    /// One line: why this kernel is in the matrix.
    pub why: String,
    /// Where this kernel legitimately differs from the golden snapshots.
    pub deviations: Vec<Deviation>,
    /// Which file the entry comes from, and therefore which lock it belongs to.
    pub origin: Origin,
}

impl Entry {
    /// Whether the image has BTF, according to the entry's modes.
    pub fn has_btf(&self) -> bool {
        self.btf.iter().any(|mode| mode.needs_embedded())
    }
}

/// The default memory of a guest, in MiB. Distribution kernels use a third of it.
pub(crate) const MEMORY_MIB: u32 = 256;

/// The memory that an entry may set, in MiB. The workloads and their tracers need the minimum.
pub const MEMORY_RANGE_MIB: RangeInclusive<u32> = 128..=65536;

/// The default number of processors of a guest: guests boot fastest with one.
pub(crate) const PROCESSORS: u32 = 1;

/// The number of processors that an entry may set.
pub const PROCESSORS_RANGE: RangeInclusive<u32> = 1..=64;

/// Where an entry is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The matrix that is part of the program, used outside of a checkout. Locked there too, unless
    /// the project's `kernels.lock` names it.
    BuiltIn,
    /// `kernels.toml`: shared by all users, locked in `kernels.lock`.
    Shared,
    /// `kernels.local.toml`: only on this machine, locked in `kernels.local.lock`.
    Local,
    /// The command line.
    AdHoc,
}

/// Whether a kernel runs when no kernel is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Runs when no kernel is selected.
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

/// Where a kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Packages of a Debian or Ubuntu repository.
    Deb(DebSource),
    /// Packages of an RPM repository.
    Rpm(RpmSource),
    /// One package, archive or image at a URL.
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
    /// A suite such as `bookworm-security`. With a slash at its end, a directory that contains an
    /// index.
    pub suite: String,
    /// A component such as `main`; empty if the suite is a directory.
    #[serde(default)]
    pub component: String,
    /// A package or metapackage, or a glob of package names of which the newest version is used.
    pub package: String,
    /// The pinned date in the distribution's dated archive; `None` for the repository as it is now.
    pub snapshot: Option<SnapshotDate>,
}

/// A package of an RPM repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpmSource {
    /// A repository of the matrix.
    pub repository: String,
    pub dir: RpmDir,
    /// A package, or a glob of package names of which the newest version is used.
    pub package: String,
}

/// The directory that contains `repodata/`, relative to a mirror's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpmDir {
    /// `8/BaseOS/x86_64/os`.
    Path(String),
    /// A document whose first line is the URL of the directory, which changes from time to time.
    NamedBy(String),
}

/// A package, archive or image at a URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlSource {
    pub url: String,
    /// The digest that the file must have.
    pub sha256: Digest,
}

/// Files on this machine. Relative paths start from the directory of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// A bzImage, an uncompressed vmlinux with a PVH entry point, or an image of arm64.
    pub image: PathBuf,
    /// The uncompressed kernel, for a bzImage that it can't be extracted from.
    pub vmlinux: Option<PathBuf>,
    /// A directory of modules, like `/lib/modules/RELEASE`.
    pub modules: Option<PathBuf>,
    /// The configuration that the kernel was built with.
    pub config: Option<PathBuf>,
}

/// A kernel's source, and how its build differs from the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSource {
    pub tree: TreeSource,
    /// Options in the kernel's own format that override the defaults.
    pub config: Option<PathBuf>,
    /// The programs for the build, where they differ from this machine's defaults.
    pub toolchain: Toolchain,
}

/// Where the source of a kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeSource {
    /// A package `linux-source-VERSION`, or a glob of such names of which the newest version is
    /// used.
    Deb(DebSource),
    /// An archive at a URL.
    Url(UrlSource),
    /// An archive on this machine: `.tar`, `.tar.gz`, `.tar.xz` or `.tar.zst`.
    Archive(PathBuf),
    /// A directory on this machine in which nothing has been built.
    Dir(PathBuf),
}

impl Source {
    /// Whether a lock lists the files of this source.
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
    /// One line that changes when the source does. The lock stores it.
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
            // The lock covers only the source, not the build options.
            Source::Build(build) => write!(f, "build {}", build.tree),
            Source::Host => f.write_str("host"),
        }
    }
}

/// A legitimate difference from a golden snapshot, or a warning that the kernel must print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The scenario it occurs in.
    pub scenario: &'static Scenario,
    /// The backend it is limited to, if any.
    pub backend: Option<BackendKind>,
    /// The BTF mode it is limited to, if any.
    pub btf: Option<BtfMode>,
    /// The kernel change that causes it.
    pub reason: String,
    /// A link to that change.
    pub link: String,
    /// The name of the snapshot that applies instead, if there are events at all.
    pub snapshot: Option<String>,
    /// Text that a kernel warning must contain. Exactly one such warning must occur.
    pub warning: Option<String>,
}

impl Deviation {
    /// Does it apply to this cell of its kernel?
    pub fn concerns(&self, cell: &Cell) -> bool {
        self.scenario == cell.scenario
            && self.backend.is_none_or(|backend| backend == cell.backend)
            && self.btf.is_none_or(|btf| btf == cell.btf)
    }
}

/// A package repository, signed by keys that are part of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The `ID` of `/etc/os-release` on machines whose configured mirrors carry this repository.
    pub distribution: String,
    /// The last path component of every mirror's URL: `debian-security`.
    pub archive: String,
    /// The public dated archive, with `{timestamp}` in place of the date.
    pub snapshot: Option<SnapshotUrl>,
    /// Public mirrors of the distribution.
    pub public: Vec<String>,
    /// What its keys sign.
    pub signs: Signs,
    /// The trusted keys. One of them must have signed.
    pub keys: Vec<Key>,
}

/// What the keys of a repository sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signs {
    /// The top-level metadata: `Release`, `repomd.xml`.
    #[default]
    Index,
    /// Only the packages.
    Packages,
}

/// A public key in a file of the project, or in the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The path of the armoured key: absolute, unless the key is built in.
    pub path: PathBuf,
    /// The armoured key, if it is part of the program. Then no file is read.
    pub built_in: Option<&'static str>,
    /// The expected fingerprint of the key: hexadecimal, upper case.
    pub fingerprint: String,
}

/// The numbers of a kernel release that selections compare: `6.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(Vec<u32>);

impl Release {
    /// The numbers, the most significant one first.
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// Whether this release equals the series or belongs to it: 6.12 is in 6, but not in 6.1.
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
    #[case::whatever_runs_it(None, None, true)]
    #[case::its_own(Some(BackendKind::Aya), Some(BtfMode::Masked), true)]
    #[case::of_the_other_backend(Some(BackendKind::Libbpf), None, false)]
    #[case::of_another_mode(None, Some(BtfMode::Embedded), false)]
    fn a_deviation_concerns_what_it_is_limited_to(
        #[case] backend: Option<BackendKind>,
        #[case] btf: Option<BtfMode>,
        #[case] expected: bool,
    ) {
        let deviation = Deviation {
            scenario: Scenario::by_id("sys_write/threads").unwrap(),
            backend,
            btf,
            reason: String::new(),
            link: String::new(),
            snapshot: None,
            warning: None,
        };
        let of = |scenario: &str| format!("debian-6.1/masked/aya/{scenario}").parse().unwrap();
        assert_eq!(deviation.concerns(&of("sys_write/threads")), expected);
        assert!(!deviation.concerns(&of("sys_write/failed_write")));
    }

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
