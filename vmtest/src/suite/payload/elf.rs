//! What an ELF program needs to run.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use object::{
    LittleEndian,
    elf::{EM_X86_64, FileHeader64, PT_INTERP},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

use super::{PayloadError, unreadable};

/// The files that an ELF program needs: its dynamic linker and its libraries; none for a static
/// program. None at all if the file is not ELF.
///
/// Like ldd(1), this asks the dynamic linker, with the guest's `LD_LIBRARY_PATH`, so libraries that the program loads by itself later
/// are not known.
pub(super) fn needs(
    path: &Path,
    library_path: Option<&str>,
) -> Result<Option<Vec<PathBuf>>, PayloadError> {
    let mut magic = [0; 20];
    let mut file = File::open(path).map_err(unreadable(path))?;
    if file.read_exact(&mut magic).is_err() || !magic.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    // 64 bits, little endian.
    if magic[4..6] != [2, 1] || u16::from_le_bytes([magic[18], magic[19]]) != EM_X86_64 {
        return Err(PayloadError::Foreign(path.to_owned()));
    }
    let bytes = fs::read(path).map_err(unreadable(path))?;
    let damaged = |source| PayloadError::Elf { path: path.to_owned(), source };
    let Some(linker) = linker(&bytes).map_err(damaged)? else { return Ok(Some(Vec::new())) };
    let mut files = libraries(path, &linker, library_path)?;
    files.push(linker);
    Ok(Some(files))
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
    let mut command = Command::new(linker);
    // What this process has there says nothing about the guest's.
    command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
    command.envs(library_path.map(|path| ("LD_LIBRARY_PATH", path)));
    let output = command.arg("--list").arg(&real).stdin(Stdio::null()).output();
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
        let files = needs(&own, None).unwrap().unwrap();
        let has = |part: &str| files.iter().any(|file| file.to_string_lossy().contains(part));
        assert!(has("/libc.so.6") && has("/ld-"), "{files:?}");
    }

    #[test]
    fn a_program_of_another_processor_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("arm");
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        elf[18] = 183;
        fs::write(&path, &elf).unwrap();
        assert!(matches!(needs(&path, None), Err(PayloadError::Foreign(_))));
        elf[18] = 62;
        elf.truncate(30);
        fs::write(&path, elf).unwrap();
        assert!(matches!(needs(&path, None), Err(PayloadError::Elf { .. })));
        fs::write(&path, "text").unwrap();
        assert!(matches!(needs(&path, None), Ok(None)));
    }
}
