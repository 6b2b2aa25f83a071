//! The compression formats of packages, kernel images and modules.

use std::io::{self, Read};

/// Kernels are compressed with zstd's highest level, whose window is 128 MiB.
const ZSTD_WINDOW: u64 = 1 << 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// By a file name's extension: `Packages.xz`, `data.tar.zst`, `virtio.ko`.
    pub(crate) fn of_name(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, "gz")) => Compression::Gzip,
            Some((_, "xz")) => Compression::Xz,
            Some((_, "zst")) => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// By the first bytes of content that may be compressed.
    pub(crate) fn of_content(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// The file name extension, with its dot.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Xz => ".xz",
            Compression::Zstd => ".zst",
        }
    }

    /// A reader of the decompressed data.
    pub(crate) fn reader<'a>(self, inner: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Compression::None => Box::new(inner),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(inner)),
            Compression::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(inner)),
            Compression::Zstd => Box::new(
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(inner, ZSTD_WINDOW)
                    .map_err(io::Error::other)?,
            ),
        })
    }

    /// Decompresses a whole buffer to at most `limit` bytes.
    pub(crate) fn decompress(self, bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        read_bounded(&mut self.reader(bytes)?, limit)
    }
}

/// A reader of the decompressed data, if the content is compressed with gzip, xz or zstd. Its first
/// bytes tell; they are not consumed otherwise.
pub fn decompressed<'a>(
    mut content: impl io::BufRead + 'a,
) -> io::Result<Option<Box<dyn Read + 'a>>> {
    match Compression::of_content(content.fill_buf()?) {
        Compression::None => Ok(None),
        compression => compression.reader(content).map(Some),
    }
}

/// Reads to the end, which must come within `limit` bytes.
pub(crate) fn read_bounded(reader: &mut dyn Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// A stream with a size limit. Reading beyond the limit fails with a [`Bomb`].
pub(crate) struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

/// The error of a stream that exceeds its limit, inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} bytes")]
pub(crate) struct Bomb {
    pub(crate) limit: u64,
}

impl<R: Read> Bounded<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Bounded { inner, left: limit, limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        match self.left.checked_sub(length as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(Bomb { limit: self.limit })),
        }
        Ok(length)
    }
}
