//! Guests that lie and attack: what each of them can do to the verdict, to the host's files, to its
//! memory and time, and to the user's terminal.
//!
//! Each row is a real guest. Its program, which is root there, stops the agent and speaks to the host
//! in its place; or PID 1 itself is hostile. `vmtest/agent/src/bin/kernlab-fault-agent/hostile.rs` has
//! what they do, `broken.rs` the rows that are about cells of the matrix.

use std::{
    collections::BTreeMap,
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::Arch;
use kernlab_vmtest::{
    guest_programs,
    report::{CellReport, Report},
};
use rstest::rstest;

const KERNEL: &str = "debian-6.1";
const ARM64: &str = "debian-6.1-arm64";

/// What a row may take, with a busy host.
const LONGEST: Duration = Duration::from_secs(100);
/// The most memory of the host's program, in KiB. QEMU has its own.
const MEMORY: u64 = 512 << 10;
/// The most bytes of all that a row writes on the host.
const FILES: u64 = 40 << 20;

/// A directory with the hostile program, in another where nothing may appear.
struct Place {
    dir: tempfile::TempDir,
    kernel: &'static str,
}

/// How a row ended.
struct Ended {
    cell: CellReport,
    status: ExitStatus,
    took: Duration,
}

impl Place {
    fn new(kernel: &'static str) -> Self {
        let place = Place { dir: tempfile::tempdir().unwrap(), kernel };
        for dir in ["project", "tmp", "said", "guest"] {
            fs::create_dir(place.path().join(dir)).unwrap();
        }
        fs::copy(place.program("kernlab-fault-agent"), place.project().join("agent")).unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A program for guests of this kernel.
    fn program(&self, name: &str) -> PathBuf {
        let guest = env::var_os("KERNLAB_GUEST")
            .expect("KERNLAB_GUEST names the guest's programs: run this by `cargo xtask test`");
        let arch = if self.kernel == ARM64 { Arch::Aarch64 } else { Arch::X86_64 };
        guest_programs::of_arch(Path::new(&guest), arch).unwrap().join(name)
    }

    fn project(&self) -> PathBuf {
        self.path().join("project")
    }

    /// The guest's programs, with a hostile agent.
    fn hostile_guest(&self, way: &str) -> PathBuf {
        let guest = self.path().join("guest");
        let mut agent = fs::read(self.program("kernlab-fault-agent")).unwrap();
        agent.extend(format!("\nbehaviour: {way}").bytes());
        fs::write(guest.join("kernlab-agent"), agent).unwrap();
        let conductor = self.program("kernlab-conductor");
        std::os::unix::fs::symlink(conductor, guest.join("kernlab-conductor")).unwrap();
        guest
    }

    /// Runs a command, and checks what it shows and how much memory it has.
    fn run(&self, name: &str, configure: impl FnOnce(&mut Command)) -> ExitStatus {
        let said = |stream: &str| self.path().join("said").join(format!("{name}.{stream}"));
        let mut kernlab = Command::new(env!("CARGO_BIN_EXE_kernlab"));
        kernlab
            .current_dir(self.project())
            .env("TMPDIR", self.path().join("tmp"))
            .stdin(Stdio::null())
            .stdout(File::create(said("stdout")).unwrap())
            .stderr(File::create(said("stderr")).unwrap());
        configure(&mut kernlab);
        let (status, memory) = watched(kernlab.spawn().unwrap());
        for stream in ["stdout", "stderr"] {
            let text = fs::read(said(stream)).unwrap();
            let text = String::from_utf8(text).unwrap_or_else(|error| panic!("{stream}: {error}"));
            println!("{name}, {stream}:\n{}", text.escape_debug().to_string().replace("\\n", "\n"));
            let acting: Vec<_> = text.chars().filter(|character| acts(*character)).collect();
            assert!(acting.is_empty(), "{name} shows {acting:?} on {stream}");
            assert!(text.len() < 200_000, "{name} shows {} bytes on {stream}", text.len());
        }
        println!("{name}: {memory} KiB");
        assert!(memory < MEMORY, "{name} has {memory} KiB of memory");
        status
    }

    fn test(&self, configure: impl FnOnce(&mut Command)) -> Ended {
        let started = Instant::now();
        let status = self.run("test", |kernlab| {
            kernlab.args(["test", "--kernel", self.kernel]);
            configure(kernlab);
        });
        let took = started.elapsed();
        let report = self.project().join(".kernlab/latest/report.json");
        let report = Report::read(&report).unwrap();
        let [cell] = <[_; 1]>::try_from(report.cells).unwrap();
        self.run("why", |kernlab| {
            kernlab.args(["why", &cell.id()]);
        });
        self.expect_own_files_only();
        assert!(took < LONGEST, "{took:?}");
        Ended { cell, status, took }
    }

    /// Asserts that only the run's directory was written to, by files and directories with names that
    /// do nothing to a terminal.
    fn expect_own_files_only(&self) {
        let files = all_below(self.path());
        let runs = Path::new("project/.kernlab");
        let known = |path: &Path| {
            path.starts_with(runs)
                || ["said", "guest"].iter().any(|dir| path.starts_with(dir))
                || ["project", "project/agent", "tmp"].iter().any(|name| path == Path::new(name))
        };
        let mut size = 0;
        for (path, metadata) in &files {
            assert!(known(path), "{} was written", path.display());
            let is_link = metadata.is_symlink() && path.starts_with(runs);
            assert!(!is_link || path == &runs.join("latest"), "{} is a link", path.display());
            let name = path.to_str().expect("names are text");
            assert!(!name.chars().any(acts) && !name.contains('\n'), "{name:?}");
            if path.starts_with(runs) && metadata.is_file() {
                size += metadata.len();
            }
        }
        assert!(size < FILES, "{size} bytes were written");
        for owned in ["/kernlab-owned", "/tmp/kernlab-owned"] {
            assert!(!Path::new(owned).exists(), "{owned} was written");
        }
    }

    /// The files of the cell, by their paths in its directory, and their sizes.
    fn evidence(&self, cell: &CellReport) -> BTreeMap<String, u64> {
        let dir = self.project().join(".kernlab/latest").join(&cell.evidence);
        let files = all_below(&dir).into_iter().filter(|(_, metadata)| metadata.is_file());
        files.map(|(path, metadata)| (path.display().to_string(), metadata.len())).collect()
    }
}

/// Waits for a process. Returns also the most memory that it had, in KiB.
fn watched(mut child: Child) -> (ExitStatus, u64) {
    let status = format!("/proc/{}/status", child.id());
    let deadline = Instant::now() + LONGEST + Duration::from_secs(20);
    let mut most = 0;
    loop {
        let memory = fs::read_to_string(&status).unwrap_or_default();
        let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        most = peak.and_then(|peak| peak.trim().parse().ok()).unwrap_or(0).max(most);
        if let Some(status) = child.try_wait().unwrap() {
            return (status, most);
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("it did not end in time");
        }
        // The kernel keeps the peak: this is how often it is looked at.
        thread::sleep(Duration::from_millis(10));
    }
}

/// Everything below a directory, by its path there. Links are not followed.
fn all_below(dir: &Path) -> BTreeMap<PathBuf, fs::Metadata> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
            found.insert(entry.path().strip_prefix(dir).unwrap().to_owned(), metadata);
        }
    }
    found
}

