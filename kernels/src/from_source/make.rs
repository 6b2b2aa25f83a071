//! Runs the kernel's own build: in parallel, with a log, and with a timeout on silence.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io::{self, PipeReader, Read as _, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{Signal, killpg},
    },
    unistd::Pid,
};

use super::{
    environment::Environment,
    error::{BuildError, io_error},
};
use crate::interruption;

/// The longest steps without output are the final link and, with BTF, the pass of pahole.
const SILENCE: Duration = Duration::from_secs(30 * 60);
/// How many lines from the end of a log an error message contains.
const LAST_LINES: usize = 15;
/// How many lines with errors from a log an error message contains.
const ERROR_LINES: usize = 10;
/// How long to wait for killed compilers to exit.
const GONE: Duration = Duration::from_secs(10);
/// Longer lines are cut. A file name and a message fit.
const LONGEST_LINE: usize = 4096;

/// A kernel's source, and the directories of its build.
pub(super) struct Make<'a> {
    /// The source directory, which is not modified.
    pub(super) tree: &'a Path,
    /// The output directory.
    pub(super) output: &'a Path,
    /// The log, to which all output is appended.
    pub(super) log: &'a Path,
    /// The number of parallel jobs.
    pub(super) jobs: usize,
    pub(super) silence: Duration,
    pub(super) environment: Environment,
    /// Variables of the toolchain, as in `make NAME=value`.
    pub(super) toolchain: Vec<(&'static str, OsString)>,
}

impl<'a> Make<'a> {
    pub(super) fn new(
        tree: &'a Path,
        output: &'a Path,
        log: &'a Path,
        environment: Environment,
        toolchain: Vec<(&'static str, OsString)>,
    ) -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Make { tree, output, log, jobs, silence: SILENCE, environment, toolchain }
    }

    /// Builds a target, and calls `made` for every file that is built, with Kbuild's line for it:
    /// `CC init/main.o`. `variables` are set as in `make NAME=value`.
    pub(super) fn run(
        &self,
        target: &str,
        variables: &[(&str, &Path)],
        made: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let command = format!("make {target}");
        let mut log = File::options()
            .create(true)
            .append(true)
            .open(self.log)
            .map_err(io_error("write", self.log))?;
        let mut excerpt = Excerpt::default();
        let mut keep = |line: &str| -> io::Result<()> {
            writeln!(log, "{line}")?;
            match progress(line) {
                Some(file) => made(file),
                None => excerpt.add(line),
            }
            Ok(())
        };
        keep(&format!("$ {command}")).map_err(io_error("write", self.log))?;
        let failed = |status: String, said: String| BuildError::Make {
            command: command.clone(),
            status,
            log: self.log.to_owned(),
            said,
        };
        let (mut running, mut output) = self.start(target, variables).map_err(|error| {
            failed("it could not be started".to_owned(), format!("\n  {error}"))
        })?;
        while let Some(heard) = output.line(self.silence).map_err(io_error("read", self.log))? {
            let error = match heard {
                Heard::Line(line) => {
                    keep(&line).map_err(io_error("write", self.log))?;
                    continue;
                }
                Heard::Nothing => BuildError::Silent {
                    command,
                    minutes: self.silence.as_secs() / 60,
                    log: self.log.to_owned(),
                },
                Heard::Signal(signal) => BuildError::Interrupted { signal },
            };
            running.kill();
            output.wait_for_end(GONE);
            return Err(error);
        }
        let status = running.0.wait().map_err(io_error("read", self.log))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(status.to_string(), excerpt.to_string()))
    }

    fn start(
        &self,
        target: &str,
        variables: &[(&str, &Path)],
    ) -> io::Result<(MakeProcess, Output)> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new("make");
        command.arg("-C").arg(self.tree);
        command.args([format!("-j{}", self.jobs), "--no-print-directory".to_owned()]);
        let mut assign = |name: &str, value: &OsStr| {
            let mut word = OsString::from(format!("{name}="));
            word.push(value);
            command.arg(word);
        };
        assign("O", self.output.as_os_str());
        for (name, value) in variables {
            assign(name, value.as_os_str());
        }
        for (name, value) in &self.toolchain {
            assign(name, value);
        }
        command.arg(target);
        self.environment.apply(&mut command);
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        // SAFETY: prctl is async-signal-safe, and the closure allocates nothing.
        unsafe {
            // However this process ends, make gets a signal and passes it on to all its children.
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?));
        }
        let child = command.spawn()?;
        // The command holds this process's copy of the pipe's write end. The pipe has no end of
        // file until the command is dropped.
        drop(command);
        Ok((MakeProcess(child), Output { reader, buffer: Vec::new() }))
    }
}

