//! The file formats of kernels: packages of distributions, plain archives, bare images.
//!
//! The first bytes of a file decide its format. Nothing is ever written to a path that an archive
//! names. An archive with a member that points outside of it is refused all the same.

mod deb;
mod image;
pub(crate) mod rpm;
mod stripped_cpio;
mod tar;

use std::io::{self, Read};

use crate::{
    compression::{Bomb, Compression},
    image::vmlinux::ImageError,
};

/// Limits on the content of a package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The number of bytes after decompression.
    pub(crate) unpacked: u64,
}

impl Default for Limits {
    /// Far more than any kernel package contains.
    fn default() -> Self {
        Limits { unpacked: 4 << 30 }
    }
}

/// A file that is not a valid package or archive.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The file is not an archive of a known format, or is one without a package's data.
    #[error("not a package: {0}")]
    NotAPackage(&'static str),
    /// The package ends too early.
    #[error("the package is truncated")]
    Truncated,
    /// The package can't be read any further.
    #[error("the package is damaged")]
    Damaged(#[source] io::Error),
    /// A member would be written outside the unpacking directory.
    #[error("the member {0:?} points outside the package")]
    PathTraversal(String),
    /// A member that must be a file is a link to a path outside the package.
    #[error("the member {member:?} is a link out of the package, to {target:?}")]
    LinkOut {
        member: String,
        /// The target of the link.
        target: String,
    },
    /// A member that must be a file is of another type.
    #[error("the member {0:?} is not a regular file")]
    NotAFile(String),
    /// A member exceeds the limit for files of its kind.
    #[error("the member {member:?} has more than {limit} bytes")]
    TooLarge { member: String, limit: u64 },
    /// The package decompresses to more than the limit for packages.
    #[error("a decompression bomb: it unpacks to more than {limit} bytes")]
    Bomb { limit: u64 },
    /// The name or the attributes of a member exceed the limit for them.
    #[error("the name or the attributes of a member have more than {limit} bytes")]
    LongName { limit: u64 },
    /// The package lacks what it was downloaded for.
    #[error("the package has no {0}")]
    Lacks(&'static str),
    /// The package contains more than one kernel.
    #[error("the package has several kernels: {0}")]
    SeveralKernels(String),
    /// A bare image can't be booted.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl From<io::Error> for PackageError {
    fn from(error: io::Error) -> Self {
        if let Some(bomb) = error.get_ref().and_then(|inner| inner.downcast_ref::<Bomb>()) {
            return PackageError::Bomb { limit: bomb.limit };
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => PackageError::Truncated,
            _ => PackageError::Damaged(error),
        }
    }
}

/// A member of a package's data.
pub(crate) struct Member<'a> {
    /// Relative to the root of the file system, without a leading `./`.
    pub(crate) path: &'a str,
    kind: Kind,
    content: &'a mut dyn Read,
}

/// The type of a member.
#[derive(Debug)]
enum Kind {
    File,
    /// The target of a link.
    Link(String),
    Other,
}

impl<'a> Member<'a> {
    /// Creates a member, unless its path points outside the package.
    fn new(path: &'a str, kind: Kind, content: &'a mut dyn Read) -> Result<Self, PackageError> {
        let relative = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
        if relative.starts_with('/') || relative.split('/').any(|part| part == "..") {
            return Err(PackageError::PathTraversal(path.to_owned()));
        }
        Ok(Member { path: relative, kind, content })
    }

    /// The content as a stream. The member must be a file.
    pub(crate) fn content(&mut self) -> Result<&mut dyn Read, PackageError> {
        let member = || self.path.to_owned();
        match &self.kind {
            Kind::File => Ok(&mut *self.content),
            Kind::Link(target) if points_out(self.path, target) => {
                Err(PackageError::LinkOut { member: member(), target: target.clone() })
            }
            Kind::Link(_) | Kind::Other => Err(PackageError::NotAFile(member())),
        }
    }

    /// The content. The member must be a file of at most `limit` bytes.
    pub(crate) fn read(&mut self, limit: u64) -> Result<Vec<u8>, PackageError> {
        let mut bytes = Vec::new();
        self.content()?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(PackageError::TooLarge { member: self.path.to_owned(), limit });
        }
        Ok(bytes)
    }
}

/// Whether a link points outside the package.
fn points_out(path: &str, target: &str) -> bool {
    let mut depth = path.split('/').count() - 1;
    target.starts_with('/')
        || target.split('/').filter(|part| !matches!(*part, "" | ".")).any(|part| {
            let above = part == ".." && depth == 0;
            depth = if part == ".." { depth.saturating_sub(1) } else { depth + 1 };
            above
        })
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Deb,
    Rpm,
    Tar(Compression),
    Image,
}

/// How many bytes are needed to recognise a format.
const HEAD: u64 = 0x206;

