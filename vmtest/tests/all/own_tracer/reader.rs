//! Somebody who reads the page, and does what it says.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kernlab_kernels::Kernels;
use regex::Regex;

use super::page::Block;

/// A home directory with a checkout of kernlab in it, and a shell there.
pub(crate) struct Reader {
    home: tempfile::TempDir,
    /// The shell's working directory.
    dir: PathBuf,
    path: String,
    guest: PathBuf,
    store: PathBuf,
}

impl Reader {
    pub(crate) fn new(checkout: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        symlink(checkout, home.path().join("kernlab")).unwrap();
        let programs = Path::new(env!("CARGO_BIN_EXE_kernlab")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
        let guest = env::var_os("KERNLAB_GUEST").map(PathBuf::from);
        let guest = guest.unwrap_or_else(|| checkout.join("target/x86_64-unknown-linux-gnu/guest"));
        let store = Kernels::open().unwrap().store().root().to_owned();
        Reader { dir: home.path().to_owned(), home, path, guest, store }
    }

    /// Writes a file that the page shows.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Types the commands of a block, and compares what they print.
    pub(crate) fn session(&mut self, block: &Block) {
        let commands = block.commands();
        let fails = block.words == ["fails"];
        for (at, command) in commands.iter().enumerate() {
            if let Some(dir) = command.line.strip_prefix("cd ") {
                self.dir = self.home.path().join(&self.dir).join(dir);
                continue;
            }
            let may_fail = fails && at + 1 == commands.len();
            let place = format!("line {}: `{}`", block.line, command.line);
            let printed = self.run(command.line, !may_fail, &place);
            let (shown, printed) = (comparable(&command.shown.join("\n")), comparable(&printed));
            assert!(matches(&shown, &printed), "{place}\nshown: {shown:#?}\nprinted: {printed:#?}");
        }
    }

    fn run(&self, line: &str, succeeds: bool, place: &str) -> String {
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(&self.dir)
            .env("HOME", self.home.path())
            .env("PATH", &self.path)
            .env("KERNLAB_GUEST", &self.guest)
            .env("KERNLAB_STORE", &self.store)
            // A reader is no CI system.
            .env_remove("CI")
            .env_remove("KERNLAB_MATRIX")
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.success(), succeeds, "{place}\n{stdout}\n{stderr}");
        stdout
    }
}

/// The lines of an output without what varies, blank lines and the width of columns.
fn comparable(text: &str) -> Vec<String> {
    const VARIES: [(&str, &str); 5] = [
        // The release of a kernel.
        (r"\b\d+\.\d+\.\d+[-+][-+.\w]+", "RELEASE"),
        (r"\s+", " "),
        // Seconds: a number with a fraction that is a word of its own.
        (r"(^| )\d+\.\d+( |$)", "${1}N${2}"),
        (r"\b\d+ ms\b", "N ms"),
        (r"evidence: .*", "evidence: RUN"),
    ];
    let varies = VARIES.map(|(pattern, with)| (Regex::new(pattern).unwrap(), with));
    let lines = text.lines().map(|line| {
        varies.iter().fold(line.trim().to_owned(), |line, (pattern, with)| {
            pattern.replace_all(&line, *with).into_owned()
        })
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// Whether all lines are the same, where `...` stands for any number of them.
fn matches(shown: &[String], printed: &[String]) -> bool {
    match shown {
        [] => printed.is_empty(),
        [gap, rest @ ..] if gap == "..." => {
            (0..=printed.len()).any(|start| matches(rest, &printed[start..]))
        }
        [line, rest @ ..] => printed.first() == Some(line) && matches(rest, &printed[1..]),
    }
}

#[test]
fn what_varies_is_not_compared() {
    let matches = |shown, printed| matches(&comparable(shown), &comparable(printed));
    assert!(matches("a  6.1.0-1-amd64 in 2.3 s", "\na 6.1.99+deb13 in 12.0 s\n"));
    assert!(matches("a\n...\nc\n...", "a\nb\nb\nc"));
    assert!(matches("...", ""));
    assert!(!matches("a", "a\nb"));
    assert!(!matches("a\n...\nc", "a\nb"));
    assert!(!matches("2 cells", "3 cells"));
    assert!(!matches("debian-5.10", "debian-6.1"));
}
