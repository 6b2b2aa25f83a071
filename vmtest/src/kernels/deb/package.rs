//! The package format: deb(5), an ar archive with a compressed tar archive in it.

use std::io::{self, Read};

use crate::kernels::compression::Compression;

/// Far more than any kernel package holds.
const MAX_UNPACKED: u64 = 4 << 30;

/// A package that is not what deb(5) describes.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Not an ar archive, or one without the data of a package.
    #[error("not a Debian package: {0}")]
    NotAPackage(&'static str),
    /// The package ends too early.
    #[error("the package is truncated")]
    Truncated,
    /// The package can't be read on.
    #[error("the package is damaged")]
    Damaged(#[source] io::Error),
    /// A member would be written outside of where packages are unpacked.
    #[error("the member {0:?} points out of the package")]
    PathTraversal(String),
    /// A member that must be a file is something else.
    #[error("the member {0:?} is not a regular file")]
    NotAFile(String),
    /// A member exceeds what such a file can sensibly have.
    #[error("the member {member:?} has more than {limit} bytes")]
    TooLarge {
        /// Its path.
        member: String,
        /// The bound.
        limit: u64,
    },
    /// The package lacks what it was downloaded for.
    #[error("the package has no {0}")]
    Lacks(&'static str),
}

impl From<io::Error> for PackageError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => PackageError::Truncated,
            _ => PackageError::Damaged(error),
        }
    }
}

/// One member of a package's data.
pub(crate) struct Member<'a> {
    /// Relative to the root of the file system, without a leading `./`.
    pub(crate) path: &'a str,
    is_file: bool,
    content: &'a mut dyn Read,
}

impl Member<'_> {
    /// The content, which must be a file of at most so many bytes.
    pub(crate) fn read(&mut self, limit: u64) -> Result<Vec<u8>, PackageError> {
        if !self.is_file {
            return Err(PackageError::NotAFile(self.path.to_owned()));
        }
        let mut bytes = Vec::new();
        (&mut *self.content).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(PackageError::TooLarge { member: self.path.to_owned(), limit });
        }
        Ok(bytes)
    }
}

/// Shows every member that is not a directory to `visit`, in the order of the archive.
///
/// Nothing is ever written to a path that a package names; a member that points out of the package
/// makes it a bad one all the same.
pub(crate) fn for_each_member<E: From<PackageError>>(
    package: &mut dyn Read,
    mut visit: impl FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = ar::Archive::new(package);
    while let Some(entry) = archive.next_entry() {
        let mut entry = entry.map_err(not_ar)?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        let name = name.trim_end_matches('/');
        if !name.starts_with("data.tar") {
            continue;
        }
        let compression = match Compression::of_name(name) {
            Compression::None if name != "data.tar" => {
                let why = "its data is compressed in a way that is not supported";
                return Err(PackageError::NotAPackage(why).into());
            }
            compression => compression,
        };
        let size = entry.header().size();
        let mut counted = Counted { inner: &mut entry, left: size };
        let data = compression.reader(&mut counted).map_err(PackageError::from)?;
        return for_each_file(data, &mut visit);
    }
    Err(PackageError::NotAPackage("it has no data").into())
}

fn not_ar(error: io::Error) -> PackageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => PackageError::Truncated,
        _ => PackageError::NotAPackage("it is not an ar archive"),
    }
}

fn for_each_file<E: From<PackageError>>(
    data: impl Read,
    visit: &mut impl FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(data.take(MAX_UNPACKED));
    for entry in archive.entries().map_err(PackageError::from)? {
        let mut entry = entry.map_err(PackageError::from)?;
        let path = entry.path_bytes();
        let path = String::from_utf8_lossy(&path).into_owned();
        let relative = path.strip_prefix("./").unwrap_or(&path).trim_end_matches('/');
        if relative.starts_with('/') || relative.split('/').any(|part| part == "..") {
            return Err(PackageError::PathTraversal(path).into());
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        visit(&mut Member { path: relative, is_file: kind.is_file(), content: &mut entry })?;
    }
    Ok(())
}

/// A part of an archive that must have its full length: a decompressor takes an early end for the
/// regular one.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(length as u64);
        if length == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(length)
    }
}