/// A running build. Dropping this kills what is left of it.
struct MakeProcess(Child);

impl MakeProcess {
    fn kill(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let group = Pid::from_raw(self.0.id().cast_signed());
            // ESRCH: it has just exited.
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

impl Drop for MakeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The output of a build, line by line.
struct Output {
    reader: PipeReader,
    buffer: Vec<u8>,
}

enum Heard {
    Line(String),
    Nothing,
    Signal(Signal),
}

impl Output {
    /// The next line, or `None` at the end.
    fn line(&mut self, silence: Duration) -> io::Result<Option<Heard>> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n');
            if end.is_some() || self.buffer.len() >= LONGEST_LINE {
                let length = end.map_or(LONGEST_LINE, |end| end + 1);
                return Ok(Some(Heard::Line(self.take(length))));
            }
            let wanted = [Some(self.reader.as_fd()), interruption::wake()];
            let wanted = wanted.into_iter().flatten();
            let mut fds: Vec<_> = wanted.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let timeout = PollTimeout::try_from(silence).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(0) => return Ok(Some(Heard::Nothing)),
                Err(error) if error != Errno::EINTR => return Err(error.into()),
                _ => {}
            }
            if let Some(signal) = interruption::noted() {
                return Ok(Some(Heard::Signal(signal)));
            }
            if !fds[0].any().unwrap_or(false) {
                continue;
            }
            let mut chunk = [0; 1 << 14];
            match self.reader.read(&mut chunk)? {
                0 if self.buffer.is_empty() => return Ok(None),
                0 => {
                    let length = self.buffer.len();
                    return Ok(Some(Heard::Line(self.take(length))));
                }
                length => self.buffer.extend_from_slice(&chunk[..length]),
            }
        }
    }

    /// Waits until every process of the build has closed its end of the pipe, and so has exited.
    fn wait_for_end(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Err(Errno::EINTR) => {}
                Ok(1..) if matches!(self.reader.read(&mut [0; 1 << 14]), Ok(1..)) => {}
                _ => return,
            }
        }
    }

    fn take(&mut self, length: usize) -> String {
        let rest = self.buffer.split_off(length.min(self.buffer.len()));
        let line = std::mem::replace(&mut self.buffer, rest);
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }
}

/// The relevant output of a failed build: the lines with errors, and the last lines.
#[derive(Debug, Default)]
struct Excerpt {
    errors: Vec<String>,
    last: VecDeque<String>,
}

