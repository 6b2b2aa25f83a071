//! Loads the kernel modules of the initramfs.

use std::{ffi::CStr, fs, fs::File, path::Path};

use nix::kmod::{ModuleInitFlags, finit_module, init_module};

/// A module that the kernel refused.
pub(crate) struct Refused {
    pub(crate) module: String,
    pub(crate) error: std::io::Error,
}

/// Loads the modules that the file `order` in this directory lists, one file name per line, in that
/// order. Without that file, loads nothing.
pub(crate) fn load_all(dir: &Path) -> Result<(), Refused> {
    let order = fs::read_to_string(dir.join("order")).unwrap_or_default();
    for module in order.lines() {
        load(&dir.join(module)).map_err(|error| Refused { module: module.to_owned(), error })?;
    }
    Ok(())
}

fn load(path: &Path) -> std::io::Result<()> {
    const NO_PARAMETERS: &CStr = c"";
    let file = File::open(path)?;
    match finit_module(&file, NO_PARAMETERS, ModuleInitFlags::empty()) {
        // The module was already loaded, or is built into the kernel.
        Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
        // A security module may only accept modules from memory.
        Err(nix::Error::ENOSYS) => Ok(init_module(&fs::read(path)?, NO_PARAMETERS)?),
        Err(error) => Err(error.into()),
    }
}
