//! Gets the core library's source for the installed toolchain, which BPF programs in Rust compile.
//!
//! rustup has it as the component `rust-src`. On Debian, if Rust's servers can't be reached, it comes from
//! the package of the same release.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;
use xshell::{Shell, cmd};

use super::{
    apt_source,
    detect::{self, Detection},
    machine::{self, Machine},
};
use crate::invocation::Invocation;

/// rustup waits long for unresponsive servers; the component itself has a few megabytes.
const RUSTUP_DEADLINE: Duration = Duration::from_secs(180);
/// Indexes and the package have about fifty megabytes.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(20 * 60);
/// Debian's suites that may have the pinned release; the first that has it is used.
const SUITES: [&str; 2] = ["trixie-backports", "sid"];

/// Installs the source into the toolchain's own directory: with rustup, or if that fails and `or_debian`
/// is set, from Debian's package.
pub(crate) fn install(or_debian: bool) -> Result<()> {
    let rustup = Invocation::new("rustup").args(["component", "add", "rust-src"]);
    let failure = match (rustup.run(RUSTUP_DEADLINE), detect::rust_source(&Machine::this())) {
        (Ok(()), Detection::Found(_)) => return Ok(()),
        (Ok(()), Detection::Missing(sought)) => {
            anyhow!("`{rustup}` reports success, but there is {sought}")
        }
        (Err(error), _) => error,
    };
    if !or_debian {
        return Err(failure.context("failed to get rust-src"));
    }
    eprintln!("{failure:#}\nTaking rust-src from Debian's package instead.");
    from_debian().context("failed to get rust-src from Debian's package")
}

fn from_debian() -> Result<()> {
    let sh = Shell::new()?;
    let release = cmd!(sh, "rustc --version").quiet().read()?;
    let release = release.split_whitespace().nth(1).context("rustc does not print its version")?;
    let sysroot = cmd!(sh, "rustc --print sysroot").quiet().read()?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src");
    fs::create_dir_all(&sources).with_context(|| denied(&sources))?;

    let apt = PrivateApt::new()?;
    let package = SUITES.iter().find_map(|suite| {
        let downloaded = apt.download(suite, &format!("rust-src={release}*"));
        downloaded.inspect_err(|error| eprintln!("Not in {suite}: {error:#}")).ok()
    });
    let Some(package) = package else { bail!("no suite of {SUITES:?} has rust-src {release}") };

    // Unpack on the same file system, so that the last step is one rename.
    let staging = TempDir::with_prefix_in("unpack-", &sources).with_context(|| denied(&sources))?;
    let staging = staging.path();
    let unpack = cmd!(sh, "dpkg-deb -x {package} {staging}");
    eprintln!("==> {unpack}");
    unpack.quiet().run()?;
    let unpacked = staging.join(format!("usr/src/rustc-{release}/library"));
    let library = sources.join("rust/library");
    fs::create_dir_all(sources.join("rust")).with_context(|| denied(&sources))?;
    if library.exists() {
        fs::rename(&library, staging.join("replaced")).with_context(|| denied(&library))?;
    }
    fs::rename(&unpacked, &library)
        .with_context(|| format!("failed to move {} to {}", unpacked.display(), library.display()))
}

/// apt with its own lists and cache, so that the machine's apt does not see the other suites.
struct PrivateApt {
    dir: TempDir,
}

impl PrivateApt {
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("kernlab-apt-")
            // apt downloads as another user, which needs access.
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .context("failed to make a temporary directory")?;
        for name in ["sources", "state/lists/partial", "cache/archives/partial", "download"] {
            fs::create_dir_all(dir.path().join(name)).with_context(|| denied(dir.path()))?;
        }
        Ok(PrivateApt { dir })
    }

    /// Downloads a package from a suite of the archive that this machine's apt uses. apt checks
    /// signatures and digests.
    fn download(&self, suite: &str, package: &str) -> Result<PathBuf> {
        let source = machine_source(suite)?;
        let sources = self.dir.path().join("sources");
        fs::remove_dir_all(&sources).and_then(|()| fs::create_dir(&sources))?;
        fs::write(sources.join(format!("{suite}.{}", source.extension)), source.text)?;
        let download = self.dir.path().join("download");
        for (args, current_dir) in
            [(vec!["update"], self.dir.path()), (vec!["download", package], download.as_path())]
        {
            let command = Invocation::new("apt-get").args(args);
            eprintln!("==> {command} (of {suite}, with lists of our own)");
            command.args(self.options()).dir(current_dir).run(DOWNLOAD_DEADLINE)?;
        }
        let package = fs::read_dir(&download)?.next().context("apt-get downloaded nothing")?;
        Ok(package?.path())
    }

    fn options(&self) -> Vec<String> {
        let dir = self.dir.path().display();
        let options = [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={dir}/sources"),
            format!("Dir::State={dir}/state"),
            format!("Dir::Cache={dir}/cache"),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // Fail if an index can't be downloaded, instead of using an old one.
            "APT::Update::Error-Mode=any".to_owned(),
        ];
        options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect()
    }
}

/// The machine's own entry for Debian's archive, with another suite.
fn machine_source(suite: &str) -> Result<apt_source::AptSource> {
    let archive = match debian_archive()? {
        Some(archive) => archive,
        None => {
            // apt needs its lists to tell an archive's origin; container images come without lists.
            let update = Invocation::new("apt-get").args(["update"]);
            let update = if machine::is_root() { update } else { update.with_sudo() };
            eprintln!("==> {update}");
            update.run(DOWNLOAD_DEADLINE)?;
            debian_archive()?.context("apt is not set up to use Debian's archive")?
        }
    };
    let listed = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let listed = listed.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files = [PathBuf::from("/etc/apt/sources.list")].into_iter().chain(listed);
    let source = files.find_map(|file| {
        let text = fs::read_to_string(&file).ok()?;
        apt_source::with_suite(file.file_name()?.to_str()?, &text, &archive, suite)
    });
    source.with_context(|| format!("no entry of /etc/apt/sources.list.d names {archive}"))
}

/// The address of Debian's main archive in this machine's apt, if apt has its lists.
fn debian_archive() -> Result<Option<String>> {
    let format = "$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)";
    let packages = "Created-By: Packages";
    let sh = Shell::new()?;
    let targets = cmd!(sh, "apt-get indextargets --format {format} {packages}").quiet().read()?;
    let mut archives = targets.lines().filter_map(|line| line.strip_prefix("Debian Debian main "));
    Ok(archives.next().map(str::to_owned))
}

fn denied(path: &Path) -> String {
    format!("failed to write to {}", path.display())
}