impl Excerpt {
    fn add(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.errors.len() < ERROR_LINES && tells_error(line) {
            self.errors.push(line.to_owned());
        }
        self.last.push_back(line.to_owned());
        if self.last.len() > LAST_LINES {
            self.last.pop_front();
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.errors {
            write!(f, "\n  {line}")?;
        }
        if !self.errors.is_empty() {
            f.write_str("\nthe end of the log:")?;
        }
        self.last.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Whether this line is an error of a compiler, assembler or linker, as opposed to make's own errors
/// such as `Error 1`.
fn tells_error(line: &str) -> bool {
    ["error:", "Error:", "undefined reference to "].iter().any(|mark| line.contains(mark))
}

/// `CC init/main.o` for a line `  CC      init/main.o`, the form of all of Kbuild's lines if
/// nothing is wrong.
fn progress(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("  ")?;
    let word = rest.split(' ').next()?;
    let is_word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "_+-.".contains(c);
    (word.len() > 1 && word.chars().all(is_word)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::OpenOptionsExt as _};

    use rstest::rstest;

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(makefile: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("Makefile"), makefile).unwrap();
            Tree(dir)
        }

        fn make(&self, silence: Duration) -> (Result<(), BuildError>, Vec<String>, String) {
            let path = self.0.path();
            let log = path.join("log");
            let make = Make {
                jobs: 2,
                silence,
                ..Make::new(
                    path,
                    path,
                    &log,
                    Environment::of_this_process(),
                    vec![("CC", "cc".into())],
                )
            };
            let mut made = Vec::new();
            let outcome = make
                .run("all", &[("NAME", Path::new("a b"))], &mut |file| made.push(file.to_owned()));
            (outcome, made, fs::read_to_string(log).unwrap())
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_made_is_told_and_all_is_logged() {
        let tree = Tree::new(
            "all:\n\t@echo '  CC      init/main.o'\n\t@echo \"$(NAME) in $(notdir $(CURDIR)) by $(CC)\"\n",
        );
        let (outcome, made, log) = tree.make(LONG);
        outcome.unwrap();
        assert_eq!(made, ["CC      init/main.o"]);
        let dir = tree.0.path().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(log, format!("$ make all\n  CC      init/main.o\na b in {dir} by cc\n"));
    }

    #[test]
    fn a_failure_shows_the_log_and_its_last_lines() {
        let tree = Tree::new(
            "all:\n\t@echo '  CC      init/main.o'\n\t@echo 'main.c:3: error: no such thing' >&2\n\
             \t@for i in $$(seq 40); do echo \"main.c:4: note: $$i\" >&2; done; exit 1\n",
        );
        let (outcome, ..) = tree.make(LONG);
        let error = outcome.unwrap_err().to_string();
        let log = tree.0.path().join("log").display().to_string();
        assert!(error.starts_with("`make all` failed (exit status: 2), "), "{error}");
        assert!(error.contains(&log), "{error}");
        let beginning =
            "\n  main.c:3: error: no such thing\nthe end of the log:\n  main.c:4: note: 27\n";
        assert!(error.contains(beginning), "{error}");
        assert!(error.contains("main.c:4: note: 40\n  make: ***"), "{error}");
        assert!(!error.contains("init/main.o"), "{error}");
    }

    #[test]
    fn a_build_that_hangs_is_killed_with_all_that_it_started() {
        let tree = Tree::new("all:\n\t@exec sleep 1000 > fifo\n");
        let fifo = tree.0.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let end = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fifo).unwrap();
        let (outcome, ..) = tree.make(Duration::from_millis(500));
        assert!(matches!(outcome, Err(BuildError::Silent { .. })), "{outcome:?}");
        // Once the recipe is dead, no process has the other end open.
        let mut ends = [PollFd::new(end.as_fd(), PollFlags::empty())];
        assert_eq!(poll(&mut ends, PollTimeout::from(10_000_u16)).unwrap(), 1);
    }

    #[rstest]
    #[case("  CC      init/main.o", Some("CC      init/main.o"))]
    #[case("  LD      vmlinux.o", Some("LD      vmlinux.o"))]
    #[case("  BTF     .btf.vmlinux.bin.o", Some("BTF     .btf.vmlinux.bin.o"))]
    #[case("Kernel: arch/x86/boot/bzImage is ready  (#1)", None)]
    #[case("  In file included from a.c:1:", None)]
    #[case("", None)]
    fn progress_is_told_from_everything_else(#[case] line: &str, #[case] file: Option<&str>) {
        assert_eq!(progress(line), file);
    }
}
