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
    arch: "x86_64",
};

/// Those that are run on kernels of arm64.
pub(super) const ARM64: Tools = Tools {
    name: "all",
    packages: &["libbpf-tools", "bpftrace", "libc6-dev", "tzdata"],
    arch: "aarch64",
};

/// What is quick to download.
pub(super) const SMALL: Tools =
    Tools { name: "small", packages: &["libbpf-tools", "tzdata"], arch: "x86_64" };

/// Which packages a root has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tools {
    name: &'static str,
    packages: &'static [&'static str],
    /// The architecture of its programs, as the matrix has it.
    pub(super) arch: &'static str,
}

impl Tools {
    /// The root's file.
    fn file(self) -> String {
        format!("root-{}.tar", self.arch)
    }

    /// The option with the name that Debian has for the architecture.
    fn architectures(self) -> &'static str {
        match self.arch {
            "aarch64" => "--architectures=arm64",
            _ => "--architectures=amd64",
        }
    }

    /// The file with the names and versions of its packages.
    fn versions(self) -> String {
        format!("versions-{}", self.arch)
    }

    /// The file with the command that made the root.
    fn made_by(self) -> String {
        format!("made-by-{}", self.arch)
    }
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
    let make = make(release, tools, headers.as_deref());
    let (root, made_by) = (dir.join(tools.file()), dir.join(tools.made_by()));
    // The lock can name another kernel than when the root was made, or this program other packages.
    let is_fresh = fs::read_to_string(&made_by).is_ok_and(|made_by| made_by == make.to_string());
    if !is_fresh || !root.is_file() {
        make.clone().dir(&dir).run(DEADLINE)?;
        fs::rename(dir.join("new.tar"), &root)?;
        fs::write(&made_by, make.to_string())?;
    }
    let mut versions = versions(&dir, tools).context("failed to read versions")?;
    versions.retain(|line| !line.starts_with(HEADERS));
    Ok(Root { dir, versions })
}

/// What the names of packages with a kernel's headers begin with.
const HEADERS: &str = "linux-headers-";

fn versions(dir: &Path, tools: Tools) -> io::Result<Vec<String>> {
    let versions = fs::read_to_string(dir.join(tools.versions()))?;
    Ok(versions.lines().map(str::to_owned).collect())
}

/// The command that makes `new.tar` and the file of versions. Packages come from where the machine has its own,
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
    let into = tools.versions();
    // Programs of another architecture can't be run, so that its packages are only extracted: the essential
    // ones too.
    let (kind, hook, versions) = if tools.arch == std::env::consts::ARCH {
        let versions = format!(
            "dpkg-query --admindir=\"$1/var/lib/dpkg\" --show {} > {into}",
            named.collect::<Vec<_>>().join(" ")
        );
        (vec!["--variant=essential"], "customize", versions)
    } else {
        let files = named.map(|name| format!("\"$1\"/var/cache/apt/archives/{name}_*.deb"));
        let versions = format!(
            "for deb in {}; do dpkg-deb --show \"$deb\"; done > {into}; {LINKS}",
            files.collect::<Vec<_>>().join(" ")
        );
        let kind = ["--variant=extract", tools.architectures(), "--include=?essential", MERGED];
        (kind.to_vec(), "extract", versions)
    };
    let versions = format!("--{hook}-hook={versions}");
    // Since trixie, programs of libbpf-tools end with `-libbpf`, and packages of kernel headers have a vmlinux
    // with BTF, which libbpf would find where BTF is hidden.
    let names = &format!(
        "--{hook}-hook=rm -f \"$1\"/usr/src/*/vmlinux; cd \"$1/usr/sbin\" && for tool in *-libbpf; do \
         [ ! -e \"$tool\" ] || ln -s \"$tool\" \"${{tool%-libbpf}}\"; done"
    );
    let include = format!("--include={}", packages.join(","));
    Invocation::new("mmdebstrap")
        .args(["--quiet", "--format=tar"])
        .args(kind)
        .args([&include, &versions, names, release, "new.tar"])
        .args(sources)
}

/// What scripts of packages would have made. Without /etc/localtime, a tool that prints times looks for that
/// file with every line; a tracer of openat(2) then sees itself, without end.
const LINKS: &str = "ln -s /usr/share/zoneinfo/Etc/UTC \"$1\"/etc/localtime; \
                     ln -s mawk \"$1\"/usr/bin/awk; \
                     for file in passwd group; do \
                     cp \"$1\"/usr/share/base-passwd/$file.master \"$1\"/etc/$file; done";

/// Makes `/bin`, `/lib` and `/sbin` links, which no package does.
const MERGED: &str = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr";
