//! The programs that an entry names for its build.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Programs that build a kernel. Each is the name of a program on the `PATH`, or its path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// What the names of the compiler and the binutils begin with, as in Kbuild's `CROSS_COMPILE`:
    /// `x86_64-linux-gnu-`, `/opt/gcc-10/bin/`.
    pub prefix: Option<PathBuf>,
    /// The compiler.
    pub cc: Option<PathBuf>,
    /// The compiler of the programs that run during the build; `cc` if it is not given.
    pub hostcc: Option<PathBuf>,
    /// The linker.
    pub ld: Option<PathBuf>,
    /// The assembler, which the compiler runs.
    #[serde(rename = "as")]
    pub assembler: Option<PathBuf>,
    /// What makes type information.
    pub pahole: Option<PathBuf>,
}

impl Toolchain {
    /// The same, with relative paths beginning at a folder. A name without a slash is no path.
    pub(in crate::kernels) fn below(self, folder: &Path) -> Self {
        let join = |program: Option<PathBuf>| {
            program.map(|program| match program.as_os_str().as_encoded_bytes().contains(&b'/') {
                true => folder.join(program),
                false => program,
            })
        };
        Toolchain {
            prefix: join(self.prefix),
            cc: join(self.cc),
            hostcc: join(self.hostcc),
            ld: join(self.ld),
            assembler: join(self.assembler),
            pahole: join(self.pahole),
        }
    }
}