/// Whether a character does something to a terminal, or to the order of what it shows.
fn acts(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t')
        || matches!(character, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(character, '\u{2066}'..='\u{2069}')
}

const BROKEN: (Outcome, Option<Reason>) = (Outcome::Infra, Some(Reason::ConnectionLost));
const PASS: (Outcome, Option<Reason>) = (Outcome::Pass, None);

fn fails(reason: Reason) -> (Outcome, Option<Reason>) {
    (Outcome::Fail, Some(reason))
}

#[rstest]
// Bytes that are no messages end the connection at once.
#[case::text(
    KERNEL,
    "text",
    BROKEN,
    "while it ran a program: expected the start of a frame, found"
)]
#[case::endless_bytes(KERNEL, "endless-bytes", BROKEN, "expected the start of a frame, found")]
#[case::frame_of_the_limit(
    KERNEL,
    "frame-of-the-limit",
    BROKEN,
    "bytes follow the message in its frame"
)]
#[case::frame_above_the_limit(
    KERNEL,
    "frame-above-the-limit",
    BROKEN,
    "payload of 131073 bytes, at most 131072 are allowed"
)]
#[case::frame_of_4_gib(KERNEL, "frame-of-4-gib", BROKEN, "payload of 4294967295 bytes")]
#[case::damaged_frame(KERNEL, "damaged-frame", BROKEN, "checksum of the payload is")]
#[case::other_version(KERNEL, "other-version", BROKEN, "the peer speaks version")]
#[case::chunk_of_4_gib(KERNEL, "chunk-of-4-gib", BROKEN, "malformed message")]
// So do messages that answer nothing, such as answers of before.
#[case::hello_again(KERNEL, "hello-again", BROKEN, "while it ran a program: unexpected hello")]
#[case::answer_of_before(KERNEL, "answer-of-before", BROKEN, "unexpected end of an answer")]
#[case::ends_twice(KERNEL, "ends-twice", BROKEN, "kernel's log: unexpected end of a program")]
#[case::refuses(KERNEL, "refuses", (Outcome::Infra, Some(Reason::TracerDied)), "the guest could not execute")]
#[case::log_without_mark(
    KERNEL,
    "log-without-mark",
    BROKEN,
    "without the line that it wrote there last"
)]
#[case::endless_log(KERNEL, "endless-log", BROKEN, "output, unexpected or beyond the limits")]
#[case::resets(KERNEL, "resets", BROKEN, "without a crash report; the last line on its console")]
// Nothing but the guest's memory is read for it.
#[case::memory_elsewhere(KERNEL, "memory-elsewhere", PASS, "")]
// Numbers of any size have a verdict.
#[case::largest_numbers(
    KERNEL,
    "largest-numbers",
    fails(Reason::UnexpectedExit),
    "killed by signal 2147483647"
)]
#[case::dropped_all(
    KERNEL,
    "dropped-all",
    fails(Reason::EventsLost),
    "18446744073709551615 bytes of output"
)]
#[case::smallest_code(KERNEL, "smallest-code", BROKEN, "conductor ended with Code(-2147483648)")]
#[case::largest_signal(
    KERNEL,
    "largest-signal",
    (Outcome::Timeout, Some(Reason::DeadlineExceeded)),
    "a process that can't be killed"
)]
#[case::numbers_that_are_none(
    KERNEL,
    "numbers-that-are-none",
    BROKEN,
    "tracer ended was not reported"
)]
// Text is text, wherever it comes from.
#[case::odd_texts(
    KERNEL,
    "odd-texts",
    fails(Reason::StateLeftBehind),
    "were left running, and were killed"
)]
#[case::console_text(KERNEL, "console-text", PASS, "")]
#[case::frames_on_the_console(KERNEL, "frames-on-the-console", PASS, "")]
#[case::console_flood(KERNEL, "console-flood", PASS, "")]
#[case::kernel_log_flood(KERNEL, "kernel-log-flood", PASS, "")]
// The console, the port and the memory of arm64 are others.
#[case::damaged_frame_on_arm64(ARM64, "damaged-frame", BROKEN, "checksum of the payload is")]
#[case::resets_on_arm64(
    ARM64,
    "resets",
    BROKEN,
    "without a crash report; the last line on its console"
)]
#[case::memory_elsewhere_on_arm64(ARM64, "memory-elsewhere", PASS, "")]
#[case::console_flood_on_arm64(ARM64, "console-flood", PASS, "")]
#[case::kernel_log_flood_on_arm64(ARM64, "kernel-log-flood", PASS, "")]
fn a_hostile_program_gets_no_more_than_its_verdict(
    #[case] kernel: &'static str,
    #[case] way: &str,
    #[case] expected: (Outcome, Option<Reason>),
    #[case] message: &str,
) {
    let place = Place::new(kernel);
    let Ended { cell, status, took } = place.test(|kernlab| {
        kernlab.args(["--", "./agent", "hostile", way]);
    });
    assert_eq!((cell.outcome, cell.reason), expected, "{}", cell.message);
    assert!(cell.message.contains(message), "{}", cell.message);
    let code = match cell.outcome {
        Outcome::Pass => 0,
        Outcome::Infra => 3,
        _ => 1,
    };
    assert_eq!(status.code(), Some(code));
    let files = place.evidence(&cell);
    println!("{took:?}: {files:?}");
    assert!(files.get("console.log").is_none_or(|size| *size <= 4 << 20), "{files:?}");
    assert!(files.get("kernel.log").is_none_or(|size| *size <= 8 << 20), "{files:?}");
    assert!(files["cell.json"] < 1 << 20, "{files:?}");
}

