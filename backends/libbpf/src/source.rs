//! The C programs as source, to be compiled once more: tests break them on purpose.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use kernlab_core::plan::{BufferKind, TypeSource};

/// The directory of the C programs in the checkout that this crate was built from.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bpf");

/// What an object is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The buffer of its events.
    pub buffer: BufferKind,
    /// Where field offsets come from.
    pub types: TypeSource,
    /// With the type information that a loader needs, which also tells lines of the source.
    pub debug: bool,
}

impl Variant {
    /// For a ring buffer and the kernel's type information.
    pub const RING_CORE: Variant =
        Variant { buffer: BufferKind::Ring, types: TypeSource::Core, debug: true };

    /// For a ring buffer and the plan's layout.
    pub const RING_LAYOUT: Variant =
        Variant { buffer: BufferKind::Ring, types: TypeSource::Layout, debug: true };

    /// For perf buffers and the plan's layout.
    pub const PERF_LAYOUT: Variant =
        Variant { buffer: BufferKind::Perf, types: TypeSource::Layout, debug: true };
}

impl fmt::Display for Variant {
    /// `ring.layout`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.buffer.name(), self.types.name())
    }
}

/// Compiles `directory/NAME.bpf.c` as the build does, and returns the object's path.
///
/// # Errors
///
/// What the compiler says.
pub fn compile(directory: &Path, name: &str, variant: Variant) -> io::Result<PathBuf> {
    let plain = if variant.debug { "" } else { ".plain" };
    let object = directory.join(format!("{name}.{variant}{plain}.o"));
    let mut clang = Command::new(env!("KERNLAB_CLANG"));
    clang.args(["-target", "bpf", "-mcpu=v2", "-O2", env!("KERNLAB_ARCHITECTURE")]);
    clang.args(variant.debug.then_some("-g"));
    clang.args((variant.buffer == BufferKind::Ring).then_some("-DKERNLAB_RING"));
    clang.args((variant.types == TypeSource::Core).then_some("-DKERNLAB_CORE"));
    let output = clang
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
