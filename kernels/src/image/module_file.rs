//! The files of modules: their names, and what is in them.

use std::{collections::BTreeSet, io};

use crate::compression::{Compression, read_bounded};

/// Far more than any module has.
pub(crate) const MAX_MODULE: u64 = 256 << 20;

/// The kernel's own notation of a name: modprobe(8) treats dashes and underscores alike.
pub(crate) fn normalise(name: &str) -> String {
    name.replace('-', "_")
}

/// The module that a path is of: `virtio_pci` for `kernel/drivers/virtio/virtio-pci.ko.xz`.
pub(crate) fn name_of_path(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".gz" | ".xz" | ".zst").then(|| normalise(name))
}

/// The names in `modules.builtin`, a list of paths.
pub(crate) fn parse_builtin(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(name_of_path).collect()
}

/// The plain `.ko` of a file that its name tells the compression of.
pub(crate) fn decompress(name: &str, content: impl io::Read) -> io::Result<Vec<u8>> {
    read_bounded(&mut Compression::of_name(name).reader(content)?, MAX_MODULE)
}