#[test]
fn files_of_a_guest_stay_where_they_belong() {
    let place = Place::new(KERNEL);
    let Ended { cell, .. } = place.test(|kernlab| {
        kernlab.args(["--", "./agent", "hostile", "odd-files"]);
    });
    assert_eq!(cell.outcome, Outcome::Pass, "{}", cell.message);
    let files = place.evidence(&cell);
    let collected: Vec<_> =
        files.keys().filter_map(|path| path.strip_prefix("collected/")).collect();
    let expected = [
        "cell.json",
        "kernlab-owned",
        "report.json",
        "tmp/%202eright",
        "tmp/esc%1b[2J",
        "tmp/kernlab-owned",
        "tmp/line%0afeed",
        "tmp/nul%00byte",
        "tmp/well",
    ];
    assert_eq!(collected, expected);
    // The cell's own report is none of the guest's.
    assert!(files["cell.json"] > 100, "{files:?}");
    assert_eq!(cell.remarks.len(), 6, "{:#?}", cell.remarks);
    assert!(cell.remarks[5].ends_with(" more files were not brought back: see record.jsonl"));
}

#[test]
fn a_guest_fills_no_disk_with_small_files() {
    let place = Place::new(KERNEL);
    let Ended { cell, .. } = place.test(|kernlab| {
        kernlab.args(["--", "./agent", "hostile", "many-files"]);
    });
    assert_eq!(cell.outcome, Outcome::Pass, "{}", cell.message);
    let files = place.evidence(&cell);
    let collected = files.keys().filter(|path| path.starts_with("collected/")).count();
    assert_eq!(collected, 10_000);
    assert!(cell.remarks[0].contains("there are more than 10000 files"), "{:?}", cell.remarks);
}

#[rstest]
#[case::other_kernel(
    "other-kernel",
    Reason::WrongKernel,
    "the guest ran kernel 5.10.0-owned instead of 6.1"
)]
#[case::long_name("other-kernel-with-a-long-name", Reason::WrongKernel, "the guest ran kernel ")]
#[case::module("module-refused", Reason::ModuleRefused, "the kernel refused the module ")]
#[case::no_hello("done-instead-of-hello", Reason::ConnectionLost, "unexpected end of an answer")]
fn a_hostile_agent_is_no_verdict_on_a_tracer(
    #[case] way: &str,
    #[case] reason: Reason,
    #[case] message: &str,
) {
    let place = Place::new(KERNEL);
    let guest = place.hostile_guest(way);
    let Ended { cell, status, .. } = place.test(|kernlab| {
        kernlab.env("KERNLAB_GUEST", guest).args(["--cold", "--", "true"]);
    });
    assert_eq!((cell.outcome, cell.reason), (Outcome::Infra, Some(reason)), "{}", cell.message);
    assert!(cell.message.contains(message), "{}", cell.message);
    assert_eq!(status.code(), Some(3));
}
