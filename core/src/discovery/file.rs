//! `file`: how it was opened, and by whose operations it works.

use std::collections::BTreeMap;

use super::{
    Access,
    image::Image,
    path::FILE_BYTES,
    search::{Search, agreeing, valued},
};

/// `struct inode` as far as its operations.
const INODE_BYTES: usize = 512;
/// `FMODE_READ | FMODE_WRITE`, include/linux/fs.h.
const FMODE_ACCESS: u32 = 3;
/// `S_IFREG` and `S_IFDIR`: opened with the operations that their inodes name.
const PLAIN_TYPES: [u16; 2] = [0o100_000, 0o040_000];

/// Finds `f_mode` and `f_op`.
pub(super) fn search(search: &mut Search<'_>, files: &BTreeMap<u32, u64>) {
    modes(search, files);
    operations(search, files);
}

fn modes(search: &mut Search<'_>, files: &BTreeMap<u32, u64>) {
    let subjects = search.subjects;
    let opened = subjects.files.iter().filter_map(|file| {
        let bits = match file.access {
            Access::Read => 1,
            Access::Write => 2,
            Access::Both => 3,
        };
        Some((*files.get(&file.fd)?, bits))
    });
    let opened = search.images(opened, FILE_BYTES);
    let modes = valued(&opened, |image, offset| Some(image.u32(offset)? & FMODE_ACCESS));
    let relation = "of bits for reading and writing as each file was opened";
    search.settle("file", "f_mode", modes, relation);
}

/// All sockets have the same operations; a plain file has those that its inode names.
fn operations(search: &mut Search<'_>, files: &BTreeMap<u32, u64>) -> Option<()> {
    let subjects = search.subjects;
    let inode = search.found.fields.get("file.f_inode")?.offset as usize;
    let sockets = subjects.sockets.iter().filter_map(|socket| Some((*files.get(&socket.fd)?, ())));
    let sockets = search.images(sockets, FILE_BYTES);
    let plain = subjects
        .files
        .iter()
        .filter(|file| PLAIN_TYPES.iter().any(|&file_type| file.status.is(file_type)))
        .filter_map(|file| Some((*files.get(&file.fd)?, ())));
    let plain: Vec<(Image, Image)> = search
        .images(plain, FILE_BYTES)
        .into_iter()
        .filter_map(|(file, ())| {
            let inode = search.reader.pointer(&file, inode)?;
            Some((file, search.reader.image(inode, INODE_BYTES)?))
        })
        .collect();
    let (first, _) = sockets.first()?.clone();
    let of_sockets = agreeing(&sockets, 8, |image, offset, ()| {
        search.reader.pointer(image, offset).is_some() && image.u64(offset) == first.u64(offset)
    });
    let of_plain = agreeing(&plain, 8, |image, offset, inode| {
        image.u64(offset) != first.u64(offset)
            && search.reader.pointer(image, offset).is_some_and(|address| inode.contains(address))
    });
    let both = of_sockets.into_iter().filter(|offset| of_plain.contains(offset));
    let relation = "of what all sockets share, and plain files with their inodes";
    let offset = search.settle("file", "f_op", both, relation)?;
    let found = first.u64(offset)?;
    match subjects.socket_file_ops {
        Some(listed) if listed != found => {
            let why = format!(
                "sockets have {found:#x} at {offset}, where the symbol table has socket_file_ops \
                 at {listed:#x}"
            );
            search.found.fields.remove("file.f_op");
            search.fail("file.f_op", why);
        }
        _ => search.found.socket_file_ops = Some(found),
    }
    Some(())
}
