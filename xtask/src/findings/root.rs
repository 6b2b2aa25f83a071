//! Root file systems with the tools of a release of Debian.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{invocation::Invocation, workspace};

/// All tools. bcc's compile with the headers of one kernel, some of bpftrace's with those of the C library.
pub(super) const ALL: Tools = Tools {
    name: "all",
    packages: &["libbpf-tools", "bpftrace", "bpfcc-tools", "libc6-dev", "tzdata"],
};

/// What is quick to download.
pub(super) const SMALL: Tools = Tools { name: "small", packages: &["libbpf-tools", "tzdata"] };

/// Which packages a root has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tools {
    name: &'static str,
    packages: &'static [&'static str],
}

/// A root, in a directory with the suites.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) dir: PathBuf,
    /// The name and the version of each package of tools.
    pub(super) versions: Vec<String>,
}

/// Makes the root of a release, with the headers of the kernel of this name, if it is not there, and
/// copies the suites beside it.
pub(super) fn of(release: &str, tools: Tools, headers: Option<&str>) -> Result<Root> {
    const DEADLINE: Duration = Duration::from_secs(30 * 60);
    let dir = workspace::root().join("target/findings").join(release).join(tools.name);
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    for file in ["libbpf-tools.toml", "bpftrace.toml", "bcc.toml", "mount.pl", "net.pl"] {
        fs::copy(super::suites_dir().join(file), dir.join(file))
            .with_context(|| format!("failed to copy {file}"))?;
    }
    let headers = headers.map(|kernel| format!("{HEADERS}{kernel}"));
    let root = Root { versions: versions(&dir).unwrap_or_default(), dir };
    // The lock can name another kernel than when the root was made.
    if root.dir.join("root.tar").is_file() && root.has(headers.as_deref()) {
        return Ok(root.of_tools());
    }
    make(release, tools, headers.as_deref()).dir(&root.dir).run(DEADLINE)?;
    fs::rename(root.dir.join("new.tar"), root.dir.join("root.tar"))?;
    let versions = versions(&root.dir).context("failed to read versions")?;
    Ok(Root { versions, ..root }.of_tools())
}

/// What the names of packages with a kernel's headers begin with.
const HEADERS: &str = "linux-headers-";

fn versions(dir: &Path) -> io::Result<Vec<String>> {
    let versions = fs::read_to_string(dir.join("versions"))?;
    Ok(versions.lines().map(str::to_owned).collect())
}

impl Root {
    fn has(&self, headers: Option<&str>) -> bool {
        let name = |line: &str| line.split_ascii_whitespace().next().map(str::to_owned);
        let has = |wanted| self.versions.iter().any(|line| name(line).as_deref() == Some(wanted));
        headers.is_none_or(has)
    }

    fn of_tools(mut self) -> Self {
        self.versions.retain(|line| !line.starts_with(HEADERS));
        self
    }
}

/// The command that makes `new.tar` and `versions`. Packages come from where the machine has its own,
/// if it is a Debian.
fn make(release: &str, tools: Tools, headers: Option<&str>) -> Invocation {
    let site = |label: &str| -> Option<String> {
        let asked = Invocation::new("apt-get")
            .args(["indextargets", "--format", "$(SITE)", &format!("Label: {label}")])
            .read(Duration::from_secs(60))
            .ok()?;
        asked.lines().next().map(str::to_owned)
    };
    let sources = match (site("Debian"), site("Debian-Security")) {
        (Some(site), Some(security)) => vec![
            format!("deb {site} {release} main"),
            format!("deb {security} {release}-security main"),
        ],
        _ => Vec::new(),
    };
    let packages: Vec<&str> = tools.packages.iter().copied().chain(headers).collect();
    let is_told =
        |name: &&str| name.contains("tools") || *name == "bpftrace" || name.starts_with(HEADERS);
    let named = packages.iter().copied().filter(is_told);
    let versions = format!(
        "--customize-hook=dpkg-query --admindir=\"$1/var/lib/dpkg\" --show {} > versions",
        named.collect::<Vec<_>>().join(" ")
    );
    // Since trixie, the programs of libbpf-tools have this ending.
    let names = "--customize-hook=cd \"$1/usr/sbin\" && for tool in *-libbpf; do \
                 [ ! -e \"$tool\" ] || ln -s \"$tool\" \"${tool%-libbpf}\"; done";
    let include = format!("--include={}", packages.join(","));
    Invocation::new("mmdebstrap")
        .args([
            "--quiet",
            "--variant=essential",
            "--format=tar",
            &include,
            &versions,
            names,
            release,
            "new.tar",
        ])
        .args(sources)
}
