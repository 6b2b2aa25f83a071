//! From files to names: `file.f_path` and `file.f_inode`, `dentry`, `qstr`.

use std::collections::BTreeMap;

use super::{
    FileSubject,
    image::Image,
    search::{Search, agreeing, partitioning, valued},
};

/// `struct file`, lock debugging included.
pub(super) const FILE_BYTES: usize = 384;
/// `struct dentry`.
const DENTRY_BYTES: usize = 256;
/// `struct vfsmount`.
const MOUNT_BYTES: usize = 64;
/// `struct qstr` reaches this far to both sides of its pointer.
const QSTR_REACH: usize = 16;

/// A file with its directory entry.
pub(super) struct Opened<'a> {
    pub(super) subject: &'a FileSubject,
    pub(super) file: Image,
    pub(super) dentry: Image,
    /// The address of its inode.
    pub(super) inode: u64,
}

/// Finds the fields that lead from a file to its directory entry and inode, and returns those.
pub(super) fn search<'a>(
    search: &mut Search<'a>,
    files: &BTreeMap<u32, u64>,
) -> Option<Vec<Opened<'a>>> {
    let subjects = search.subjects;
    let addresses = subjects.files.iter().filter_map(|file| Some((*files.get(&file.fd)?, file)));
    let images = search.images(addresses, FILE_BYTES);
    let (dentry_offset, dentries) = dentries(search, &images)?;
    names(search, &dentries);
    parents(search, &images, dentry_offset, &dentries);
    let opened = inodes(search, images, &dentries)?;
    mounts(search, dentry_offset, &opened);
    Some(opened)
}

type Dentries<'a> = Vec<(Image, &'a FileSubject)>;

