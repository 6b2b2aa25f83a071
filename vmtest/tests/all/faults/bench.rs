//! A store and a project of a test's own, in which a program runs in a guest.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::{Kernels, Silent};
use kernlab_vmtest::report::{CellReport, Report};

/// The kernel of these tests.
pub(crate) const KERNEL: &str = "debian-6.1";

/// The variable that marks the processes of a test.
const MARK: &str = "KERNLAB_FAULT_TEST";

/// A directory with a store that has a kernel and a saved guest, and a project.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

/// What a run told.
pub(crate) struct Told {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The only cell of its report, if there is one.
    pub(crate) cell: Option<CellReport>,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Bench {
    /// With a store that is ready: a run restores its guest.
    pub(crate) fn new() -> Self {
        let bench = Bench::empty();
        copy(&template(), &bench.store());
        bench
    }

    /// With a store that has the kernel's package, and nothing else.
    pub(crate) fn with_package() -> Self {
        let bench = Bench::empty();
        fs::create_dir(bench.store()).unwrap();
        copy(&template().join("objects"), &bench.store().join("objects"));
        bench
    }

    fn empty() -> Self {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.project()).unwrap();
        fs::create_dir(bench.temporary()).unwrap();
        bench
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn temporary(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    /// A command that runs a program in a guest.
    pub(crate) fn exec(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernlab"));
        command.args(["exec", "--json", "--kernel", KERNEL, "--", "sh", "-c", "echo here"]);
        self.set_up(&mut command);
        command
    }

    /// The same command behind another that starts it, such as taskset(1).
    pub(crate) fn exec_by(&self, words: &[impl AsRef<OsStr>]) -> Command {
        let exec = self.exec();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(exec.get_program()).args(exec.get_args());
        self.set_up(&mut command);
        command
    }

    /// The environment in which commands use this store.
    pub(crate) fn set_up(&self, command: &mut Command) {
        command
            .current_dir(self.project())
            .env("KERNLAB_STORE", self.store())
            .env("KERNLAB_LOCKED", "1")
            .env("TMPDIR", self.temporary())
            .env(MARK, self.dir.path())
            .stdin(Stdio::null());
    }

    /// Asserts that a run is right, and takes nothing for damaged.
    pub(crate) fn expect_right(&self) {
        let told = run(&mut self.exec());
        told.expect_pass();
        assert_eq!(told.stderr, "", "there is nothing to tell");
        self.expect_nothing_left();
    }

    /// Asserts that no process is left, no lock held, and no file unfinished.
    pub(crate) fn expect_nothing_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(left) = self.processes().pop() {
            assert!(Instant::now() < deadline, "left running: {left}");
            thread::sleep(Duration::from_millis(20));
        }
        for lock in files(&self.store().join("locks")).iter().chain([&self.store().join("in-use")])
        {
            let Ok(file) = File::options().write(true).open(lock) else { continue };
            let tried = file.try_lock();
            assert!(!matches!(tried, Err(TryLockError::WouldBlock)), "held: {}", lock.display());
        }
        assert_eq!(files(&self.temporary()), [""; 0].map(PathBuf::from));
        for part in ["partial", "scratch"] {
            assert_eq!(files(&self.store().join(part)), [""; 0].map(PathBuf::from));
        }
        let store = self.store();
        let unfinished = files(&store).into_iter().find(|path| {
            let name = path.strip_prefix(&store).unwrap().to_string_lossy();
            name.contains("/.tmp") || name.contains("/.new-")
        });
        assert_eq!(unfinished, None);
    }

    /// The living processes that the commands of this bench started.
    fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.dir.path().display());
        let all = fs::read_dir("/proc").unwrap().flatten();
        let marked = all.filter_map(|process| {
            let environment = fs::read(process.path().join("environ")).ok()?;
            let mut entries = environment.split(|&byte| byte == 0);
            entries.any(|entry| entry == mark.as_bytes()).then_some(())?;
            fs::read_to_string(process.path().join("cmdline")).ok()
        });
        marked.collect()
    }
}

impl Told {
    pub(crate) fn of(output: Output) -> Self {
        let report = serde_json::from_slice::<Report>(&output.stdout).ok();
        Told {
            code: output.status.code(),
            cell: report.and_then(|report| report.cells.into_iter().next()),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
    }

    pub(crate) fn expect_pass(&self) {
        let outcome = self.cell.as_ref().map(|cell| cell.outcome);
        assert_eq!((self.code, outcome), (Some(0), Some(Outcome::Pass)), "{self:?}");
    }

    /// Asserts that the lab could not run the program, for this reason.
    pub(crate) fn expect_infra(&self, reason: Reason, words: &str) {
        let cell = self.cell.as_ref().unwrap_or_else(|| panic!("no report: {self:?}"));
        let verdict = (cell.outcome, cell.reason);
        assert_eq!(verdict, (Outcome::Infra, Some(reason)), "{self:?}");
        assert!(cell.message.contains(words), "{self:?}");
        assert_eq!(self.code, Some(125), "{self:?}");
    }
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cell = self.cell.as_ref();
        let verdict = cell.map(|cell| format!("{}: {}", cell.verdict(), cell.message));
        write!(f, "exit code {:?}, {verdict:?}, stderr {:?}", self.code, self.stderr)
    }
}

pub(crate) fn run(command: &mut Command) -> Told {
    Told::of(command.output().unwrap())
}

/// All files below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// A store that is ready, made by the first test that needs it.
fn template() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    fs::create_dir_all(&dir).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let (store, note) = (dir.join("store"), dir.join("ready"));
    let programs = [
        PathBuf::from(env!("CARGO_BIN_EXE_kernlab")),
        Path::new(&std::env::var("KERNLAB_GUEST").unwrap_or_default()).join("kernlab-agent"),
    ];
    let state = programs.map(|program| {
        let file = fs::metadata(&program).map(|file| (file.ino(), file.size(), file.mtime()));
        format!("{} {file:?}\n", program.display())
    });
    if fs::read_to_string(&note).is_ok_and(|ready| ready == state.concat()) {
        return store;
    }
    if store.exists() {
        fs::remove_dir_all(&store).unwrap();
    }
    let kernels = Kernels::open().unwrap();
    let entry = kernels.entry(KERNEL).unwrap();
    // It is downloaded, if nothing has done that before.
    kernels.prepare(entry, &Silent).unwrap();
    let file = &kernels.locked(entry).unwrap().files[0];
    let name = file.sha256.to_string();
    let below = Path::new("objects").join(&name[..2]);
    fs::create_dir_all(store.join(&below)).unwrap();
    let object = below.join(&name);
    fs::copy(kernels.store().root().join(&object), store.join(&object)).unwrap();
    let project = dir.join("project");
    fs::create_dir_all(&project).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(["exec", "--kernel", KERNEL, "--", "sh", "-c", "echo here"])
        .current_dir(&project)
        .env("KERNLAB_STORE", &store)
        .env("KERNLAB_LOCKED", "1")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(note, state.concat()).unwrap();
    store
}
