//! `inode` and `super_block`: what fstat(2) says.

use super::{
    image::Image,
    path::Opened,
    search::{Search, partitioning, valued},
};

/// `struct inode` before its locks and lists.
const INODE_BYTES: usize = 512;
/// `struct super_block` before its operations, with room to spare.
const SUPER_BLOCK_BYTES: usize = 128;

/// Finds the fields of inodes.
pub(super) fn search(search: &mut Search<'_>, opened: &[Opened<'_>]) {
    // One of each inode: names of the same one say nothing more.
    let mut distinct: Vec<&Opened<'_>> = Vec::new();
    for file in opened {
        if !distinct.iter().any(|other| other.inode == file.inode) {
            distinct.push(file);
        }
    }
    let inodes = distinct.iter().map(|&file| (file.inode, file));
    let inodes = search.images(inodes, INODE_BYTES);

    let relation = "of what fstat(2) calls the inode's number, for several inodes";
    let numbers = with(&inodes, |file| file.subject.status.inode);
    search.settle("inode", "i_ino", valued(&numbers, Image::u64), relation);

    let relation = "of type and permissions, for several of both";
    let modes = with(&inodes, |file| file.subject.status.mode);
    search.settle("inode", "i_mode", valued(&modes, Image::u16), relation);

    let relation = "of the number of the device that an inode stands for, 0 where it is none";
    let devices = with(&inodes, |file| file.subject.status.rdev);
    search.settle("inode", "i_rdev", valued(&devices, Image::u32), relation);

    super_blocks(search, &inodes);
}

fn with<'o, T>(
    inodes: &[(Image, &'o Opened<'o>)],
    known: impl Fn(&Opened<'_>) -> T,
) -> Vec<(Image, T)> {
    inodes.iter().map(|(image, file)| (image.clone(), known(file))).collect()
}

/// Inodes and directory entries of one file system share its super block, which has its device.
fn super_blocks(search: &mut Search<'_>, inodes: &[(Image, &Opened<'_>)]) {
    let devices = with(inodes, |file| file.subject.status.device);
    let mut pairs = Vec::new();
    for offset in partitioning(&devices, Image::u64) {
        let shared_with_dentry = inodes.iter().all(|(image, file)| {
            image.u64(offset).is_some_and(|super_block| file.dentry.contains(super_block))
        });
        if !shared_with_dentry {
            continue;
        }
        let addresses: Vec<_> = devices
            .iter()
            .filter_map(|(image, device)| Some((search.reader.pointer(image, offset)?, *device)))
            .collect();
        let super_blocks = search.images(addresses, SUPER_BLOCK_BYTES);
        if super_blocks.len() == inodes.len() {
            let devices = valued(&super_blocks, Image::u32);
            pairs.extend(devices.into_iter().map(|device| (offset, device)));
        }
    }
    let relation = "of a pointer that inodes and entries of a file system share, to its device";
    search.settle("inode", "i_sb", pairs.iter().map(|&(inode, _)| inode), relation);
    let relation = "of the file system's device, for several file systems";
    search.settle("super_block", "s_dev", pairs.iter().map(|&(_, device)| device), relation);
}
