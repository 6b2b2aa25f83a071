//! What an ELF program needs to run.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kernlab_kernels::Arch;
use object::{
    LittleEndian,
    elf::{EM_AARCH64, EM_X86_64, FileHeader64, PT_INTERP},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

use super::{
    PayloadError,
    sysroot::{self, Found},
    unreadable,
};

/// What an ELF file says that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// An architecture of the lab's.
    Known(Arch),
    /// Another one: `e_machine` of the file.
    Other(u16),
}

impl Machine {
    /// How many bytes at the beginning of a file say it.
    pub(crate) const HEADER: usize = 20;

    /// What the file runs on; none if it is not an ELF file.
    pub fn of_file(path: &Path) -> io::Result<Option<Self>> {
        let mut header = [0; Self::HEADER];
        let read = File::open(path)?.read_exact(&mut header);
        match read {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            read => Ok(read.ok().and_then(|()| Machine::of_header(&header))),
        }
    }

    /// Whether this machine runs programs for it.
    pub fn is_own(self) -> bool {
        matches!(self, Machine::Known(arch) if Arch::of_this_program() == Some(arch))
    }

    pub(crate) fn of_header(header: &[u8; Self::HEADER]) -> Option<Self> {
        if !header.starts_with(b"\x7fELF") {
            return None;
        }
        // The fifth byte says how many bits addresses have, the sixth in which order bytes are.
        let number = |bytes: [u8; 2]| match header[5] {
            2 => u16::from_be_bytes(bytes),
            _ => u16::from_le_bytes(bytes),
        };
        Some(match (&header[4..6], number([header[18], header[19]])) {
            ([2, 1], EM_X86_64) => Machine::Known(Arch::X86_64),
            ([2, 1], EM_AARCH64) => Machine::Known(Arch::Aarch64),
            (_, number) => Machine::Other(number),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Machine::Known(arch) => arch.fmt(f),
            Machine::Other(number) => write!(f, "another architecture (e_machine {number})"),
        }
    }
}

/// The files that an ELF program needs: its dynamic linker and its libraries; none for a static
/// program. None at all if the file is not ELF.
///
/// Like ldd(1), this asks the dynamic linker, with the guest's `LD_LIBRARY_PATH`, so libraries that the program loads by itself later
/// are not known. One of another architecture, `foreign`, can't be asked.
pub(super) fn needs(
    path: &Path,
    foreign: Option<Arch>,
    library_path: Option<&str>,
) -> Result<Option<Vec<Found>>, PayloadError> {
    let Some(found) = Machine::of_file(path).map_err(unreadable(path))? else { return Ok(None) };
    let arch = foreign.or_else(Arch::of_this_program).unwrap_or_default();
    if found != Machine::Known(arch) {
        return Err(PayloadError::Foreign { path: path.to_owned(), found, arch });
    }
    let bytes = fs::read(path).map_err(unreadable(path))?;
    let damaged = |source| PayloadError::Elf { path: path.to_owned(), source };
    let Some(linker) = linker(&bytes).map_err(damaged)? else { return Ok(Some(Vec::new())) };
    if foreign.is_some() {
        return sysroot::needs(path, bytes, &linker, arch, library_path).map(Some);
    }
    let mut files = libraries(path, &linker, library_path)?;
    files.push(linker);
    Ok(Some(files.into_iter().map(Found::from).collect()))
}

/// The dynamic linker that a program names; none for a static program.
pub(crate) fn linker(bytes: &[u8]) -> object::read::Result<Option<PathBuf>> {
    let header = FileHeader64::<LittleEndian>::parse(bytes)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, bytes)? {
        if segment.p_type(endian) == PT_INTERP {
            let name = segment.data(endian, bytes).unwrap_or_default();
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            return Ok(str::from_utf8(name).ok().map(PathBuf::from));
        }
    }
    Ok(None)
}

fn libraries(
    path: &Path,
    linker: &Path,
    library_path: Option<&str>,
) -> Result<Vec<PathBuf>, PayloadError> {
    let failed =
        |why| PayloadError::Linker { path: path.to_owned(), linker: linker.to_owned(), why };
    let real = path.canonicalize().map_err(|error| failed(error.to_string()))?;
    let output = listing(linker, &real, library_path).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let missing = text.split_once("error while loading shared libraries: ");
        if let Some((library, _)) = missing.and_then(|(_, rest)| rest.split_once(':')) {
            return Err(PayloadError::NoLibrary {
                path: path.to_owned(),
                library: library.to_owned(),
            });
        }
        return Err(failed(text.trim().to_owned()));
    }
    listed(&String::from_utf8_lossy(&output.stdout))
        .map_err(|library| PayloadError::NoLibrary { path: path.to_owned(), library })
}

