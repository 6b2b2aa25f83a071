//! A program of this machine, with everything that it needs to run in a guest.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
};

use object::{
    LittleEndian,
    elf::{EM_X86_64, FileHeader64, PT_INTERP},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

use crate::{lab::Job, qemu::InjectedFile};

/// The guest's directory of libraries. The directories of distributions have paths too long for
/// QEMU's `fw_cfg`.
const LIBRARIES: &str = "/run/lib";

/// The largest program that is read, in bytes.
const LIMIT: u64 = 1 << 30;

/// A program with its dynamic linker and libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    /// The path of the dynamic linker in the guest and on the host; none for a static program.
    linker: Option<PathBuf>,
    /// The libraries, with the names that programs use for them.
    libraries: Vec<(String, PathBuf)>,
}

/// Why a program can't run in a guest.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The program is a script, or is for another machine.
    #[error("{0} is not an ELF program for x86-64: guests have no script interpreters")]
    Foreign(PathBuf),
    /// The program's dynamic linker can't list its libraries.
    #[error("cannot ask {linker} which libraries {path} needs: {why}")]
    Linker {
        /// The program.
        path: PathBuf,
        /// Its dynamic linker.
        linker: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// A library is not installed.
    #[error("{path} needs {library}, which is not installed")]
    Missing {
        /// The program.
        path: PathBuf,
        /// The library.
        library: String,
    },
    /// The path exceeds the limit of QEMU's `fw_cfg`.
    #[error("the path {0} is too long for a guest: at most {longest} bytes", longest = InjectedFile::LONGEST)]
    LongPath(String),
}

impl Program {
    /// Finds out what the program at `path` needs. Like ldd(1), this asks its dynamic linker, so
    /// libraries that the program loads by itself later are not known.
    pub fn find(path: &Path) -> Result<Self, ProgramError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LIMIT).read_to_end(&mut bytes))
            .map_err(|source| ProgramError::Read { path: path.to_owned(), source })?;
        let linker = linker(&bytes).ok_or_else(|| ProgramError::Foreign(path.to_owned()))?;
        let libraries = match &linker {
            Some(linker) => libraries(path, linker)?,
            None => Vec::new(),
        };
        let program = Program { path: path.to_owned(), linker, libraries };
        match program.files().into_iter().find(|file| file.guest.len() > InjectedFile::LONGEST) {
            Some(file) => Err(ProgramError::LongPath(file.guest)),
            None => Ok(program),
        }
    }

    /// The files to inject into the guest.
    pub fn files(&self) -> Vec<InjectedFile> {
        let linker = self.linker.iter().map(|linker| InjectedFile {
            guest: linker.display().to_string(),
            host: linker.clone(),
        });
        let libraries = self.libraries.iter().map(|(name, host)| InjectedFile {
            guest: format!("{LIBRARIES}/{name}"),
            host: host.clone(),
        });
        [InjectedFile::program(&self.path)].into_iter().chain(linker).chain(libraries).collect()
    }

    /// The job that runs the program in a guest with its files.
    pub fn job(&self, arguments: impl IntoIterator<Item = String>) -> Job {
        let name = InjectedFile::program(&self.path).guest;
        let job = Job::new([name].into_iter().chain(arguments)).env("PATH", "/bin");
        Program::with_libraries(job)
    }

    /// Makes a job's programs find the injected libraries.
    pub fn with_libraries(job: Job) -> Job {
        job.env("LD_LIBRARY_PATH", LIBRARIES)
    }

    /// The program of this name in `PATH`, if there is one.
    pub fn in_path(name: &str) -> Option<PathBuf> {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
    }
}

/// The dynamic linker that a program names. The outer option is none if the file is no program of
/// this machine.
#[expect(clippy::option_option, reason = "a static program names none")]
fn linker(bytes: &[u8]) -> Option<Option<PathBuf>> {
    let header = FileHeader64::<LittleEndian>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    if header.e_machine(endian) != EM_X86_64 {
        return None;
    }
    let segments = header.program_headers(endian, bytes).ok()?;
    let Some(segment) = segments.iter().find(|segment| segment.p_type(endian) == PT_INTERP) else {
        return Some(None);
    };
    let name = segment.data(endian, bytes).ok()?;
    let name = name.split(|&byte| byte == 0).next()?;
    Some(Some(PathBuf::from(str::from_utf8(name).ok()?)))
}

fn libraries(path: &Path, linker: &Path) -> Result<Vec<(String, PathBuf)>, ProgramError> {
    let failed =
        |why| ProgramError::Linker { path: path.to_owned(), linker: linker.to_owned(), why };
    let path = path.canonicalize().map_err(|error| failed(error.to_string()))?;
    let output = Command::new(linker).arg("--list").arg(&path).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    listed(&String::from_utf8_lossy(&output.stdout))
        .map_err(|library| ProgramError::Missing { path: path.clone(), library })
}

/// Parses lines of `name => path (address)`. Lines without a name have no library file: the linker
/// itself and what the kernel provides. The error is the name of a library that was not found.
fn listed(text: &str) -> Result<Vec<(String, PathBuf)>, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once(" => "))
        // The linker is injected at its own path, not under this name.
        .filter(|(name, _)| !name.starts_with('/'))
        .map(|(name, rest)| match rest.rsplit_once(" (") {
            Some((path, _)) => Ok((name.to_owned(), PathBuf::from(path))),
            None => Err(name.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_linker_lists_is_read() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected =
            vec![("libc.so.6".to_owned(), PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"))];
        assert_eq!(listed(text), Ok(expected));
        assert_eq!(listed("\tlibz.so.1 => not found\n"), Err("libz.so.1".to_owned()));
    }

    #[test]
    fn a_dynamic_program_brings_its_linker_and_its_libraries() {
        let own = std::env::current_exe().unwrap();
        let program = Program::find(&own).unwrap();
        let guest: Vec<_> = program.files().into_iter().map(|file| file.guest).collect();
        assert!(guest.contains(&"/run/lib/libc.so.6".to_owned()), "{guest:?}");
        assert!(guest.iter().any(|path| path.contains("/ld-")), "{guest:?}");
        assert!(program.files().iter().all(|file| file.host.exists()));
    }

    #[test]
    fn scripts_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh\n").unwrap();
        let error = Program::find(file.path()).unwrap_err();
        assert!(matches!(error, ProgramError::Foreign(_)), "{error}");
    }
}
