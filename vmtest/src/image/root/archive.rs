//! Reads tar archives.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use tar::{Archive, Entry, EntryType};

use super::{
    RootError,
    tree::{Attributes, Content, Kind, Node, Tree, absolute, device_number},
};

/// The unit of archives, in bytes.
const BLOCK: u64 = 512;
/// The most bytes of an archive without its compression: images of whole distributions have some.
const MOST: u64 = 32 << 30;
/// The most entries, which are all in memory: large distributions have some hundred thousand.
const ENTRIES: usize = 4_000_000;
/// The most bytes of a name, or of the extended attributes of a file, which precede its entry.
const LONGEST_NAME: u64 = 64 << 10;

/// The archive without its compression: the file itself, or a copy in `dir` that has no name.
pub(super) fn uncompressed(path: &Path, file: File, dir: &Path) -> Result<File, RootError> {
    let not_an_archive = |source| RootError::NotAnArchive { path: path.to_owned(), source };
    let rewind = |mut file: &File| file.seek(SeekFrom::Start(0));
    rewind(&file).map_err(not_an_archive)?;
    let Some(mut content) =
        kernlab_kernels::decompressed(BufReader::new(&file)).map_err(not_an_archive)?
    else {
        rewind(&file).map_err(not_an_archive)?;
        return Ok(file);
    };
    let mut copy = tempfile::tempfile_in(dir)
        .map_err(|source| RootError::Write { path: dir.to_owned(), source })?;
    let unpacked = io::copy(&mut (&mut content).take(MOST + 1), &mut copy);
    if unpacked.map_err(not_an_archive)? > MOST {
        return Err(RootError::TooLarge { path: path.to_owned(), what: "32 GiB" });
    }
    rewind(&copy).map_err(not_an_archive)?;
    Ok(copy)
}

/// Reads everything but the content of files. Extended attributes are ignored.
pub(crate) fn read(path: &Path, archive: &File) -> Result<Tree, RootError> {
    let not_an_archive = |source| RootError::NotAnArchive { path: path.to_owned(), source };
    check_sizes(path, archive)?;
    let mut tree = Tree::default();
    let mut hard_links = Vec::new();
    // Where the last entry ends.
    let mut end = 0;
    for entry in Archive::new(archive).entries_with_seek().map_err(not_an_archive)? {
        let mut entry = entry.map_err(not_an_archive)?;
        end = entry.raw_file_position().saturating_add(entry.size());
        end = end.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        let name = entry.path().map_err(not_an_archive)?.into_owned();
        let refuse = |why| RootError::Entry { path: path.to_owned(), name: name.clone(), why };
        let place = absolute(&name).ok_or_else(|| refuse("leads out of the root"))?;
        match found(&mut entry).map_err(not_an_archive)?.map_err(refuse)? {
            Found::Node(node) if place == Path::new("/") && node.kind != Kind::Directory => {
                return Err(refuse("is the root, but no directory"));
            }
            Found::Node(node) => tree.add(&place, node).map_err(refuse)?,
            Found::HardLink(target) => hard_links.push((name, place, target)),
            Found::Nothing => {}
        }
    }
    if !is_complete(archive, end).map_err(not_an_archive)? {
        return Err(RootError::CutOff(path.to_owned()));
    }
    add_hard_links(&mut tree, hard_links).map_err(|(name, why)| RootError::Entry {
        path: path.to_owned(),
        name,
        why,
    })?;
    Ok(tree)
}

/// Refuses an archive whose names or whose number of entries would fill memory. The headers are read
/// alone: what comes before an entry, such as its long name, is otherwise read as a whole.
fn check_sizes(path: &Path, archive: &File) -> Result<(), RootError> {
    let not_an_archive = |source| RootError::NotAnArchive { path: path.to_owned(), source };
    let too_large = |what| RootError::TooLarge { path: path.to_owned(), what };
    let mut headers = Archive::new(archive);
    let entries = headers.entries_with_seek().map_err(not_an_archive)?.raw(true);
    for (number, entry) in entries.enumerate() {
        let header = entry.map_err(not_an_archive)?;
        let header = header.header();
        let kind = header.entry_type();
        let names_another = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if names_another && header.entry_size().map_err(not_an_archive)? > LONGEST_NAME {
            return Err(too_large("64 KiB of a name or of attributes"));
        }
        if number >= ENTRIES {
            return Err(too_large("4 million entries"));
        }
    }
    let mut reader = archive;
    reader.seek(SeekFrom::Start(0)).map_err(not_an_archive)?;
    Ok(())
}

