//! Module files: their names and their content.

use std::{collections::BTreeSet, io};

use crate::compression::{Compression, read_bounded};

/// Far more than any module needs.
pub(crate) const MAX_MODULE: u64 = 256 << 20;

/// The kernel's spelling of a module name: modprobe(8) treats dashes and underscores alike.
pub(crate) fn normalise(name: &str) -> String {
    name.replace('-', "_")
}

/// The module name in a path: `virtio_pci` for `kernel/drivers/virtio/virtio-pci.ko.xz`.
pub(crate) fn name_of_path(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".gz" | ".xz" | ".zst").then(|| normalise(name))
}

/// The names in `modules.builtin`, a list of paths.
pub(crate) fn parse_builtin(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(name_of_path).collect()
}

/// The uncompressed `.ko` of a file whose name reveals its compression.
pub(crate) fn decompress(name: &str, content: impl io::Read) -> io::Result<Vec<u8>> {
    read_bounded(&mut Compression::of_name(name).reader(content)?, MAX_MODULE)
}
