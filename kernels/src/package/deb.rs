//! Debian packages: deb(5), an ar archive that contains a compressed tar archive.

use std::io::{self, Read};

use super::{Limits, Member, PackageError, tar};
use crate::compression::Compression;

/// Calls `visit` for every member of a package's data that is not a directory.
pub(super) fn for_each_member<E: From<PackageError>>(
    package: &mut dyn Read,
    limits: Limits,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
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
        return tar::for_each_member(&mut counted, compression, limits, visit);
    }
    Err(PackageError::NotAPackage("it has no data").into())
}

fn not_ar(error: io::Error) -> PackageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => PackageError::Truncated,
        _ => PackageError::NotAPackage("it is not an ar archive"),
    }
}

/// A part of an archive that must have its full length: a decompressor takes an early end of input
/// for the regular one.
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::test_support::archive::{Entry, ar, compress, deb, tar};

    /// The paths and contents of all members, or the error.
    fn members(package: &[u8]) -> Result<Vec<(String, Vec<u8>)>, PackageError> {
        let mut members = Vec::new();
        let mut visit = |member: &mut Member<'_>| {
            members.push((member.path.to_owned(), member.read(10)?));
            Ok::<_, PackageError>(())
        };
        for_each_member(&mut &package[..], Limits::default(), &mut visit)?;
        Ok(members)
    }

    #[rstest]
    #[case::plain("data.tar", Compression::None)]
    #[case::gzip("data.tar.gz", Compression::Gzip)]
    #[case::xz("data.tar.xz", Compression::Xz)]
    #[case::zstd("data.tar.zst", Compression::Zstd)]
    fn every_compression_is_read(#[case] name: &str, #[case] compression: Compression) {
        let data = tar(&[Entry::Dir("./boot/"), Entry::File("./boot/vmlinuz", b"image")]);
        let data = compress(compression, &data);
        let package = ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b""), (name, &data)]);
        let expected = vec![("boot/vmlinuz".to_owned(), b"image".to_vec())];
        assert_eq!(members(&package).unwrap(), expected);
    }

    #[rstest]
    #[case::parent("../etc/passwd")]
    #[case::inner("./boot/../../etc/passwd")]
    #[case::absolute("/etc/passwd")]
    fn a_path_out_of_the_package_is_refused(#[case] path: &str) {
        let package = deb(&tar(&[Entry::File(path, b"root")]));
        let error = members(&package).unwrap_err();
        assert!(matches!(&error, PackageError::PathTraversal(found) if found == path), "{error:?}");
    }

    #[test]
    fn a_wanted_link_is_refused() {
        let link = |target| members(&deb(&tar(&[Entry::Link("./boot/vmlinuz", target)])));
        for target in ["/etc/passwd", "../../etc/passwd", "../boot/../../etc/passwd"] {
            let error = link(target).unwrap_err();
            assert!(
                matches!(&error, PackageError::LinkOut { target: found, .. } if found == target),
                "{error:?}"
            );
        }
        for target in ["vmlinuz-6.1", "../boot/vmlinuz-6.1"] {
            let error = link(target).unwrap_err();
            assert!(matches!(error, PackageError::NotAFile(_)), "{error:?}");
        }
    }

    #[test]
    fn a_member_beyond_its_bound_is_refused() {
        let package = deb(&tar(&[Entry::File("./boot/vmlinuz", b"eleven byte")]));
        let error = members(&package).unwrap_err();
        assert!(matches!(error, PackageError::TooLarge { limit: 10, .. }), "{error:?}");
    }

    #[test]
    fn a_package_cut_anywhere_is_an_error() {
        let package = deb(&tar(&[Entry::File("./boot/vmlinuz", b"image")]));
        for length in 0..package.len() {
            if let Ok(found) = members(&package[..length]) {
                panic!("cut after {length} of {} bytes: {found:?}", package.len());
            }
        }
    }

    #[rstest]
    #[case::text(b"<html>not found</html>".to_vec(), "it is not an ar archive")]
    #[case::no_data(ar(&[("debian-binary", b"2.0\n")]), "it has no data")]
    #[case::lzma(ar(&[("data.tar.lzma", b"x")]), "its data is compressed in a way")]
    fn other_files_are_refused(#[case] package: Vec<u8>, #[case] expected: &str) {
        let error = members(&package).unwrap_err();
        assert!(
            matches!(error, PackageError::NotAPackage(why) if why.contains(expected)),
            "{error:?}"
        );
    }

    #[test]
    fn damaged_data_is_an_error() {
        let package = ar(&[("data.tar.xz", b"not xz at all")]);
        let error = members(&package).unwrap_err();
        assert!(matches!(error, PackageError::Damaged(_)), "{error:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut package in proptest::collection::vec(0_u8.., 0..400), well in 0_usize..9) {
            // Prefixes that get further than random bytes do.
            let start: &[u8] = [&b""[..], b"!<arch>\n"][well.min(1)];
            package.splice(0..0, start.iter().copied());
            drop(members(&package));
        }
    }
}
