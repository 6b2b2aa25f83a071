//! `cargo xtask dist`: builds everything that a release has. The release workflow runs it, and it runs the
//! same on a laptop.

mod sbom;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use kernlab_cli::Exit;
use xshell::{Shell, cmd};

use crate::{
    architecture::Architecture,
    build::{self, BUILD_DEADLINE, GUEST_VARIABLE},
    invocation::Invocation,
    setup::{self, Consent, Purpose},
    workspace,
};

/// The package of the program.
const PACKAGE: &str = "kernlab-vmtest";
/// What the archive has, as it is below `/usr/local`. `vmtest/Cargo.toml` names it as well: the Debian
/// package has the same files.
const TREE: &str = "target/dist/tree";
/// Long enough for any single step but the build.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Build a release for this machine's architecture: an archive and a Debian package with the program, which
/// has in it what runs in guests of every architecture, its manual pages and completions, lists of what they
/// consist of (CycloneDX), and checksums.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write the release to this directory. The files of an earlier release are removed from it;
    /// a directory with anything else is refused.
    #[arg(long, value_name = "DIR", default_value = "target/dist/release")]
    into: PathBuf,
    /// Fail unless the version is that of this tag, such as v0.1.0, and the changelog describes it.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let root = workspace::root();
    let version = version(&fs::read_to_string(root.join("Cargo.toml"))?)?;
    if let Some(tag) = &args.tag {
        let changelog = fs::read_to_string(root.join("CHANGELOG.md"))?;
        if let Err(error) = check_tag(tag, &version, &changelog) {
            eprintln!("error: {error:#}");
            return Ok(Exit::Failure);
        }
    }
    setup::ensure(Consent::Ask, Purpose::Release)?;
    // Cargo runs in another directory than the user.
    let into = std::path::absolute(&args.into).context("there is no current directory")?;
    remove_release(&into)?;
    let guest = build::guest_programs()?;
    guest.with_foreign()?;
    let guest = guest.dir_name()?;
    let release = Invocation::cargo(["build", "--release", "--locked"]);
    let release = release.args(["--package", PACKAGE, "--bin", "kernlab"]);
    release.env(GUEST_VARIABLE, &guest).run(BUILD_DEADLINE)?;
    let program = target_dir()?.join("release/kernlab");
    let time = commit_time()?;
    make_tree(&root, &program)?;
    let arch = Architecture::host().facts();
    let name = archive_name(&version, arch.target);
    archive(&root.join(TREE), &name, &into, &time)?;
    let deb = Invocation::cargo(["deb", "--package", PACKAGE, "--no-build", "--quiet", "--output"]);
    let package = into.join(format!("kernlab_{version}_{}.deb", arch.debian));
    deb.args([text(&package)?]).env("SOURCE_DATE_EPOCH", &time).run(DEADLINE)?;
    sbom::write(&root, &into.join(format!("{name}.cdx.json")), &version, &time)?;
    checksums(&into)?;
    println!("{}", into.display());
    Ok(Exit::Success)
}

/// The name of the archive, and of the directory in it, without a suffix.
fn archive_name(version: &str, target: &str) -> String {
    format!("kernlab-{version}-{target}")
}

/// The version of the workspace.
fn version(manifest: &str) -> Result<String> {
    let manifest: toml::Table = manifest.parse().context("Cargo.toml is malformed")?;
    let workspace = manifest.get("workspace").and_then(|table| table.get("package"));
    let version = workspace.and_then(|package| package.get("version")).and_then(|v| v.as_str());
    Ok(version.context("Cargo.toml has no version of the workspace")?.to_owned())
}

/// Whether a release may be called so.
fn check_tag(tag: &str, version: &str, changelog: &str) -> Result<()> {
    ensure!(tag == format!("v{version}"), "the tag is {tag}, but the version is {version}");
    let heading = format!("\n## [{version}] - ");
    ensure!(changelog.contains(&heading), "CHANGELOG.md has no section [{version}] with a date");
    let (_, rest) =
        changelog.split_once("\n## [Unreleased]\n").context("no section [Unreleased]")?;
    let unreleased = rest.split("\n## ").next().unwrap_or_default();
    if !unreleased.trim().is_empty() {
        bail!("CHANGELOG.md has changes that are of no version yet");
    }
    Ok(())
}

/// Makes a directory that the user named, without an earlier release in it. Nothing is removed if it has
/// anything else.
fn remove_release(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            let endings = [".tar", ".tar.gz", ".deb", ".cdx.json"];
            let is_release = name.starts_with("kernlab-") || name.starts_with("kernlab_");
            name == "SHA256SUMS" || is_release && endings.iter().any(|end| name.ends_with(end))
        });
        ensure!(
            is_ours && entry.file_type()?.is_file(),
            "{} has {name:?}, which is of no release: name another directory",
            dir.display()
        );
        files.push(entry.path());
    }
    for file in files {
        fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
    }
    Ok(())
}

/// Makes a directory below `target`, without anything in it.
fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("failed to empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))
}

/// Cargo's directory for this workspace.
fn target_dir() -> Result<PathBuf> {
    let metadata =
        Invocation::cargo(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata.read(DEADLINE)?)?;
    let dir = metadata["target_directory"].as_str();
    dir.map(PathBuf::from).context("cargo names no target directory")
}