impl Format {
    fn of(head: &[u8]) -> Result<Self, PackageError> {
        let boot_header = head.get(0x202..0x206) == Some(b"HdrS");
        Ok(match head {
            [b'!', b'<', b'a', b'r', b'c', b'h', b'>', b'\n', ..] => Format::Deb,
            [0xed, 0xab, 0xee, 0xdb, ..] => Format::Rpm,
            [0x1f, 0x8b, ..] => Format::Tar(Compression::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Tar(Compression::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Tar(Compression::Zstd),
            [0x7f, b'E', b'L', b'F', ..] => Format::Image,
            _ if boot_header => Format::Image,
            _ if head.get(257..262) == Some(b"ustar") => Format::Tar(Compression::None),
            _ => {
                let why = "neither a Debian or RPM package, nor a tar archive, nor a kernel image";
                return Err(PackageError::NotAPackage(why));
            }
        })
    }
}

/// Calls `visit` for every member that is not a directory, in the order of the archive.
///
/// A bare image is passed as the single member `boot/vmlinuz-RELEASE`, as a package would have it.
pub(crate) fn for_each_member<E: From<PackageError>>(
    package: &mut dyn Read,
    visit: impl FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for_each_member_within(package, Limits::default(), visit)
}

/// The same, within limits of the caller's.
pub(crate) fn for_each_member_within<E: From<PackageError>>(
    package: &mut dyn Read,
    limits: Limits,
    mut visit: impl FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut head = Vec::new();
    package.take(HEAD).read_to_end(&mut head).map_err(PackageError::from)?;
    let format = Format::of(&head)?;
    let mut package = head.chain(package);
    match format {
        Format::Deb => deb::for_each_member(&mut package, limits, &mut visit),
        Format::Rpm => rpm::for_each_member(&mut package, limits, &mut visit),
        Format::Tar(compression) => {
            tar::for_each_member(&mut package, compression, limits, &mut visit)
        }
        Format::Image => image::for_each_member(&mut package, &mut visit),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::test_support::{
        archive::{Entry, compress, deb, tar},
        image::{Payload, bzimage, vmlinux},
    };

    fn members(package: &[u8]) -> Result<Vec<(String, usize)>, PackageError> {
        let mut members = Vec::new();
        for_each_member(&mut &package[..], |member| {
            members.push((member.path.to_owned(), member.read(1 << 20)?.len()));
            Ok::<_, PackageError>(())
        })?;
        Ok(members)
    }

    #[test]
    fn what_a_file_is_its_first_bytes_tell() {
        let archive = tar(&[Entry::File("./boot/vmlinuz-6.1", b"image")]);
        let expected = [("boot/vmlinuz-6.1".to_owned(), 5)];
        for compression in
            [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd]
        {
            assert_eq!(members(&compress(compression, &archive)).unwrap(), expected);
        }
        assert_eq!(members(&deb(&archive)).unwrap(), expected);
        let kernel = vmlinux("6.1.0", true);
        let image = bzimage("6.1.0", Payload::Plain, &kernel);
        let expected = |size| [("boot/vmlinuz-6.1.0".to_owned(), size)];
        assert_eq!(members(&image).unwrap(), expected(image.len()));
        assert_eq!(members(&kernel).unwrap(), expected(kernel.len()));
        for other in [&b"<html>not found</html>"[..], b""] {
            let error = members(other).unwrap_err();
            assert!(matches!(error, PackageError::NotAPackage(_)), "{error:?}");
        }
    }

    #[rstest]
    #[case("boot/vmlinuz", "vmlinuz-6.1", false)]
    #[case("boot/vmlinuz", "./a/../../lib/b", false)]
    #[case("boot/vmlinuz", "../../b", true)]
    #[case("boot/vmlinuz", "a/../../../b", true)]
    #[case("vmlinuz", "boot/vmlinuz", false)]
    #[case("vmlinuz", "../vmlinuz", true)]
    #[case("boot/vmlinuz", "/boot/vmlinuz-6.1", true)]
    fn links(#[case] path: &str, #[case] target: &str, #[case] out: bool) {
        assert_eq!(points_out(path, target), out);
    }

    #[rstest]
    #[case(Compression::Gzip)]
    #[case(Compression::Xz)]
    #[case(Compression::Zstd)]
    fn a_decompression_bomb_is_refused(#[case] compression: Compression) {
        let archive = tar(&[Entry::File("./usr/share/zeros", &vec![0; 1 << 20])]);
        let bomb = compress(compression, &archive);
        assert!(bomb.len() < 1 << 14);
        let mut visit = |_: &mut Member<'_>| Ok::<_, PackageError>(());
        let read = |unpacked| {
            let limits = Limits { unpacked };
            tar::for_each_member(&mut &bomb[..], compression, limits, &mut visit)
        };
        let (outcomes, limit) = ([1 << 16, 1 << 22].map(read), 1 << 16);
        let [Err(error), Ok(())] = outcomes else { panic!("{outcomes:?}") };
        assert!(
            matches!(error, PackageError::Bomb { limit: found } if found == limit),
            "{error:?}"
        );
    }
}
