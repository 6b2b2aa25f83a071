//! The files of a suite, packed for its guests.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use kernlab_core::needs::{self, Needs};
use kernlab_kernels::{Arch, Kernels, Observer};
use kernlab_proto::suite::SuiteJob;

use super::{
    job::{self, RunContext},
    manifest::{Subject, Suite},
    payload::{ArchiveError, PayloadError, absolute},
    platform::Platform,
};
use crate::image::root::{RootError, RootImage, RootStore};

/// A suite whose files are packed.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// What the system provides.
    pub(super) system: PathBuf,
    /// The suite's own files, if it has any.
    pub(super) own: Option<PathBuf>,
    /// Where this machine has the suite's own files.
    pub(super) own_files: Vec<PathBuf>,
    /// Whether several guests get the suite's own files, in this run or before.
    pub(crate) is_shared: bool,
    pub(crate) job: SuiteJob,
    /// The bytes of all files in the guest's memory.
    pub(super) size: u64,
    /// The bytes of the files that the system provides.
    pub(super) system_size: u64,
    /// The bytes of the suite's own files.
    pub(super) own_size: u64,
    pub(super) root: Option<RootImage>,
    /// What the suite's BPF object needs of a kernel, if it has one that can be read.
    pub(super) needs: Option<Needs>,
}

impl Packed {
    /// The memory of a guest with these files in mebibytes, on a kernel that has so much without them: what the
    /// suite asks for, or what is enough.
    pub(super) fn memory_mib(&self, suite: &Suite, without_files: u32) -> u32 {
        const UNIT: u64 = 64 << 20;
        // A small payload fits in what every guest has.
        let files = self.size.saturating_sub(UNIT / 2).next_multiple_of(UNIT) >> 20;
        let files = u32::try_from(files).unwrap_or(u32::MAX / 2);
        // A program's own files in memory are beside those that it maps.
        let enough = without_files.saturating_add(files * 3 / 2);
        suite.guest.memory_mib.unwrap_or(enough)
    }

    /// The same files, with the arguments of another suite with the same program.
    pub(crate) fn with_arguments_of(&self, suite: &Suite) -> Self {
        let mut packed = self.clone();
        if let Subject::Run(command) = &suite.subject {
            packed.job.tracer.truncate(1);
            packed.job.tracer.extend(command.argv().into_iter().skip(1));
        }
        packed
    }
}

/// Why a suite can't be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file is missing, or can't run in a guest.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A BPF object or a script of bpftrace can't be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what the suite says that it is.
    #[error("{} is not {expected}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// `a BPF object`.
        expected: &'static str,
    },
    /// The files can't be packed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The root file system can't be made into a disk.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The root file system is one of another machine.
    #[error(
        "{path} is a root file system for {found}, and the kernel is one of {arch}: take one for {arch}, \
         or kernels of {found}: --arch {found}"
    )]
    ForeignRoot {
        /// The archive or the directory.
        path: PathBuf,
        /// What its shell is for.
        found: Arch,
        /// The kernel's architecture.
        arch: Arch,
    },
}

impl PackError {
    /// Whether the store could not be written: then nothing is wrong with the suite.
    pub fn is_about_the_store(&self) -> bool {
        match self {
            PackError::Archive(error) => error.is_about_the_store(),
            PackError::Root(error) => {
                matches!(error, RootError::Write { .. } | RootError::Store(_))
            }
            _ => false,
        }
    }
}

/// What the suite's BPF object needs, as far as it can be read. Refuses files that no guest could use.
fn needs_of(suite: &Suite, at: &RunContext) -> Result<Option<Needs>, PackError> {
    let directory = suite.directory.as_ref().unwrap_or(&at.directory);
    let read = |file: &Path| {
        let path = directory.join(file);
        match fs::read(&path) {
            Ok(content) => Ok((path, content)),
            Err(source) => Err(PackError::Unreadable { path, source }),
        }
    };
    match &suite.subject {
        Subject::Object(object) => match read(&object.path)? {
            (_, content) if content.starts_with(b"\x7fELF") => Ok(needs::of_object(&content).ok()),
            (path, _) => Err(PackError::Other {
                path,
                expected: "an ELF file, as `clang -target bpf -c` makes a BPF object",
            }),
        },
        Subject::Bpftrace(script) => match read(script)? {
            (path, content) if content.trim_ascii().is_empty() => {
                Err(PackError::Other { path, expected: "a script of bpftrace: it is empty" })
            }
            _ => Ok(None),
        },
        Subject::Run(_) => Ok(None),
    }
}

