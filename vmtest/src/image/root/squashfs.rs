//! Writes a tree as a squashfs.

use std::{
    fs::File,
    io::{self, BufWriter, Read},
    os::unix::fs::FileExt as _,
};

use backhand::{
    BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader, SuperBlock,
    compression::{CompressionAction, Compressor},
    kind::Kind as Format,
};

use super::tree::{Attributes, Content, Kind, Node, Tree};

/// Why a file system can't be laid out, or written.
pub(crate) type LayoutError = BackhandError;

static STORED: Stored = Stored;

/// Leaves all blocks as they are: the writer stores a block that did not become shorter.
struct Stored;

impl CompressionAction for Stored {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    fn compress(
        &self,
        bytes: &[u8],
        _: FilesystemCompressor,
        _: u32,
    ) -> Result<Vec<u8>, BackhandError> {
        Ok(vec![0; bytes.len() + 1])
    }

    fn decompress(&self, _: &[u8], _: &mut Vec<u8>, _: Compressor) -> Result<(), BackhandError> {
        unreachable!("images are only written here")
    }

    fn compression_options(
        &self,
        _: &mut SuperBlock,
        _: &Format,
        _: FilesystemCompressor,
    ) -> Result<Option<Vec<u8>>, BackhandError> {
        Ok(None)
    }
}

/// Writes the file system. Content that is not in files of its own comes from `archive`.
pub(crate) fn write(
    tree: &Tree,
    archive: Option<&File>,
    image: &mut File,
) -> Result<(), LayoutError> {
    let mut writer = FilesystemWriter::default();
    writer.set_kind(Format::new_v4(&STORED));
    // The kernel asks for a compression even if no block is compressed. All kernels have this one.
    writer.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None)?);
    for (path, Node { attributes, kind }) in &tree.nodes {
        let header = header(*attributes);
        match kind {
            Kind::Directory if path.parent().is_none() => {
                writer.set_root_mode(header.permissions);
                writer.set_root_uid(header.uid);
                writer.set_root_gid(header.gid);
            }
            Kind::Directory => writer.push_dir(path, header)?,
            Kind::File(Content::File(file)) => writer.push_file_from_path(file, path, header)?,
            Kind::File(Content::Archived { position, length }) => {
                let (archive, position, left) = (archive, *position, *length);
                writer.push_file(Archived { archive, position, left }, path, header)?;
            }
            Kind::SymbolicLink(target) => writer.push_symlink(target, path, header)?,
            Kind::CharacterDevice(number) => writer.push_char_device(*number, path, header)?,
            Kind::BlockDevice(number) => writer.push_block_device(*number, path, header)?,
            Kind::Pipe => writer.push_fifo(path, header)?,
        }
    }
    let mut image = BufWriter::with_capacity(1 << 20, image);
    writer.write(&mut image)?;
    Ok(())
}

fn header(attributes: Attributes) -> NodeHeader {
    let Attributes { mode, user, group, time } = attributes;
    NodeHeader::new(mode, user, group, time)
}

/// Reads a part of an archive.
struct Archived<'a> {
    archive: Option<&'a File>,
    position: u64,
    left: u64,
}

impl Read for Archived<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let archive = self.archive.ok_or(io::ErrorKind::NotFound)?;
        let room = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = archive.read_at(&mut buffer[..room], self.position)?;
        if read == 0 && room > 0 {
            // The archive ends in the middle of a file.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