/// The time of the commit, in seconds since 1970: it is that of all files, so that the same commit makes
/// the same archive.
fn commit_time() -> Result<String> {
    let time = Invocation::new("git").args(["log", "-1", "--format=%ct"]).dir(&workspace::root());
    let time = time.read(DEADLINE).context("a release is made in a checkout of git")?;
    Ok(time.trim().to_owned())
}

/// Writes what the archive has.
fn make_tree(root: &Path, program: &Path) -> Result<()> {
    let sh = Shell::new()?;
    let tree = root.join(TREE);
    empty(&tree)?;
    let ours = tree.join("bin/kernlab");
    sh.create_dir(tree.join("bin"))?;
    // Symbols remain, so that a panic names functions.
    cmd!(sh, "strip --strip-debug -o {ours} {program}").quiet().run()?;
    let share = tree.join("share");
    let pages = share.join("man/man1");
    cmd!(sh, "{ours} man --into {pages}").quiet().run()?;
    for (shell, file) in [
        ("bash", "bash-completion/completions/kernlab"),
        ("zsh", "zsh/site-functions/_kernlab"),
        ("fish", "fish/vendor_completions.d/kernlab.fish"),
    ] {
        let completions = cmd!(sh, "{ours} completions {shell}").quiet().output()?;
        sh.write_file(share.join(file), completions.stdout)?;
    }
    let documentation = share.join("doc/kernlab");
    sh.create_dir(&documentation)?;
    for file in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        sh.copy_file(root.join(file), &documentation)?;
    }
    Ok(())
}

/// Packs the tree.
fn archive(tree: &Path, name: &str, into: &Path, time: &str) -> Result<()> {
    let sh = Shell::new()?;
    let tar = into.join(format!("{name}.tar"));
    let rename = format!("s,^[.],{name},");
    cmd!(sh, "tar --create --file {tar} --directory {tree} --sort=name --mtime=@{time}")
        .args(["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX", "--format=ustar"])
        .arg(format!("--transform={rename}"))
        .arg(".")
        .quiet()
        .run()?;
    Ok(cmd!(sh, "gzip --no-name --best --force {tar}").quiet().run()?)
}

/// Writes `SHA256SUMS`, which `sha256sum --check` reads.
fn checksums(dir: &Path) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(dir);
    let mut names: Vec<_> = sh.read_dir(".")?.into_iter().collect();
    names.sort();
    let names = names.iter().filter_map(|path| path.file_name());
    let sums = cmd!(sh, "sha256sum {names...}").quiet().read()?;
    Ok(sh.write_file("SHA256SUMS", sums + "\n")?)
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not in UTF-8", path.display()))?.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CHANGELOG: &str =
        "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n";

    #[test]
    fn only_an_earlier_release_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("release");
        remove_release(&into).unwrap();
        for name in ["SHA256SUMS", "kernlab_0.2.0_amd64.deb", "kernlab-0.2.0-x86_64.tar.gz"] {
            fs::write(into.join(name), "").unwrap();
        }
        remove_release(&into).unwrap();
        assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
        for name in ["SHA256SUMS", "thesis.tex"] {
            fs::write(into.join(name), "").unwrap();
        }
        let error = remove_release(&into).unwrap_err().to_string();
        assert!(error.contains("\"thesis.tex\", which is of no release"), "{error}");
        assert_eq!(fs::read_dir(&into).unwrap().count(), 2);
    }

    #[rstest]
    #[case::released("v0.2.0", "0.2.0", CHANGELOG, None)]
    #[case::another("v0.2.1", "0.2.0", CHANGELOG, Some("the version is 0.2.0"))]
    #[case::undescribed("v0.3.0", "0.3.0", CHANGELOG, Some("no section [0.3.0]"))]
    #[case::unsorted(
        "v0.2.0",
        "0.2.0",
        "\n## [Unreleased]\n\n- more\n\n## [0.2.0] - 2026-12-01\n",
        Some("of no version yet")
    )]
    fn a_release_is_what_its_tag_says(
        #[case] tag: &str,
        #[case] version: &str,
        #[case] changelog: &str,
        #[case] expected: Option<&str>,
    ) {
        let error = check_tag(tag, version, changelog).err().map(|error| error.to_string());
        match (&error, expected) {
            (Some(error), Some(expected)) => assert!(error.contains(expected), "{error}"),
            _ => assert_eq!(error, None, "{expected:?}"),
        }
    }

    /// `cargo binstall` and `action/setup` compute the name of the archive.
    #[test]
    fn all_name_the_archive_alike() {
        let root = workspace::root();
        let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
        let version = version(&read("Cargo.toml")).unwrap();
        let target = Architecture::X86_64.facts().target;
        let name = archive_name(&version, target);
        let expected = format!("kernlab-{version}-x86_64-unknown-linux-gnu");
        assert_eq!(name, expected);
        let action = read("action/setup/action.yml");
        assert!(action.contains(&format!("\"{}\"", archive_name("$VERSION", target))), "{action}");
        assert!(action.contains(&format!("\n    default: {version}\n")), "{action}");
        let manifest: toml::Table = read("vmtest/Cargo.toml").parse().unwrap();
        let binstall = &manifest["package"]["metadata"]["binstall"];
        let filled = |key: &str| {
            let text = binstall[key].as_str().unwrap();
            text.replace("{ version }", &version).replace("{ target }", target)
        };
        assert!(filled("pkg-url").ends_with(&format!("/v{version}/{name}.tar.gz")));
        assert_eq!(filled("bin-dir"), format!("{name}/bin/{{ bin }}"));
    }
}
