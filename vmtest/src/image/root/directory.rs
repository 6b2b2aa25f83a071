//! Reads directories of this machine.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::Path,
};

use kernlab_kernels::Digest;

use super::{
    RootError, VERSION, state,
    tree::{Attributes, Content, Kind, Node, Tree, device_number},
};

/// Reads everything but the content of files. Sockets are left out: their servers are gone. Other file
/// systems are not entered: the files of some, such as /proc, have no end.
pub(super) fn read(root: &Path) -> Result<Tree, RootError> {
    let mut tree = Tree::default();
    let mut pending = vec![root.to_owned()];
    let mut own = None;
    while let Some(path) = pending.pop() {
        let read = |source| RootError::Read { path: path.clone(), source };
        let metadata = match path == root {
            // The root may be named by a link.
            true => fs::metadata(&path),
            false => fs::symlink_metadata(&path),
        };
        let metadata = metadata.map_err(read)?;
        let kind = metadata.file_type();
        let number = u32::try_from(metadata.rdev()).unwrap_or(0);
        let device = device_number(libc::major(number.into()), libc::minor(number.into()));
        let own = *own.get_or_insert(metadata.dev());
        let kind = if kind.is_dir() && metadata.dev() != own {
            Kind::Directory
        } else if kind.is_dir() {
            for entry in fs::read_dir(&path).map_err(read)? {
                pending.push(entry.map_err(read)?.path());
            }
            Kind::Directory
        } else if kind.is_file() {
            Kind::File(Content::File(path.clone()))
        } else if kind.is_symlink() {
            Kind::SymbolicLink(fs::read_link(&path).map_err(read)?)
        } else if kind.is_char_device() {
            Kind::CharacterDevice(device)
        } else if kind.is_block_device() {
            Kind::BlockDevice(device)
        } else if kind.is_fifo() {
            Kind::Pipe
        } else {
            continue;
        };
        let attributes = Attributes {
            mode: u16::try_from(metadata.mode() & 0o7777).unwrap_or(0),
            user: metadata.uid(),
            group: metadata.gid(),
            time: u32::try_from(metadata.mtime()).unwrap_or(0),
        };
        let below = path.strip_prefix(root).unwrap_or(&path);
        let why = |why| RootError::Entry { path: root.to_owned(), name: below.to_owned(), why };
        tree.add(&Path::new("/").join(below), Node { attributes, kind }).map_err(why)?;
    }
    Ok(tree)
}

/// Identifies a directory by the names, modes, sizes, inodes and times of everything in it.
pub(super) fn identity(tree: &Tree) -> Digest {
    let mut bytes = format!("root {VERSION}\n").into_bytes();
    for (path, node) in &tree.nodes {
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        bytes.extend_from_slice(format!("\0{:?} {:?}", node.attributes, node.kind).as_bytes());
        if let Kind::File(Content::File(file)) = &node.kind {
            let state = fs::metadata(file).map(|file| state(&file)).ok();
            bytes.extend_from_slice(format!(" {state:?}").as_bytes());
        }
        bytes.push(b'\n');
    }
    Digest::of(&bytes)
}
