//! A newcomer's first command, `vmtest --kernel 5.4`, on a machine without any of its files. It
//! selects an entry of an Ubuntu repository that is not in the lock, and one that has to be built.
//!
//! The repository is a replica on the loopback interface with its own key, in Ubuntu's layout. Its
//! kernel, and the one that the build makes, is Debian's 6.1: the test covers the way to the
//! kernel.

#[path = "../../../kernels/src/test_support/author.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod author;
#[path = "../../../kernels/src/test_support/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use author::Author;
use kernlab_kernels::{Digest, Kernels, Silent};
use server::Server;

const SUITE: &str = "focal-updates";
const SCENARIO: &str = "sys_write/files_and_pipes";

/// Longer than the cells of the packaged kernel take on a busy machine that compiles them first.
const DEADLINE: Duration = Duration::from_secs(400);

/// The fake compilation waits until something is written to `go`, and then copies an existing
/// image.
const MAKEFILE: &str = "
allnoconfig:
\t@cp $(KCONFIG_ALLCONFIG) $(O)/.config
olddefconfig:
\t@true
bzImage:
\t@echo '  CC      init/main.o'
\t@cat go
\t@mkdir -p $(O)/arch/x86/boot $(O)/include/config
\t@cp image $(O)/arch/x86/boot/bzImage
\t@cp release $(O)/include/config/kernel.release
";

/// The programs that a build needs. Only `make` is real.
const PROGRAMS: [&str; 6] = ["gcc", "ld", "flex", "bison", "bc", "pahole"];

/// Prints its version, and, as a compiler, which assembler it runs.
const PROGRAM: &str =
    "#!/bin/sh\ncase \"$1\" in -print-prog-name=as) echo as;; *) echo 'made up 1.0';; esac\n";

/// A directory with a matrix, a kernel's source and a store, and the repository.
struct Newcomer {
    dir: tempfile::TempDir,
    server: Server,
}