/// The command that lists the libraries of a program in a guest.
fn listing(linker: &Path, program: &Path, library_path: Option<&str>) -> Command {
    let mut command = Command::new(linker);
    command.arg("--list").arg(program).stdin(Stdio::null());
    // What this process has there says nothing about the guest's.
    command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
    command.envs(library_path.map(|path| ("LD_LIBRARY_PATH", path)));
    command
}

/// Parses lines of `name => path (address)`, or `path (address)` for a library that is needed by
/// its path. What the kernel provides has no file. The error is the name of a library that was not
/// found.
pub(crate) fn listed(text: &str) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for line in text.lines().map(str::trim) {
        let (name, rest) = line.split_once(" => ").unwrap_or((line, line));
        match rest.rsplit_once(" (") {
            Some((path, _)) if path.starts_with('/') => files.push(PathBuf::from(path)),
            Some(_) => {}
            None if line.contains("statically linked") || line.is_empty() => {}
            None => return Err(name.to_owned()),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn what_the_linker_lists_is_read() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/opt/libx.so (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 => /other/ld.so (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/opt/libx.so", "/other/ld.so"];
        assert_eq!(listed(text), Ok(expected.map(PathBuf::from).to_vec()));
        assert_eq!(listed("\tlibz.so.1 => not found\n"), Err("libz.so.1".to_owned()));
        assert_eq!(listed("\tstatically linked\n"), Ok(Vec::new()));
    }

    #[test]
    fn a_dynamic_program_needs_its_linker_and_its_libraries() {
        let own = std::env::current_exe().unwrap();
        let files = needs(&own, None, None).unwrap().unwrap();
        let has = |part: &str| files.iter().any(|file| file.host.to_string_lossy().contains(part));
        assert!(has("/libc.so.6") && has("/ld-"), "{files:?}");
    }

    #[rstest]
    #[case::arm64([2, 1], [183, 0], "aarch64")]
    #[case::riscv([2, 1], [243, 0], "another architecture (e_machine 243)")]
    #[case::of_32_bits([1, 1], [62, 0], "another architecture (e_machine 62)")]
    #[case::with_the_large_byte_first([2, 2], [0, 22], "another architecture (e_machine 22)")]
    fn a_program_of_another_processor_is_told(
        #[case] class: [u8; 2],
        #[case] machine: [u8; 2],
        #[case] expected: &str,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, elf(class, machine)).unwrap();
        let found = needs(&path, None, None);
        let Err(error @ PayloadError::Foreign { .. }) = found else { panic!("{found:?}") };
        let expected = format!("program is a program for {expected}, and the kernel is one of ");
        assert!(error.to_string().contains(&expected), "{error}");
    }

    #[test]
    fn what_is_no_program_is_told_from_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, &elf([2, 1], [62, 0])[..30]).unwrap();
        assert!(matches!(needs(&path, None, None), Err(PayloadError::Elf { .. })));
        fs::write(&path, "text").unwrap();
        assert!(matches!(needs(&path, None, None), Ok(None)));
        assert!(matches!(needs(&path.join("missing"), None, None), Err(PayloadError::Read { .. })));
    }

    #[test]
    fn a_static_program_of_another_architecture_needs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, elf([2, 1], [183, 0])).unwrap();
        let foreign = Some(Arch::Aarch64);
        assert!(needs(&path, foreign, None).unwrap().unwrap().is_empty());
        let own = std::env::current_exe().unwrap();
        assert!(matches!(needs(&own, foreign, None), Err(PayloadError::Foreign { .. })));
    }

    /// A file with the header of a program without segments.
    fn elf(class: [u8; 2], machine: [u8; 2]) -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(b"\x7fELF");
        header[4..6].copy_from_slice(&class);
        header[6] = 1;
        header[18..20].copy_from_slice(&machine);
        header
    }

    #[test]
    fn libraries_are_looked_for_as_the_guest_does() {
        let environment = |library_path| {
            let command = listing(Path::new("/lib/ld.so"), Path::new("/bin/a"), library_path);
            let pairs = command.get_envs().map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.map(|it| it.to_owned()))
            });
            pairs.collect::<Vec<_>>()
        };
        let preload = ("LD_PRELOAD".to_owned(), None);
        let path = |value: Option<&str>| ("LD_LIBRARY_PATH".to_owned(), value.map(Into::into));
        assert_eq!(environment(None), [path(None), preload.clone()]);
        assert_eq!(environment(Some("/opt")), [path(Some("/opt")), preload]);
    }
}