/// Collects and packs the files of a suite for guests of a platform. Their own programs are in the
/// directory `guest`.
pub(crate) fn pack(
    suite: &Suite,
    at: &RunContext,
    kernels: &Kernels,
    guest: &Path,
    platform: &Platform,
    observer: &dyn Observer,
) -> Result<Packed, PackError> {
    let needs = needs_of(suite, at)?;
    let (payload, job) = job::prepare(suite, at, guest, platform)?;
    // Root needs none.
    let has_rights = suite.user.as_ref().is_none_or(|user| ["root", "0"].contains(&user.as_str()));
    for file in payload.with_capabilities().filter(|_| !has_rights) {
        observer.notice(&format!(
            "{}: {} loses its file capabilities in the guest: run the suite as root, or set them in its \
             `setup` with setcap",
            suite.name,
            file.display()
        ));
    }
    let size = payload.size();
    let (system, own) = payload.split(&own_places(suite, at));
    let (system_size, own_size) = (system.size(), own.size());
    let root = suite.root.as_ref().map(|root| {
        let path = at.directory.join(root);
        let image = RootStore::of(kernels.store()).image_of(&path, observer)?;
        match image.arch {
            Some(found) if found != platform.arch() => {
                Err(PackError::ForeignRoot { path, found, arch: platform.arch() })
            }
            _ => Ok(image),
        }
    });
    let root = root.transpose()?;
    let system = system.archive(kernels.store())?;
    let own_files = own.files().map(Path::to_owned).collect();
    let own = (!own.is_empty()).then(|| own.archived(kernels.store())).transpose()?;
    let (own, is_shared) = own.map_or((None, false), |(own, is_known)| (Some(own), is_known));
    Ok(Packed { system, own, own_files, is_shared, job, size, system_size, own_size, root, needs })
}

/// Where the files are that are not the system's: in the project, and the program of a test.
fn own_places(suite: &Suite, at: &RunContext) -> Vec<PathBuf> {
    let mut places = vec![suite.directory.as_ref().unwrap_or(&at.directory).clone()];
    if let (true, Subject::Run(command)) = (suite.is_test, &suite.subject) {
        let program = command.argv().first().map(|program| absolute(&places[0].join(program)));
        places.extend(program.iter().filter_map(|program| program.canonicalize().ok()));
        places.extend(program);
    }
    places.extend(suite.data.iter().cloned());
    places
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::suite::manifest::Project;

    #[rstest]
    #[case::directory("object = 'dir'", "cannot read ", "dir: Is a directory (os error 21)")]
    #[case::absent("object = 'absent.o'", "cannot read ", "absent.o: No such file")]
    #[case::source("object = 'a.c'", "", "a.c is not an ELF file, as `clang")]
    #[case::empty("bpftrace = 'empty.bt'", "", "empty.bt is not a script of bpftrace: it is empty")]
    fn what_no_guest_could_use_is_refused(
        #[case] subject: &str,
        #[case] beginning: &str,
        #[case] expected: &str,
    ) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("dir")).unwrap();
        fs::write(dir.path().join("a.c"), "int x;").unwrap();
        fs::write(dir.path().join("empty.bt"), "\n").unwrap();
        let text = format!("[[suite]]\nname = 's'\n{subject}\n");
        let suite = Project::parse(Path::new("kernlab.toml"), &text).unwrap().suites.remove(0);
        let at = RunContext { directory: dir.path().to_owned(), ..RunContext::default() };
        let error = kernlab_kernels::chain(&needs_of(&suite, &at).unwrap_err());
        assert!(error.starts_with(beginning) && error.contains(expected), "{error}");
    }
}
