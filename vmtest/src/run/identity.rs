//! What the parts of one run have in common, so that a report of another run is not mistaken for one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use kernlab_kernels::{Digest, Entry, Kernels};

/// By name, what a run depends on: texts, or SHA-256 digests. A name that only one of two runs has, such
/// as that of a kernel, does not make them differ.
pub type Identity = BTreeMap<String, String>;

/// The version of this program, and the commit of a release.
const PROGRAM: &str =
    concat!("kernlab ", env!("CARGO_PKG_VERSION"), env!("KERNLAB_COMMIT_IN_VERSION"));

/// The programs of guests whose content matters.
const GUEST: [&str; 5] = [
    "kernlab-agent",
    "kernlab-conductor",
    "kernlab-tracer",
    "kernlab-workload",
    "kernlab-workload-static",
];

/// What a machine knows before it runs anything: the program, and what the lock says of the kernels.
pub fn of_kernels(kernels: &Kernels, entries: &[Entry]) -> Identity {
    let mut identity = Identity::from([("program".to_owned(), PROGRAM.to_owned())]);
    for entry in entries {
        if let Some(locked) = kernels.locked(entry) {
            let digest = Digest::of(format!("{locked:?}").as_bytes());
            identity.insert(format!("lock of {}", entry.id), digest.to_string());
        }
    }
    identity
}

/// What a run has: also the programs of its guests, and what it selects beside kernels.
pub(crate) fn of_run(
    kernels: &Kernels,
    entries: &[Entry],
    guest: &Path,
    selection: &str,
) -> io::Result<Identity> {
    let mut identity = of_kernels(kernels, entries);
    let foreign =
        entries.iter().map(|entry| entry.arch).filter(|arch| guest.join(arch.name()).is_dir());
    let foreign = BTreeSet::from_iter(foreign)
        .into_iter()
        .map(|arch| (format!("guest programs of {arch}"), guest.join(arch.name())));
    for (name, dir) in foreign.chain([("guest programs".to_owned(), guest.to_owned())]) {
        let programs: Vec<_> = GUEST.iter().map(|program| dir.join(program)).collect();
        let present = programs.iter().map(|path| path.as_path()).filter(|path| path.exists());
        identity.insert(name, of_files(kernels, present)?);
    }
    identity.insert("selection".to_owned(), selection.to_owned());
    Ok(identity)
}

/// The digest of the content of files. Where they are does not matter.
pub(crate) fn of_files<'a>(
    kernels: &Kernels,
    files: impl Iterator<Item = &'a Path>,
) -> io::Result<String> {
    let digests = kernels.store().content_digests();
    let mut lines = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(format!("{name} {}", digests.of(file)?));
    }
    lines.sort();
    lines.dedup();
    Ok(Digest::of(lines.join("\n").as_bytes()).to_string())
}

/// What differs between two runs, if anything does.
pub(crate) fn difference(one: &Identity, other: &Identity) -> Option<String> {
    let differs = |(name, value): (&String, &String)| {
        let found = other.get(name)?;
        (found != value).then(|| format!("{name}: {value} and {found}"))
    };
    let all: Vec<_> = one.iter().filter_map(differs).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> Identity {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_programs_of_each_architecture_count() {
        let kernels = Kernels::open().unwrap();
        let entry = |id: &str| kernels.entry(id).unwrap().clone();
        let entries = [entry("debian-6.1"), entry("debian-6.1-arm64")];
        let guest = tempfile::tempdir().unwrap();
        let agent = |place: &str, text: &str| {
            let dir = guest.path().join(place);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("kernlab-agent"), text).unwrap();
            of_run(&kernels, &entries, guest.path(), "").unwrap()
        };
        let alone = agent("", "own");
        let both = agent("aarch64", "one");
        assert_eq!(difference(&alone, &both), None);
        let other = agent("aarch64", "another");
        let told = difference(&both, &other).unwrap();
        assert!(told.starts_with("guest programs of aarch64: "), "{told}");
    }

    #[test]
    fn what_differs_is_named() {
        let one = identity("program=1 tracer=a lock-of-x=1");
        assert_eq!(difference(&one, &identity("program=1 tracer=a lock-of-y=2")), None);
        let other = identity("program=2 tracer=b");
        let expected = "program: 1 and 2; tracer: a and b";
        assert_eq!(difference(&one, &other).as_deref(), Some(expected));
    }
}
