//! RPM repositories made with the tools that distributions use, and packages that those tools would
//! not make.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    archive::{Entry, compress},
    server::Server,
};
use crate::{digest::Digest, repository::rpm::repomd::Primary};

/// A package that will be built.
pub(crate) struct Rpm<'a> {
    pub(crate) name: &'a str,
    /// `4.18.0-553.el8_10`.
    pub(crate) version: &'a str,
    pub(crate) provides: &'a [&'a str],
    pub(crate) requires: &'a [&'a str],
    pub(crate) files: Vec<Entry<'a>>,
    /// A value of rpm's macro `_binary_payload`: `w2.xzdio`.
    pub(crate) payload: &'a str,
}

impl Rpm<'_> {
    pub(crate) fn file(&self) -> String {
        format!("{}-{}.x86_64.rpm", self.name, self.version)
    }
}

/// A signer as distributions have it: a key in a GnuPG keyring.
pub(crate) struct Signer {
    home: tempfile::TempDir,
    pub(crate) fingerprint: String,
    pub(crate) public_key: String,
}

impl Signer {
    pub(crate) fn new() -> Self {
        Signer::with("rsa2048", &[], "never")
    }

    /// A key created at another time, whose self-signature uses this digest.
    pub(crate) fn of_old(
        algorithm: &str,
        digest: &str,
        begin: jiff::Timestamp,
        end: jiff::Timestamp,
    ) -> Self {
        let seconds = format!("seconds={}", end.as_second() - begin.as_second());
        let options = ["--faked-system-time", &frozen(begin), "--cert-digest-algo", digest];
        Signer::with(algorithm, &options, &seconds)
    }

    fn with(algorithm: &str, options: &[&str], lifetime: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let gpg = |arguments: &[&str]| run(gpg(home.path()).args(options).args(arguments));
        let name = "Kernels <k@example.org>";
        gpg(&["--passphrase", "", "--quick-gen-key", name, algorithm, "sign", lifetime]);
        let list = gpg(&["--with-colons", "--list-keys"]);
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        let fingerprint = line.trim_start_matches("fpr:").trim_matches(':').to_owned();
        let public_key = gpg(&["--armor", "--export"]);
        Signer { home, fingerprint, public_key }
    }

    /// The text with an inline signature of this date.
    pub(crate) fn sign_inline(&self, text: &str, at: jiff::Timestamp) -> String {
        self.sign_inline_with(text, at, "SHA256")
    }

    /// Like `sign_inline`, with a different digest.
    pub(crate) fn sign_inline_with(&self, text: &str, at: jiff::Timestamp, digest: &str) -> String {
        let file = self.home.path().join("document");
        fs::write(&file, text).unwrap();
        let mut gpg = gpg(self.home.path());
        gpg.args(["--faked-system-time", &frozen(at), "--digest-algo", digest]);
        // The test of a refused signature must be able to write one.
        gpg.args(["--allow-weak-digest-algos", "--output", "-", "--clear-sign"]);
        run(gpg.arg(file))
    }

    /// Signs the header of a package, and with `--rpmv3` also its payload.
    pub(crate) fn sign_package(&self, package: &Path, options: &[&str]) {
        let mut rpmsign = Command::new("rpmsign");
        rpmsign.arg("--addsign").args(options);
        rpmsign.env("HOME", self.home.path());
        define(&mut rpmsign, "_gpg_name", &self.fingerprint);
        define(&mut rpmsign, "_gpg_path", &self.home.path().to_string_lossy());
        define(&mut rpmsign, "_gpg_digest_algo", "sha256");
        // rpm does not look for gpg in $PATH.
        let dirs = env::var_os("PATH").unwrap_or_default();
        let mut candidates = env::split_paths(&dirs).map(|dir| dir.join("gpg"));
        if let Some(gpg) = candidates.find(|path| path.is_file()) {
            define(&mut rpmsign, "__gpg", &gpg.to_string_lossy());
        }
        run(rpmsign.arg(package));
    }

    /// Removes the signatures of a package.
    pub(crate) fn unsign(package: &Path) {
        run(Command::new("rpmsign").arg("--delsign").arg(package));
    }

    /// Writes a detached signature of a file: `repomd.xml.asc`.
    pub(crate) fn sign_file(&self, file: &Path) {
        run(gpg(self.home.path()).args(["--armor", "--yes", "--detach-sign"]).arg(file));
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        drop(end.env("GNUPGHOME", self.home.path()).args(["--kill", "gpg-agent"]).status());
    }
}

/// A time in gpg's format for a clock that stands still.
fn frozen(time: jiff::Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%S!").to_string()
}

fn gpg(home: &Path) -> Command {
    let mut gpg = Command::new("gpg");
    gpg.env("GNUPGHOME", home).args(["--batch", "--quiet", "--pinentry-mode", "loopback"]);
    gpg
}

/// A repository that is being built.
pub(crate) struct RpmRepository {
    work: tempfile::TempDir,
}

impl RpmRepository {
    pub(crate) fn new() -> Self {
        let work = tempfile::tempdir().unwrap();
        fs::create_dir(work.path().join("repository")).unwrap();
        RpmRepository { work }
    }

