//! The programs that run in guests: in a directory that the user names, or part of this program.
//!
//! A release build of this crate embeds them (`build.rs`), so that an installed `kernlab` needs no
//! other file. A debug build embeds none: `cargo xtask` builds them and names their directory.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use kernlab_kernels::{Arch, Digest, Part, Store};

use crate::suite::payload::Machine;

/// Each program's name, and its content: compressed with LZ4, after its length.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/guest_programs.rs"));

/// Programs of another version of `kernlab` are kept for this long after their last use.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// There are no programs for guests.
#[derive(Debug, thiserror::Error)]
pub enum GuestProgramsError {
    /// No directory is named, and none are embedded.
    #[error(
        "this kernlab was built without the programs that run in guests: name their directory with \
         --guest or KERNLAB_GUEST, which `cargo xtask guest` builds and prints in a checkout, or \
         install a kernlab that has them with `cargo xtask install`"
    )]
    None,
    /// The programs of the directory are for another architecture.
    #[error(
        "{} has no programs for guests of {arch}: in a checkout, `cargo xtask guest --arch {arch}` builds \
         them, and `cargo xtask install` a kernlab that has them", .dir.display()
    )]
    NotOfArch {
        /// The directory.
        dir: PathBuf,
        /// The architecture of the guests.
        arch: Arch,
    },
    /// The embedded programs can't be written into the store.
    #[error("cannot unpack the programs that run in guests into {}", .dir.display())]
    Unpack {
        /// The directory in the store.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The directory of the programs that run in guests: the given one, or one in the store with the
/// embedded programs. It is absolute: cells run in other directories.
pub fn dir(given: Option<&Path>, store: &Store) -> Result<PathBuf, GuestProgramsError> {
    match given {
        // An empty path stays what it is, and leads nowhere.
        Some(dir) => Ok(std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())),
        None if EMBEDDED.is_empty() => Err(GuestProgramsError::None),
        None => unpacked(EMBEDDED, &store.root().join(Part::Guest.name())),
    }
}

/// The programs for guests of this architecture, of those in a directory. It has those of this machine's
/// architecture in it, and others in a directory of their name.
///
/// # Errors
///
/// There are none: what is there in their place is for another architecture.
pub fn of_arch(dir: &Path, arch: Arch) -> Result<PathBuf, GuestProgramsError> {
    let own = dir.join(arch.name());
    let programs = if own.is_dir() { own } else { dir.to_owned() };
    match Machine::of_file(&programs.join("kernlab-agent")) {
        Ok(Some(found)) if found != Machine::Known(arch) => {
            Err(GuestProgramsError::NotOfArch { dir: programs, arch })
        }
        // What is no program at all is told where it is used.
        _ => Ok(programs),
    }
}

/// The directory below `all` with these programs. Every program in it is compared with the embedded
/// one, and written again if it differs.
fn unpacked(programs: &[(&str, &[u8])], all: &Path) -> Result<PathBuf, GuestProgramsError> {
    let dir = all.join(digest(programs).to_string());
    let unpack = || {
        for (name, compressed) in programs {
            let content = lz4_flex::decompress_size_prepended(compressed)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let path = dir.join(name);
            // Those of another architecture are in a directory of their own.
            fs::create_dir_all(path.parent().unwrap_or(&dir))?;
            if !is_program(&path, &content) {
                write(&dir, &path, &content)?;
            }
        }
        File::open(&dir)?.set_modified(SystemTime::now())?;
        remove_old(all, SystemTime::now())
    };
    match unpack() {
        Ok(()) => Ok(dir),
        Err(source) => Err(GuestProgramsError::Unpack { dir, source }),
    }
}

fn digest(programs: &[(&str, &[u8])]) -> Digest {
    let digests =
        programs.iter().map(|(name, content)| format!("{name} {}\n", Digest::of(content)));
    Digest::of(digests.collect::<String>().as_bytes())
}

fn is_program(path: &Path, content: &[u8]) -> bool {
    let is_executable =
        fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 == 0o111);
    is_executable && fs::read(path).is_ok_and(|found| found == content)
}