/// Whether an archive whose last entry ends at this position has a block of zeros there: tar(5). An
/// empty file is complete.
fn is_complete(archive: &File, end: u64) -> io::Result<bool> {
    let mut mark = [1; BLOCK as usize];
    match archive.read_exact_at(&mut mark, end) {
        Ok(()) => Ok(mark.iter().all(|&byte| byte == 0)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(archive.metadata()?.len() == 0)
        }
        Err(error) => Err(error),
    }
}

enum Found {
    Node(Node),
    HardLink(PathBuf),
    Nothing,
}

/// What an entry is; the inner error completes "the entry ...".
fn found(entry: &mut Entry<'_, &File>) -> io::Result<Result<Found, &'static str>> {
    const HOLES: &str = "is stored with holes, which are not supported";
    // Since POSIX.1-2001 an ordinary file whose content begins with a list of its holes.
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        if extension?.key_bytes().starts_with(b"GNU.sparse.") {
            return Ok(Err(HOLES));
        }
    }
    let entry = &*entry;
    let header = entry.header();
    let link = || Ok::<_, io::Error>(entry.link_name()?.map(|name| name.into_owned()));
    let device = || {
        let (major, minor) = (header.device_major()?, header.device_minor()?);
        Ok::<_, io::Error>(device_number(major.unwrap_or(0), minor.unwrap_or(0)))
    };
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => Kind::File(Content::Archived {
            position: entry.raw_file_position(),
            length: entry.size(),
        }),
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => match link()? {
            Some(target) => Kind::SymbolicLink(target),
            None => return Ok(Err("is a link to nothing")),
        },
        EntryType::Link => {
            let target = link()?.and_then(|target| absolute(&target));
            return Ok(target.map(Found::HardLink).ok_or("is a link to nothing"));
        }
        EntryType::Char => Kind::CharacterDevice(device()?),
        EntryType::Block => Kind::BlockDevice(device()?),
        EntryType::Fifo => Kind::Pipe,
        EntryType::GNUSparse => return Ok(Err(HOLES)),
        // Headers for what follows.
        EntryType::XHeader | EntryType::XGlobalHeader => return Ok(Ok(Found::Nothing)),
        // The name of the archive itself.
        other if other.as_byte() == b'V' => return Ok(Ok(Found::Nothing)),
        _ => return Ok(Err("is of a kind that only one vendor's tar knows")),
    };
    let (Ok(user), Ok(group)) = (header.uid()?.try_into(), header.gid()?.try_into()) else {
        return Ok(Err("belongs to a user or a group whose number has more than 32 bits"));
    };
    let attributes = Attributes {
        mode: u16::try_from(header.mode()? & 0o7777).unwrap_or(0),
        user,
        group,
        // Later times than 2106 can't be kept.
        time: u32::try_from(header.mtime()?).unwrap_or(u32::MAX),
    };
    Ok(Ok(Found::Node(Node { attributes, kind })))
}

/// Adds further names of files, which may come before the first one. In the image each becomes a
/// file of its own; the bytes of large ones are stored once.
fn add_hard_links(
    tree: &mut Tree,
    mut links: Vec<(PathBuf, PathBuf, PathBuf)>,
) -> Result<(), (PathBuf, &'static str)> {
    while !links.is_empty() {
        let before = links.len();
        let mut left = Vec::new();
        for (name, place, target) in links {
            match tree.nodes.get(&target).cloned() {
                Some(Node { kind: Kind::Directory, .. }) => {
                    return Err((name, "is a hard link to a directory"));
                }
                Some(node) => tree.add(&place, node).map_err(|why| (name, why))?,
                None => left.push((name, place, target)),
            }
        }
        if left.len() == before {
            let (name, ..) = left.swap_remove(0);
            return Err((name, "is a hard link to something that is not in it"));
        }
        links = left;
    }
    Ok(())
}
