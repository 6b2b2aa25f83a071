//! Runs the kernel's own build: parallel, with a log, watched.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, PipeReader, Read as _, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
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

use super::error::{BuildError, io_error};

/// The longest step that says nothing is the last link, and with BTF the pass of pahole.
const SILENCE: Duration = Duration::from_secs(30 * 60);
/// How much of the end of a log goes into an error.
const LAST_LINES: usize = 15;
/// Longer lines are cut: a file name and a message fit.
const LONGEST_LINE: usize = 4096;

/// Variables that would have a say in what is built.
const UNWANTED: [&str; 14] = [
    "ARCH",
    "CC",
    "CROSS_COMPILE",
    "EXTRAVERSION",
    "INSTALL_PATH",
    "KBUILD_OUTPUT",
    "KCFLAGS",
    "KCONFIG_ALLCONFIG",
    "KCONFIG_CONFIG",
    "LLVM",
    "LOCALVERSION",
    "MAKEFLAGS",
    "MFLAGS",
    "O",
];

/// Who built it, where and when: always the same, so that the image is.
const IDENTITY: [(&str, &str); 5] = [
    ("LC_ALL", "C"),
    ("KBUILD_BUILD_USER", "builder"),
    ("KBUILD_BUILD_HOST", "kernlab"),
    ("KBUILD_BUILD_VERSION", "1"),
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
];

/// A kernel's source and where its build goes.
pub(super) struct Make<'a> {
    /// Left as it is.
    pub(super) tree: &'a Path,
    /// Gets everything that is made.
    pub(super) output: &'a Path,
    /// Gets everything that is said, at its end.
    pub(super) log: &'a Path,
    /// Compilers at a time.
    pub(super) jobs: usize,
    pub(super) silence: Duration,
}

impl<'a> Make<'a> {
    pub(super) fn new(tree: &'a Path, output: &'a Path, log: &'a Path) -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Make { tree, output, log, jobs, silence: SILENCE }
    }

    /// Makes a target, and calls `made` for every file on the way, with make's word for it:
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
        let mut last = VecDeque::new();
        let mut keep = |line: &str| -> io::Result<()> {
            writeln!(log, "{line}")?;
            match progress(line) {
                Some(file) => made(file),
                None if line.trim().is_empty() => {}
                None => {
                    last.push_back(line.to_owned());
                    if last.len() > LAST_LINES {
                        last.pop_front();
                    }
                }
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
        let (mut running, mut output) = self
            .start(target, variables)
            .map_err(|error| failed("it could not be started".to_owned(), format!("  {error}")))?;
        while let Some(line) = output.line(self.silence).map_err(io_error("read", self.log))? {
            let Heard::Line(line) = line else {
                return Err(BuildError::Silent {
                    command,
                    minutes: self.silence.as_secs() / 60,
                    log: self.log.to_owned(),
                });
            };
            keep(&line).map_err(io_error("write", self.log))?;
        }
        let status = running.0.wait().map_err(io_error("read", self.log))?;
        if status.success() {
            return Ok(());
        }
        let said: Vec<_> = last.iter().map(|line| format!("  {line}")).collect();
        Err(failed(status.to_string(), said.join("\n")))
    }

    fn start(&self, target: &str, variables: &[(&str, &Path)]) -> io::Result<(Running, Output)> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new("make");
        command.arg("-C").arg(self.tree);
        command.args([format!("-j{}", self.jobs), "--no-print-directory".to_owned()]);
        let mut assign = |name: &str, value: &Path| {
            let mut word = std::ffi::OsString::from(format!("{name}="));
            word.push(value);
            command.arg(word);
        };
        assign("O", self.output);
        for (name, value) in variables {
            assign(name, value);
        }
        command.arg(target);
        for name in UNWANTED {
            command.env_remove(name);
        }
        command
            .envs(IDENTITY)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        // SAFETY: prctl is async-signal-safe, and nothing is allocated.
        unsafe {
            // However this process ends: make passes the signal on to all that it started.
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?));
        }
        let child = command.spawn()?;
        // The command holds our copies of the pipe's end: as long as it lives, the pipe has none.
        drop(command);
        Ok((Running(child), Output { reader, buffer: Vec::new() }))
    }
}

/// A build under way; whatever is left of it when this is dropped is killed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let group = Pid::from_raw(self.0.id().cast_signed());
            // ESRCH: it has just ended.
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

/// What a build says, line by line.
struct Output {
    reader: PipeReader,
    buffer: Vec<u8>,
}

enum Heard {
    Line(String),
    Nothing,
}

impl Output {
    /// The next line; none at the end.
    fn line(&mut self, silence: Duration) -> io::Result<Option<Heard>> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n');
            if end.is_some() || self.buffer.len() >= LONGEST_LINE {
                let length = end.map_or(LONGEST_LINE, |end| end + 1);
                return Ok(Some(Heard::Line(self.take(length))));
            }
            let mut fds = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(silence).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(0) => return Ok(Some(Heard::Nothing)),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
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

    fn take(&mut self, length: usize) -> String {
        let rest = self.buffer.split_off(length.min(self.buffer.len()));
        let line = std::mem::replace(&mut self.buffer, rest);
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }
}

/// `CC init/main.o` of a line `  CC      init/main.o`, the form of all that Kbuild says when all is
/// well.
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
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("Makefile"), makefile).unwrap();
            Tree(folder)
        }

        fn make(&self, silence: Duration) -> (Result<(), BuildError>, Vec<String>, String) {
            let path = self.0.path();
            let log = path.join("log");
            let make = Make { tree: path, output: path, log: &log, jobs: 2, silence };
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
            "all:\n\t@echo '  CC      init/main.o'\n\t@echo \"$(NAME) in $(notdir $(CURDIR)), -$(ARCH)-\"\n",
        );
        let (outcome, made, log) = tree.make(LONG);
        outcome.unwrap();
        assert_eq!(made, ["CC      init/main.o"]);
        let folder = tree.0.path().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(log, format!("$ make all\n  CC      init/main.o\na b in {folder}, --\n"));
    }

    #[test]
    fn a_failure_shows_the_log_and_its_last_lines() {
        let tree = Tree::new(
            "all:\n\t@echo '  CC      init/main.o'\n\t@echo 'main.c:3: error: no such thing' >&2; exit 1\n",
        );
        let (outcome, ..) = tree.make(LONG);
        let error = outcome.unwrap_err().to_string();
        let log = tree.0.path().join("log").display().to_string();
        assert!(error.starts_with("`make all` failed (exit status: 2), "), "{error}");
        assert!(error.contains(&log), "{error}");
        assert!(error.contains("\n  main.c:3: error: no such thing\n  make: ***"), "{error}");
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
        // Nobody has the other end open any more, once the recipe is dead.
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