/// Writes a program in one step: another process finds all of it, or what was there before.
fn write(dir: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    file.persist(path)?;
    Ok(())
}

/// Removes directories that were unused for a week.
fn remove_old(all: &Path, now: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| Part::Guest.makes(name)) {
            continue;
        }
        let used = entry.metadata().and_then(|dir| dir.modified()).ok();
        let age = used.and_then(|used| now.duration_since(used).ok());
        if age.is_some_and(|age| age > KEPT_FOR) {
            // Another process may be cleaning up as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(content: &[u8]) -> Vec<u8> {
        lz4_flex::compress_prepend_size(content)
    }

    #[test]
    fn a_relative_directory_is_one_below_this_one() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store")).unwrap();
        let found = dir(Some(Path::new("target/guest")), &store).unwrap();
        assert_eq!(found, std::env::current_dir().unwrap().join("target/guest"));
    }

    #[test]
    fn embedded_programs_are_unpacked_once_and_mended() {
        let root = tempfile::tempdir().unwrap();
        let (agent, tracer) = (compressed(b"an agent"), compressed(b"a tracer"));
        let programs =
            [("agent", &agent[..]), ("tracer", &tracer[..]), ("aarch64/agent", &agent[..])];
        let dir = unpacked(&programs, root.path()).unwrap();
        assert_eq!(fs::read(dir.join("tracer")).unwrap(), b"a tracer");
        assert_eq!(fs::read(dir.join("aarch64/agent")).unwrap(), b"an agent");
        let modified = || fs::metadata(dir.join("agent")).unwrap().modified().unwrap();
        let before = modified();
        fs::write(dir.join("tracer"), "torn").unwrap();
        assert_eq!(unpacked(&programs, root.path()).unwrap(), dir);
        assert_eq!(fs::read(dir.join("tracer")).unwrap(), b"a tracer");
        assert_eq!(modified(), before, "a program that is as it should be is not written again");
        fs::set_permissions(dir.join("agent"), fs::Permissions::from_mode(0o644)).unwrap();
        unpacked(&programs, root.path()).unwrap();
        let mode = fs::metadata(dir.join("agent")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn other_programs_have_another_directory_until_they_are_old() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (compressed(b"old"), compressed(b"new"));
        let first = unpacked(&[("agent", &old[..])], root.path()).unwrap();
        let second = unpacked(&[("agent", &new[..])], root.path()).unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::read(first.join("agent")).unwrap(), b"old");
        remove_old(root.path(), SystemTime::now() + KEPT_FOR + Duration::from_secs(60)).unwrap();
        assert!(!first.exists());
    }

    #[test]
    fn a_directory_that_the_user_names_outranks_the_embedded_programs() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store")).unwrap();
        assert_eq!(dir(Some(root.path()), &store).unwrap(), root.path());
    }

    #[test]
    fn programs_are_for_their_architecture() {
        let root = tempfile::tempdir().unwrap();
        let program = |dir: &Path, machine: u8| {
            fs::create_dir_all(dir).unwrap();
            let mut header = b"\x7fELF\x02\x01".to_vec();
            header.resize(64, 0);
            header[18] = machine;
            fs::write(dir.join("kernlab-agent"), header).unwrap();
        };
        program(root.path(), 62);
        assert_eq!(of_arch(root.path(), Arch::X86_64).unwrap(), root.path());
        let error = of_arch(root.path(), Arch::Aarch64).unwrap_err().to_string();
        assert!(error.contains("cargo xtask guest --arch aarch64"), "{error}");
        let own = root.path().join("aarch64");
        program(&own, 183);
        assert_eq!(of_arch(root.path(), Arch::Aarch64).unwrap(), own);
        assert_eq!(of_arch(root.path(), Arch::X86_64).unwrap(), root.path());
    }

    #[test]
    fn damaged_programs_are_an_error() {
        let root = tempfile::tempdir().unwrap();
        let error = unpacked(&[("agent", &[200, 0, 0, 0, 0xff])], root.path()).unwrap_err();
        assert!(error.to_string().starts_with("cannot unpack the programs"), "{error}");
    }
}
