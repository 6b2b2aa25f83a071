//! The C programs as source, to be compiled once more: tests break them on purpose.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The directory of the C programs in the checkout that this crate was built from.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bpf");

/// Compiles `directory/NAME.bpf.c` for a ring buffer and the plan's layout, as the build does, and
/// returns the object's path.
///
/// # Errors
///
/// What the compiler says.
pub fn compile(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let object = directory.join(format!("{name}.o"));
    let output = Command::new(env!("KERNLAB_CLANG"))
        .args(["-target", "bpf", "-mcpu=v2", "-O2", "-g", "-DKERNLAB_RING"])
        .args([
            "-I",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/abi/include"),
            "-I",
            env!("KERNLAB_LIBBPF_INCLUDE"),
            "-c",
        ])
        .arg(directory.join(format!("{name}.bpf.c")))
        .arg("-o")
        .arg(&object)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(object)
}

/// Copies all sources to `to`.
pub fn copy(to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(DIRECTORY)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