/// Where files point to directory entries, and those.
///
/// Files that were opened by the same entry, and only those, share it; and somewhere in it is a
/// pointer to its name.
fn dentries<'a>(
    search: &mut Search<'a>,
    files: &[(Image, &'a FileSubject)],
) -> Option<(usize, Dentries<'a>)> {
    let entries: Vec<_> = files.iter().map(|(image, file)| (image.clone(), file.entry)).collect();
    let mut found = Vec::new();
    for offset in partitioning(&entries, Image::u64) {
        let addresses: Option<Vec<_>> = files
            .iter()
            .map(|(image, file)| Some((search.reader.pointer(image, offset)?, *file)))
            .collect();
        let Some(addresses) = addresses else { continue };
        let dentries = search.images(addresses, DENTRY_BYTES);
        if dentries.len() == files.len() && !name_pointers(search, &dentries).is_empty() {
            found.push((offset, dentries));
        }
    }
    if found.len() != 1 {
        let offsets: Vec<_> = found.iter().map(|(offset, _)| offset.to_string()).collect();
        let offsets = if offsets.is_empty() { "none".to_owned() } else { offsets.join(", ") };
        let why = format!(
            "the offsets at which files opened by the same name, and only those, share an object \
             that leads to this name: {offsets}"
        );
        search.fail("file.f_path", why);
        return None;
    }
    found.pop()
}

/// Where directory entries point to their names.
fn name_pointers(search: &mut Search<'_>, dentries: &[(Image, &FileSubject)]) -> Vec<usize> {
    agreeing(dentries, 8, |image, offset, file| {
        let mut name = file.name.clone().into_bytes();
        name.push(0);
        let target = search.reader.pointer(image, offset);
        target
            .and_then(|target| search.reader.image(target, name.len()))
            .is_some_and(|target| target.starts_with(&name))
    })
}

/// `dentry.d_name` and the fields of the `struct qstr` that it is.
///
/// A qstr begins with its hash, which depends on the name and on the directory, and on nothing else.
fn names(search: &mut Search<'_>, dentries: &[(Image, &FileSubject)]) -> Option<()> {
    let pointers = name_pointers(search, dentries);
    let [pointer] = pointers[..] else {
        search.fail("dentry.d_name", format!("offsets {pointers:?} lead to the name"));
        return None;
    };
    let nearby = |&offset: &usize| offset.abs_diff(pointer) < QSTR_REACH;
    let lengths: Vec<_> =
        dentries.iter().map(|(image, file)| (image.clone(), file.name.len() as u32)).collect();
    let length = valued(&lengths, Image::u32).into_iter().filter(nearby);
    // One of each entry: what two files share says nothing about names.
    let mut entries: Vec<(Image, (Option<u32>, &str))> = Vec::new();
    for (image, file) in dentries {
        // The names of roots are not hashed.
        let is_root = file.parent == Some(file.fd);
        if !is_root && !entries.iter().any(|(other, _)| other.address == image.address) {
            entries.push((image.clone(), (file.parent, &file.name)));
        }
    }
    let hash = partitioning(&entries, Image::u32).into_iter().filter(nearby);
    let relation =
        "near the pointer to the name of what differs exactly where name or directory do";
    let start = search.settle("dentry", "d_name", hash, relation)?;
    let relation = "in d_name of the name's length, for names of several lengths";
    let within = length.filter_map(|offset| offset.checked_sub(start));
    search.settle("qstr", "len", within, relation);
    let relation = "in d_name of a pointer to the entry's name, for several entries";
    search.settle("qstr", "name", pointer.checked_sub(start), relation);
    Some(())
}

fn parents(
    search: &mut Search<'_>,
    files: &[(Image, &FileSubject)],
    dentry_offset: usize,
    dentries: &[(Image, &FileSubject)],
) {
    let dentry_of = |fd| {
        let (image, _) = files.iter().find(|(_, file)| file.fd == fd)?;
        image.u64(dentry_offset)
    };
    let known: Vec<_> = dentries
        .iter()
        .filter_map(|(image, file)| Some((image.clone(), dentry_of(file.parent?)?)))
        .collect();
    let relation = "of the entry of the directory that it is in; of itself, for a root";
    search.settle("dentry", "d_parent", valued(&known, Image::u64), relation);
}

/// `file.f_inode` and `dentry.d_inode`: the same pointer in both, shared by all names of an inode.
fn inodes<'a>(
    search: &mut Search<'a>,
    files: Vec<(Image, &'a FileSubject)>,
    dentries: &[(Image, &FileSubject)],
) -> Option<Vec<Opened<'a>>> {
    let identities: Vec<_> = files
        .iter()
        .map(|(image, file)| (image.clone(), (file.status.device, file.status.inode)))
        .collect();
    let mut pairs = Vec::new();
    for offset in partitioning(&identities, Image::u64) {
        let pointers: Option<Vec<_>> =
            files.iter().map(|(image, _)| search.reader.pointer(image, offset)).collect();
        let Some(pointers) = pointers else { continue };
        let known: Vec<_> = dentries
            .iter()
            .zip(pointers)
            .map(|((image, _), inode)| (image.clone(), inode))
            .collect();
        pairs.extend(valued(&known, Image::u64).into_iter().map(|dentry| (offset, dentry)));
    }
    let relation = "of a pointer that all names of an inode share, and that their entries have too";
    let inode = search.settle("file", "f_inode", pairs.iter().map(|&(file, _)| file), relation)?;
    let relation = "of the file's f_inode, for several inodes";
    search.settle("dentry", "d_inode", pairs.iter().map(|&(_, dentry)| dentry), relation)?;
    let opened = files.into_iter().zip(dentries).filter_map(|((file, subject), (dentry, _))| {
        let inode = search.reader.pointer(&file, inode)?;
        Some(Opened { subject, file, dentry: dentry.clone(), inode })
    });
    Some(opened.collect())
}

/// `file.f_path` holds the entry and, beside it, the mount, which has a pointer to its root.
fn mounts(search: &mut Search<'_>, dentry_offset: usize, opened: &[Opened<'_>]) {
    let with_root: Vec<(Image, u64)> = opened
        .iter()
        .filter_map(|file| {
            let root = file.subject.mount_root?;
            let root = opened.iter().find(|other| other.subject.fd == root)?;
            Some((file.file.clone(), root.dentry.address))
        })
        .collect();
    let starts: Vec<usize> = agreeing(&with_root, 8, |image, offset, root| {
        let mount = search.reader.pointer(image, offset);
        offset.abs_diff(dentry_offset) == 8
            && mount
                .and_then(|mount| search.reader.image(mount, MOUNT_BYTES))
                .is_some_and(|mount| mount.contains(*root))
    })
    .into_iter()
    .map(|mount| mount.min(dentry_offset))
    .collect();
    let relation = "where the entry and, beside it, the mount are, whose root is the opened root";
    let Some(path) = search.settle("file", "f_path", starts, relation) else { return };
    let relation = "in f_path of the entry that files opened by the same name share";
    search.settle("path", "dentry", [dentry_offset - path], relation);
}