impl Newcomer {
    fn new() -> Self {
        let newcomer = Newcomer { dir: tempfile::tempdir().unwrap(), server: Server::start() };
        let kernels = Kernels::open().unwrap();
        let kernel = kernels.prepare(kernels.entry("debian-6.1").unwrap(), &Silent).unwrap();
        let image = kernel.image.bzimage.as_ref().unwrap();
        let author = Author::new();
        newcomer.publish(&author, &kernel.release, &fs::read(image).unwrap());
        newcomer.write("archive.asc", &author.public_key());
        newcomer.write("kernels.toml", &matrix(&author));
        let mirror = format!("schema = 1\n[mirror]\nubuntu = [{:?}]\n", newcomer.server.url());
        newcomer.write("kernels.local.toml", &mirror);
        newcomer.write("linux/Makefile", MAKEFILE);
        newcomer.write("linux/Kconfig", "");
        newcomer.write("linux/release", &kernel.release);
        fs::copy(image, newcomer.path("linux/image")).unwrap();
        nix::unistd::mkfifo(&newcomer.path("linux/go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for program in PROGRAMS {
            newcomer.write(&format!("bin/{program}"), PROGRAM);
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(newcomer.path(&format!("bin/{program}")), executable).unwrap();
        }
        newcomer
    }

    /// The chain of packages from Ubuntu's metapackage to the image and its modules.
    fn publish(&self, author: &Author, release: &str, image: &[u8]) {
        let name = format!("linux-image-{release}");
        let modules = format!("linux-modules-{release}");
        let vmlinuz = format!("./boot/vmlinuz-{release}");
        let config = format!("./boot/config-{release}");
        let packages = [
            ("linux-image-virtual", "linux-meta", name.clone(), deb(&[])),
            (
                name.as_str(),
                "linux-signed",
                format!("kmod, linux-base (>= 4.5ubuntu1), {modules}"),
                deb(&[(&vmlinuz, image)]),
            ),
            (&modules, "linux", String::new(), deb(&[(&config, b"CONFIG_BPF=y\n")])),
        ];
        let mut index = String::new();
        for (name, source, depends, content) in packages {
            let path = format!("pool/main/l/{source}/{name}_5.4.0-99.112_amd64.deb");
            write!(
                index,
                "Package: {name}\nArchitecture: amd64\nVersion: 5.4.0-99.112\nDepends: {depends}\n\
                 Filename: {path}\nSize: {}\nSHA256: {}\n\n",
                content.len(),
                Digest::of(&content)
            )
            .unwrap();
            self.server.put(&path, content);
        }
        let index = xz(index.as_bytes());
        let digest = Digest::of(&index);
        let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S UTC");
        let document = format!(
            "Origin: Ubuntu\nLabel: Ubuntu\nSuite: {SUITE}\nCodename: focal\nDate: {now}\n\
             Architectures: amd64\nComponents: main\nAcquire-By-Hash: yes\nSHA256:\n {digest} {} \
             main/binary-amd64/Packages.xz\n",
            index.len()
        );
        self.server.put(&format!("dists/{SUITE}/InRelease"), author.sign(&document));
        let by_hash = format!("dists/{SUITE}/main/binary-amd64/by-hash/SHA256/{digest}");
        self.server.put(&by_hash, index);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs `vmtest --kernel 5.4` for one scenario.
    fn run(&self, options: &[&str]) -> RunningTool {
        let guest = env::var_os("KERNLAB_GUEST")
            .expect("KERNLAB_GUEST names the guest's programs: run this by `cargo xtask test`");
        let path = env::var("PATH").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kernlab"))
            .args(["run", "--scenario", SCENARIO, "--report"])
            .arg(self.path("report"))
            .args(options)
            .env("KERNLAB_GUEST", guest)
            .env("KERNLAB_MATRIX", self.dir.path())
            .env("KERNLAB_STORE", self.path("store"))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env_remove("KERNLAB_LOCKED")
            // nextest runs this test, and its variables apply to that run only.
            .env_remove("NEXTEST_PROFILE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        RunningTool { child, lines, seen: String::new() }
    }
}

fn matrix(author: &Author) -> String {
    format!(
        r#"schema = 1
[repository.ubuntu]
distribution = "ubuntu"
archive = "ubuntu"
keys = [{{ file = "archive.asc", fingerprint = "{}" }}]
[[kernel]]
id = "ubuntu-5.4"
release = "5.4"
arch = "x86_64"
tier = "extended"
btf = ["embedded"]
why = "a test"
source = {{ kind = "deb", repository = "ubuntu", suite = "{SUITE}", component = "main", package = "linux-image-virtual" }}
[[kernel]]
id = "linux-5.4"
release = "5.4"
arch = "x86_64"
tier = "extended"
btf = ["embedded"]
why = "a test"
source = {{ kind = "build", tree = {{ kind = "folder", path = "linux" }} }}
"#,
        author.fingerprint()
    )
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 0);
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// A Debian package with these files.
fn deb(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        data.append_data(&mut header, path, *content).unwrap();
    }
    let data = xz(&data.into_inner().unwrap());
    let mut archive = ar::Builder::new(Vec::new());
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("data.tar.xz", &data)] {
        let header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
        archive.append(&header, content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The command, and its output so far.
struct RunningTool {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl RunningTool {
    /// Waits for a line with this beginning, unless it was already printed.
    fn expect(&mut self, beginning: &str) {
        while !self.seen.lines().any(|line| line.starts_with(beginning)) {
            let line = self.lines.recv_timeout(DEADLINE).unwrap_or_else(|error| {
                panic!("no line {beginning:?} ({error}) after:\n{}", self.seen)
            });
            self.seen += &line;
            self.seen.push('\n');
        }
    }

    /// Waits for the end: returns the exit code and the complete output.
    fn end(mut self) -> (Option<i32>, String) {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let status = self.child.wait().unwrap();
        self.lines.iter().for_each(|line| self.seen += &format!("{line}\n"));
        (status.code(), format!("{}\n{stdout}", self.seen))
    }
}

impl Drop for RunningTool {
    fn drop(&mut self) {
        // The command forwards the signal to its children.
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ended = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ended = self.child.wait();
    }
}

fn outcomes(report: &Path) -> Vec<(String, String)> {
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(report).unwrap()).expect("a report is JSON");
    let text = |cell: &serde_json::Value, key: &str| cell[key].as_str().unwrap_or("-").to_owned();
    let cells = report["cells"].as_array().unwrap();
    let outcome = |cell| {
        (text(cell, "kernel"), format!("{} {}", text(cell, "outcome"), text(cell, "reason")))
    };
    cells.iter().map(outcome).collect()
}

#[test]
fn verdicts_on_a_packaged_kernel_come_while_another_is_built() {
    let newcomer = Newcomer::new();
    let mut run = newcomer.run(&["--kernel", "5.4"]);
    run.expect("ubuntu-5.4: not in the lock: asking deb ubuntu focal-updates main");
    run.expect("ubuntu-5.4: resolved to 6.1.0-");
    run.expect("ubuntu-5.4: 2 pass");
    run.expect("linux-5.4: building");
    // The compiler continues only now.
    drop(File::options().write(true).open(newcomer.path("linux/go")).unwrap());
    let (code, output) = run.end();
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("linux-5.4: 2 pass"), "{output}");
    let pass = |kernel: &str| (kernel.to_owned(), "pass -".to_owned());
    assert_eq!(
        outcomes(&newcomer.path("report/report.json")),
        ["ubuntu-5.4", "ubuntu-5.4", "linux-5.4", "linux-5.4"].map(pass)
    );
    let lock = fs::read_to_string(newcomer.path("kernels.lock")).unwrap();
    assert!(
        lock.contains("id = \"ubuntu-5.4\"") && lock.contains("linux-modules-6.1.0-"),
        "{lock}"
    );
}

#[test]
fn locked_says_what_mends_it() {
    let newcomer = Newcomer::new();
    let (code, output) = newcomer.run(&["--kernel", "ubuntu-5.4", "--locked"]).end();
    assert_eq!(code, Some(3), "{output}");
    assert!(output.contains("run `cargo xtask kernels update ubuntu-5.4`"), "{output}");
    assert!(!newcomer.path("kernels.lock").exists());
    assert_eq!(newcomer.server.requests(), [""; 0]);
}
