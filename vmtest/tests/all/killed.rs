//! The store after processes that used it were killed, and a run whose nextest was.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::Digest;
use kernlab_vmtest::report::Report;
use rand::Rng as _;

use crate::checkout;

const RELEASE: &str = "6.1.0-killed";
const KILLS: usize = 20;

/// An image as large as those of distributions. It is never booted.
fn image() -> Vec<u8> {
    let mut image = vec![0; 2 * 512];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    image[0x300..0x300 + RELEASE.len()].copy_from_slice(RELEASE.as_bytes());
    // The payload's compression is one that only the kernel itself can unpack.
    let payload: Vec<u8> = b"BZh9".iter().copied().chain((0..8 << 20).map(scrambled)).collect();
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend(payload);
    image
}

fn scrambled(number: u32) -> u8 {
    (number.wrapping_mul(0x9e37_79b9) >> 24) as u8
}

fn archive(image: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, content).unwrap();
    };
    add(&format!("boot/vmlinuz-{RELEASE}"), image);
    for number in 0..20 {
        let path = format!("lib/modules/{RELEASE}/kernel/virtio_{number}.ko");
        add(&path, &image[..100 << 10]);
    }
    archive.into_inner().unwrap()
}

/// Serves one file until the test ends, from any requested offset.
struct Server {
    url: String,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    /// How many bytes of the file the next answer sends before it stalls.
    silent_at: Option<usize>,
    /// The offsets at which the answers so far began.
    asked_from: Vec<usize>,
}

impl Server {
    fn start(content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/linux.tar", listener.local_addr().unwrap());
        let plan = Arc::new(Mutex::new(Plan::default()));
        let of_thread = Arc::clone(&plan);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Errors are expected: the test kills clients in the middle.
                drop(answer(&content, &of_thread, stream));
            }
        });
        Server { url, plan }
    }
}

fn answer(content: &[u8], plan: &Mutex<Plan>, mut stream: TcpStream) -> io::Result<()> {
    let mut from = 0;
    let mut is_head = false;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_lowercase();
        is_head |= line.starts_with("head ");
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap_or_default();
        }
        if line.is_empty() {
            break;
        }
    }
    let status = match from {
        0 => "200 OK".to_owned(),
        from => {
            let (last, length) = (content.len() - 1, content.len());
            format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{length}")
        }
    };
    let length = content.len() - from;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    if is_head {
        return Ok(());
    }
    let silent_at = {
        let mut plan = plan.lock().unwrap();
        plan.asked_from.push(from);
        plan.silent_at.take()
    };
    stream.write_all(&content[from..silent_at.unwrap_or(content.len())])?;
    if silent_at.is_some() {
        // Returns when the client closes the connection.
        io::copy(&mut stream, &mut io::sink())?;
    }
    Ok(())
}

