//! The names that the lab gives to files of a store. It removes nothing that has another name.

/// A directory of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Downloads.
    Objects,
    /// Downloads in progress.
    Partial,
    /// Directories that are derived from objects.
    Artifacts,
    /// Artifacts that are being built.
    Scratch,
    /// Files that processes lock.
    Locks,
    /// Logs of builds.
    Logs,
    /// Payloads of suites.
    Archives,
    /// Saved guests.
    Checkpoints,
    /// The programs that run in guests.
    Guest,
    /// Initial file systems of guests.
    Images,
    /// Disks of root file systems.
    Roots,
    /// Remembered digests of files.
    Digests,
    /// Runs of a runner outside of any project.
    Runner,
}

impl Part {
    pub(super) const ALL: [Part; 13] = [
        Part::Objects,
        Part::Partial,
        Part::Artifacts,
        Part::Scratch,
        Part::Locks,
        Part::Logs,
        Part::Archives,
        Part::Checkpoints,
        Part::Guest,
        Part::Images,
        Part::Roots,
        Part::Digests,
        Part::Runner,
    ];

    /// The name of its directory.
    pub fn name(self) -> &'static str {
        match self {
            Part::Objects => "objects",
            Part::Partial => "partial",
            Part::Artifacts => "artifacts",
            Part::Scratch => "scratch",
            Part::Locks => "locks",
            Part::Logs => "logs",
            Part::Archives => "archives",
            Part::Checkpoints => "checkpoints",
            Part::Guest => "guest",
            Part::Images => "images",
            Part::Roots => "roots",
            Part::Digests => "digests",
            Part::Runner => "runner",
        }
    }

    /// Whether the lab gives this name to what a process writes and renames when it is complete. What
    /// has it for long was left by a killed process.
    pub fn makes_unfinished(self, name: &str) -> bool {
        self.makes(name) && (is_temporary(name, ".tmp") || is_temporary(name, ".new-"))
    }

    /// Whether the lab gives this name to an entry of the directory.
    pub fn makes(self, name: &str) -> bool {
        let digest_and = |endings: &[&str]| {
            let ends = |ending: &&str| name.strip_suffix(*ending).is_some_and(is_digest);
            endings.iter().any(ends)
        };
        match self {
            Part::Objects => is_hex(name, 2),
            Part::Partial | Part::Artifacts | Part::Scratch | Part::Guest => is_digest(name),
            Part::Locks => {
                let prefixes = ["checkpoint-", "root-", "first-", "lock-file-", "lock-entry-"];
                is_digest(name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
            }
            Part::Logs => {
                let stem = name.strip_suffix(".log").or_else(|| name.strip_suffix(".config"));
                let digits = stem.and_then(|stem| stem.rsplit_once('-')).map(|(_, digits)| digits);
                name == "build-tools.log" || digits.is_some_and(|digits| is_hex(digits, 12))
            }
            Part::Archives => digest_and(&[".tar"]) || is_temporary(name, ".tmp"),
            Part::Digests => digest_and(&[".json"]) || is_temporary(name, ".tmp"),
            Part::Images => digest_and(&[".cpio", ".json"]) || is_temporary(name, ".tmp"),
            Part::Roots => {
                let stem = name.strip_suffix(".squashfs").and_then(|stem| stem.rsplit_once('.'));
                let is_image = stem.is_some_and(|(digest, version)| {
                    is_digest(digest) && version.bytes().all(|byte| byte.is_ascii_digit())
                });
                is_image || digest_and(&[".json"]) || is_temporary(name, ".tmp")
            }
            Part::Checkpoints => {
                let mut parts = name.split('.');
                let is_key = parts.clone().count() <= 2 && parts.all(is_digest);
                is_key || is_temporary(name, ".new-")
            }
            Part::Runner => is_run(name),
        }
    }
}

/// Whether this is the name of a run's directory: its time, with a number where there are several.
pub fn is_run(name: &str) -> bool {
    let (time, number) = name.split_once('-').unwrap_or((name, "2"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let halves = time.split_once('T');
    let is_time = |(day, time): (&str, &str)| {
        (day.len(), time.len()) == (8, 6) && is_number(day) && is_number(time)
    };
    halves.is_some_and(is_time) && is_number(number)
}

/// Files in a store's directory itself, besides its parts. The last is the directory that a file system
/// of its own begins with.
const FILES: [&str; 9] = [
    super::MARKER,
    "in-use",
    "accelerator.json",
    "sandbox.json",
    "sandbox-aarch64.json",
    "kernels.lock",
    "kernels.lock.new",
    "kernels.toml",
    "lost+found",
];

/// Whether the lab gives this name to an entry of a store.
pub(super) fn is_of_a_store(name: &str) -> bool {
    FILES.contains(&name)
        || is_temporary(name, ".tmp")
        || Part::ALL.iter().any(|part| part.name() == name)
}

fn is_digest(text: &str) -> bool {
    is_hex(text, 64)
}

fn is_hex(text: &str, length: usize) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == length && text.bytes().all(is_digit)
}

/// A name of the crate tempfile: a prefix and six letters or digits.
fn is_temporary(name: &str, prefix: &str) -> bool {
    let random = name.strip_prefix(prefix);
    random.is_some_and(|it| it.len() == 6 && it.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn unfinished_files_have_names_of_their_own() {
        assert!(Part::Roots.makes_unfinished(".tmpaB3xyz"));
        assert!(Part::Checkpoints.makes_unfinished(".new-aB3xyz"));
        for (part, name) in [(Part::Checkpoints, ".tmpaB3xyz"), (Part::Roots, ".tmp")] {
            assert!(!part.makes_unfinished(name), "{name}");
        }
        assert!(!Part::Checkpoints.makes_unfinished(&"0f".repeat(32)));
    }

    #[rstest]
    #[case(Part::Objects, &["0a"], &["0A", "abc", "..", "lib"])]
    #[case(Part::Artifacts, &["D"], &["D.tar", "photos", ".ssh", ""])]
    #[case(Part::Guest, &["D"], &["virtual-machine"])]
    #[case(Part::Locks, &["D", "root-D", "lock-entry-D-debian-6.1"], &["id_ed25519"])]
    #[case(Part::Logs, &["x-6.1-0123456789ab.log", "build-tools.log"], &["syslog", "a.log", "a-b.log"])]
    #[case(Part::Archives, &["D.tar", ".tmpaB3xyz"], &["backup.tar", "D.tar.gz", ".tmp"])]
    #[case(Part::Images, &["D.cpio", "D.json"], &["cat.jpg", "D"])]
    #[case(Part::Roots, &["D.2.squashfs", "D.json"], &["debian.squashfs", "D.x.squashfs"])]
    #[case(Part::Checkpoints, &["D", "D.D", ".new-aB3xyz"], &["D.D.D", "model.ckpt", "D."])]
    #[case(Part::Runner, &["20260102T030405", "20260102T030405-2"], &["latest", "20260102", "a-2"])]
    fn names(#[case] part: Part, #[case] own: &[&str], #[case] others: &[&str]) {
        let name = |text: &&str| text.replace('D', &"0f".repeat(32));
        for text in own {
            assert!(part.makes(&name(text)), "{text}");
        }
        for text in others {
            assert!(!part.makes(&name(text)), "{text}");
        }
    }
}
