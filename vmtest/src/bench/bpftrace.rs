//! bpftrace as the host has it, for a guest: <https://github.com/bpftrace/bpftrace>.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    image::{ImageError, with_files_of_host},
    lab::Bootable,
};

/// Mebibytes of a guest that has bpftrace: with its compiler it is some 200, which are there twice
/// while the kernel unpacks them.
const MEMORY_MIB: u32 = 1024;

/// bpftrace of the host.
#[derive(Clone, Debug)]
pub(super) struct Bpftrace {
    /// What it says to `--version`.
    pub(super) version: String,
    /// Where it is, on the host and in the guest.
    pub(super) program: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Bpftrace {
    /// Looks in `PATH`; none if it isn't there.
    pub(super) fn find() -> io::Result<Option<Self>> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut programs = env::split_paths(&path).map(|folder| folder.join("bpftrace"));
        let Some(program) = programs.find(|program| program.is_file()) else { return Ok(None) };
        let program = fs::canonicalize(program)?;
        let version = said(Command::new(&program).arg("--version"))?.trim().to_owned();
        let libraries = libraries(&said(Command::new("ldd").arg(&program))?);
        Ok(Some(Bpftrace { version, program, libraries }))
    }

    /// The machine with bpftrace in it; `folder` must exist as long as guests are made of it.
    pub(super) fn machine(&self, plain: &Bootable, folder: &Path) -> Result<Bootable, ImageError> {
        let mut files = vec![self.program.clone()];
        files.extend_from_slice(&self.libraries);
        let image = with_files_of_host(&plain.machine.initramfs, &files)?;
        let path = folder.join("bpftrace.cpio");
        fs::write(&path, image)
            .map_err(|source| ImageError::Write { path: path.clone(), source })?;
        let mut bootable = plain.clone();
        bootable.machine.initramfs = path;
        bootable.machine.memory_mib = bootable.machine.memory_mib.max(MEMORY_MIB);
        Ok(bootable)
    }
}

fn said(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        let program = command.get_program().to_string_lossy();
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{program} failed: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files that ldd(1) names.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let file =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_ldd_names() {
        let ldd = "\tlinux-vdso.so.1 (0x00007f958b7e7000)\n\
                   \tlibbpf.so.1 => /lib/x86_64-linux-gnu/libbpf.so.1 (0x00007f958b77b000)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f958b7e9000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libbpf.so.1", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(ldd), expected.map(PathBuf::from));
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