/// A checkout with one kernel, and its own store.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new(url: &str, archive: &[u8]) -> Self {
        let checkout = Checkout(tempfile::tempdir().unwrap());
        let digest = Digest::of(archive);
        let matrix = format!(
            r#"schema = 1
[[kernel]]
id = "killed"
arch = "x86_64"
tier = "default"
btf = ["embedded"]
why = "a test"
source = {{ kind = "url", url = "{url}", sha256 = "{digest}" }}
"#
        );
        checkout::mark(checkout.0.path());
        fs::write(checkout.0.path().join("kernels.toml"), matrix).unwrap();
        let updated = checkout.kernels("update").spawn().unwrap();
        expect_success(updated);
        checkout
    }

    fn kernels(&self, command: &str) -> Command {
        let mut kernlab = Command::new(env!("CARGO_BIN_EXE_kernlab"));
        kernlab
            .args(["kernels", command])
            .current_dir(self.0.path())
            .env("KERNLAB_STORE", self.store())
            .env("no_proxy", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        kernlab
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// Asserts that every artifact in the store is complete, at any time.
    fn expect_sound(&self, image: &[u8]) {
        for path in files(&self.store().join("objects")) {
            let digest = Digest::of(&fs::read(&path).unwrap());
            assert_eq!(path.file_name().unwrap().to_str(), Some(&*digest.to_string()));
        }
        let artifacts = files(&self.store().join("artifacts"));
        let images: Vec<_> = artifacts.iter().filter(|path| path.ends_with("bzImage")).collect();
        for path in &images {
            assert!(fs::read(path).unwrap() == image, "{} is damaged", path.display());
        }
        // The image, twenty modules, their metadata, and the digests of all of them.
        assert_eq!(artifacts.len(), images.len() * 23, "an artifact is incomplete");
    }
}

fn expect_success(child: Child) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_damaged_is_used_and_nothing_is_left_behind() {
    let image = image();
    let archive = archive(&image);
    let server = Server::start(archive.clone());
    let checkout = Checkout::new(&server.url, &archive);
    let forget = || fs::remove_dir_all(checkout.store()).unwrap();
    forget();
    let begun = Instant::now();
    expect_success(checkout.kernels("fetch").spawn().unwrap());
    let duration = begun.elapsed();
    checkout.expect_sound(&image);
    forget();

    let mut killed = 0;
    while killed < KILLS {
        let mut child = checkout.kernels("fetch").spawn().unwrap();
        // Kills the process at an arbitrary moment; this sleep waits for nothing.
        thread::sleep(duration.mul_f64(rand::thread_rng().gen_range(0.0..1.0)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        checkout.expect_sound(&image);
        match status.code() {
            // The next process finds the leftovers of this one.
            None => killed += 1,
            Some(code) => {
                assert_eq!(code, 0);
                forget();
            }
        }
    }
    expect_success(checkout.kernels("fetch").spawn().unwrap());
    checkout.expect_sound(&image);
    assert_eq!(files(&checkout.store().join("objects")).len(), 1);
    for part in ["partial", "scratch"] {
        let left: Vec<_> = fs::read_dir(checkout.store().join(part)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    // Nothing is downloaded or unpacked again.
    let mut offline = checkout.kernels("fetch");
    offline.arg("--offline");
    let Output { status, stderr, .. } = offline.spawn().unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success() && !stderr.contains("unpacking"), "{stderr}");
    // A killed process does not count as one that still uses the store.
    expect_success(checkout.kernels("gc").spawn().unwrap());
}

#[test]
fn a_download_goes_on_where_it_was_killed() {
    let image = image();
    let archive = archive(&image);
    let server = Server::start(archive.clone());
    let checkout = Checkout::new(&server.url, &archive);
    let partial = checkout.store().join("partial").join(Digest::of(&archive).to_string());
    let ends = [1, archive.len() / 2, archive.len() - 1];
    fs::remove_dir_all(checkout.store()).unwrap();
    server.plan.lock().unwrap().asked_from.clear();
    for end in ends {
        server.plan.lock().unwrap().silent_at = Some(end);
        let mut child = checkout.kernels("fetch").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while fs::metadata(&partial).map_or(0, |file| file.len()) < end as u64 {
            assert!(Instant::now() < deadline, "no byte {end} within 30 s");
            thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        checkout.expect_sound(&image);
        assert!(files(&checkout.store().join("objects")).is_empty());
    }
    expect_success(checkout.kernels("fetch").spawn().unwrap());
    checkout.expect_sound(&image);
    assert!(!partial.exists());
    let expected: Vec<_> = [0].into_iter().chain(ends).collect();
    assert_eq!(server.plan.lock().unwrap().asked_from, expected);
}

const INTERRUPTED: &str =
    "the run was interrupted: SIGKILL killed nextest, and its cells were ended";

/// A run of cells with a script in the place of cargo.
fn run_with(nextest: &str) -> (Checkout, Output) {
    let image = image();
    let archive = archive(&image);
    let server = Server::start(archive.clone());
    let checkout = Checkout::new(&server.url, &archive);
    expect_success(checkout.kernels("fetch").spawn().unwrap());
    let guest = checkout.0.path().join("guest");
    fs::create_dir(&guest).unwrap();
    fs::write(guest.join("kernlab-agent"), "never booted").unwrap();
    let script = checkout.0.path().join("nextest");
    fs::write(&script, nextest).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(["run", "--kernel", "killed", "--scenario", "sys_write/threads"])
        .current_dir(checkout.0.path())
        .env("KERNLAB_STORE", checkout.store())
        .env("KERNLAB_GUEST", guest)
        .env("CARGO", script)
        .output()
        .unwrap();
    (checkout, output)
}

/// Starts a cell, which ends when its run does, and is then killed.
const KILLED: &str = r#"#!/bin/bash
(cat <&"$KERNLAB_LIFE"; echo ended > "$KERNLAB_RUN/cell") &
kill -KILL $$
"#;

#[test]
fn a_run_whose_nextest_is_killed_ends_its_cells_and_says_so() {
    let began = Instant::now();
    let (checkout, Output { status, stdout, stderr }) = run_with(KILLED);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(3), "{stdout}{stderr}");
    assert!(stdout.contains(INTERRUPTED), "{stdout}{stderr}");
    let run = checkout.0.path().join("target/kernlab/latest");
    assert_eq!(fs::read_to_string(run.join("cell")).unwrap(), "ended\n");
    let report = Report::read(&run.join("report.json")).unwrap();
    assert_eq!(report.remarks, [INTERRUPTED]);
    assert!(!report.cells.is_empty());
    for cell in &report.cells {
        let verdict = (cell.outcome, cell.reason);
        assert_eq!(verdict, (Outcome::NotRun, Some(Reason::Interrupted)), "{}", cell.message);
    }
    // Nobody waited for the deadline of cells that stay.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Takes the report's name.
const IN_THE_WAY: &str = r#"#!/bin/bash
mkdir "$KERNLAB_RUN/report.json"
kill -KILL $$
"#;

#[test]
fn a_run_without_a_report_is_told_all_the_same() {
    let (checkout, Output { status, stdout, stderr }) = run_with(IN_THE_WAY);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(3), "{stdout}{stderr}");
    assert!(stdout.contains(INTERRUPTED) && stdout.contains("not-run"), "{stdout}{stderr}");
    assert!(stderr.contains("failed to write the report"), "{stdout}{stderr}");
    assert!(!checkout.0.path().join("target/kernlab/latest").exists());
}
