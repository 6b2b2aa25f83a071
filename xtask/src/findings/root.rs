//! Root file systems with the tools of a release of Debian.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use crate::{invocation::Invocation, workspace};

/// All tools. bcc's compile with the headers of the release's own kernel, some of bpftrace's with those of
/// the C library.
pub(super) const ALL: Tools = Tools {
    name: "all",
    packages: &[
        "libbpf-tools",
        "bpftrace",
        "bpfcc-tools",
        "linux-headers-cloud-amd64",
        "libc6-dev",
        "tzdata",
    ],
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

/// Makes the root of a release, if it is not there, and copies the suites beside it.
pub(super) fn of(release: &str, tools: Tools) -> Result<Root> {
    const DEADLINE: Duration = Duration::from_secs(30 * 60);
    let dir = workspace::root().join("target/findings").join(release).join(tools.name);
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    for file in ["libbpf-tools.toml", "bpftrace.toml", "bcc.toml", "mount.pl", "net.pl"] {
        fs::copy(super::suites_dir().join(file), dir.join(file))
            .with_context(|| format!("failed to copy {file}"))?;
    }
    if !dir.join("root.tar").is_file() {
        make(release, tools).dir(&dir).run(DEADLINE)?;
        fs::rename(dir.join("new.tar"), dir.join("root.tar"))?;
    }
    let versions = fs::read_to_string(dir.join("versions")).context("failed to read versions")?;
    Ok(Root { dir, versions: versions.lines().map(str::to_owned).collect() })
}

/// The command that makes `new.tar` and `versions`. Packages come from where the machine has its own,
/// if it is a Debian.
fn make(release: &str, tools: Tools) -> Invocation {
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
    let named = tools.packages.iter().filter(|name| name.contains("tools") || **name == "bpftrace");
    let versions = format!(
        "--customize-hook=dpkg-query --admindir=\"$1/var/lib/dpkg\" --show {} > versions",
        named.copied().collect::<Vec<_>>().join(" ")
    );
    // Since trixie, the programs of libbpf-tools have this ending.
    let names = "--customize-hook=cd \"$1/usr/sbin\" && for tool in *-libbpf; do \
                 [ ! -e \"$tool\" ] || ln -s \"$tool\" \"${tool%-libbpf}\"; done";
    let include = format!("--include={}", tools.packages.join(","));
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