    /// The path of a file of the repository.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.work.path().join("repository").join(name)
    }

    /// Builds a package into `Packages/`, and signs it.
    pub(crate) fn add(&self, rpm: &Rpm<'_>, signer: Option<&Signer>) -> PathBuf {
        let tree = tempfile::tempdir_in(&self.work).unwrap();
        let mut spec = spec(rpm);
        for entry in &rpm.files {
            let (Entry::Dir(path) | Entry::File(path, _) | Entry::Link(path, _)) = entry;
            let at = tree.path().join(path.trim_start_matches("./"));
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            match entry {
                Entry::Dir(_) => fs::create_dir_all(at).unwrap(),
                Entry::File(_, content) => fs::write(at, content).unwrap(),
                Entry::Link(_, target) => symlink(target, at).unwrap(),
            }
            writeln!(spec, "/{}", path.trim_start_matches("./")).unwrap();
        }
        let specification = self.work.path().join("kernel.spec");
        fs::write(&specification, spec).unwrap();
        let mut rpmbuild = Command::new("rpmbuild");
        rpmbuild.args(["-bb", "--quiet", "--nodeps", "--target", "x86_64-linux"]);
        rpmbuild.env("HOME", self.work.path()).env("TREE", tree.path());
        define(&mut rpmbuild, "_topdir", &self.work.path().join("build").to_string_lossy());
        define(&mut rpmbuild, "_rpmdir", &self.path("Packages").to_string_lossy());
        define(&mut rpmbuild, "_rpmfilename", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm");
        define(&mut rpmbuild, "_binary_payload", rpm.payload);
        run(rpmbuild.arg(specification));
        let package = self.path("Packages").join(rpm.file());
        if let Some(signer) = signer {
            signer.sign_package(&package, &[]);
        }
        package
    }

    /// Writes new metadata and signs it.
    pub(crate) fn index(&self, options: &[&str], signer: Option<&Signer>) {
        run(Command::new("createrepo_c").arg("--quiet").args(options).arg(self.path("")));
        if let Some(signer) = signer {
            signer.sign_file(&self.path("repodata/repomd.xml"));
        }
    }

    /// Changes the package list, and updates the metadata that refers to it.
    pub(crate) fn edit_primary(&self, edit: impl FnOnce(&str) -> String) {
        let path = self.path("repodata/repomd.xml");
        let repomd = fs::read_to_string(&path).unwrap();
        let primary = Primary::parse(repomd.as_bytes()).unwrap();
        let list = self.path(&primary.path);
        let old = fs::read(&list).unwrap();
        let text = primary.compression.decompress(&old, 1 << 20).unwrap();
        let new = compress(primary.compression, edit(str::from_utf8(&text).unwrap()).as_bytes());
        let sha256 = Digest::of(&new).to_string();
        let size = |content: &[u8]| format!("<size>{}</size>", content.len());
        let (before, after) = (size(&old), size(&new));
        let repomd = repomd.replace(&format!(">{}<", primary.digest), &format!(">{sha256}<"));
        fs::write(path, repomd.replacen(&before, &after, 1)).unwrap();
        fs::write(list, new).unwrap();
    }

    /// Publishes everything on a server, below a directory.
    pub(crate) fn publish(&self, server: &Server, dir: &str) {
        let mut dirs = vec![self.path("")];
        while let Some(here) = dirs.pop() {
            for entry in fs::read_dir(here).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let below = path.strip_prefix(self.path("")).unwrap().to_string_lossy();
                    server.put(&format!("{dir}/{below}"), fs::read(&path).unwrap());
                }
            }
        }
    }
}

fn spec(rpm: &Rpm<'_>) -> String {
    let (version, release) = rpm.version.split_once('-').unwrap();
    let mut spec = format!(
        "%global __os_install_post %{{nil}}\n%global debug_package %{{nil}}\n\
         %global _build_id_links none\nName: {}\nVersion: {version}\nRelease: {release}\n\
         Summary: A kernel\nLicense: GPL-2.0-only\nAutoReqProv: no\n",
        rpm.name
    );
    for provided in rpm.provides {
        writeln!(spec, "Provides: {provided}").unwrap();
    }
    for required in rpm.requires {
        writeln!(spec, "Requires: {required}").unwrap();
    }
    spec + "%description\nMade up for a test.\n%install\ncp -a \"$TREE/.\" %{buildroot}\n%files\n"
}

fn define(command: &mut Command, name: &str, value: &str) {
    command.arg("--define").arg(format!("{name} {value}"));
}

/// Runs a tool and returns its output.
fn run(command: &mut Command) -> String {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            panic!("this test needs {tool}: `cargo xtask setup` installs it")
        }
        Err(error) => panic!("cannot run {tool}: {error}"),
    };
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    assert!(
        output.status.success(),
        "{tool} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A header with these entries: tag, kind, count, value.
pub(crate) fn header(entries: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for (tag, kind, count, value) in entries {
        for number in [*tag, *kind, store.len() as u32, *count] {
            index.extend(number.to_be_bytes());
        }
        store.extend(*value);
    }
    let counts = [entries.len() as u32, store.len() as u32].map(u32::to_be_bytes).concat();
    [&[0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0][..], &counts, &index, &store].concat()
}

/// A package of these headers and this payload.
pub(crate) fn package(signatures: &[u8], header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut package = vec![0; 96];
    package[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
    package.extend(signatures);
    package.resize(package.len().next_multiple_of(8), 0);
    package.extend(header);
    package.extend(payload);
    package
}

/// A cpio archive of members with any name.
pub(crate) fn cpio(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        let (path, mode, content) = match entry {
            Entry::Dir(path) => (path, 0o040_755, &[][..]),
            Entry::File(path, content) => (path, 0o100_644, *content),
            Entry::Link(path, target) => (path, 0o120_777, target.as_bytes()),
        };
        let member = cpio::newc::Builder::new(path).mode(mode);
        let mut writer = member.write(&mut archive, content.len() as u32);
        io::Write::write_all(&mut writer, content).unwrap();
        writer.finish().unwrap();
    }
    cpio::newc::trailer(&mut archive).unwrap();
    archive
}
