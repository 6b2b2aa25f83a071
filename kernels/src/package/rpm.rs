//! RPM packages: a lead, two headers, and a compressed cpio archive.
//!
//! The format is described in `docs/manual/format_v4.md` of rpm's source.

use std::io::{self, Read};

use cpio::newc;

use super::{Kind, Limits, Member, PackageError, stripped_cpio};
use crate::{
    compression::{Bounded, Compression},
    repository::rpm::header::{Header, HeaderError, tag},
};

const LEAD: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];

/// The length of the fixed part of a cpio member's header, its magic number, and the offset of the
/// name's length.
const CPIO_HEADER: usize = 110;
const CPIO_MAGIC: usize = 6;
const CPIO_NAME_SIZE: std::ops::Range<usize> = 94..102;
const MAX_NAME: u32 = 1 << 16;

const TYPE_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIR: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const MAX_TARGET: u64 = 4096;

/// The part of a package before the payload.
pub(crate) struct Preamble {
    /// The signatures, which are not signed themselves.
    pub(crate) signatures: Header,
    /// The metadata of the package.
    pub(crate) header: Header,
}

impl Preamble {
    /// Reads up to the start of the payload.
    pub(crate) fn read(package: &mut dyn Read) -> Result<Self, PackageError> {
        let mut lead = [0; LEAD];
        package.read_exact(&mut lead)?;
        if !lead.starts_with(&LEAD_MAGIC) {
            return Err(PackageError::NotAPackage("it has no lead of an RPM package"));
        }
        let signatures = Header::read(package).map_err(unusable)?;
        // The header after the signatures starts at a multiple of eight.
        let padding = signatures.bytes().len().wrapping_neg() % 8;
        package.read_exact(&mut [0; 8][..padding])?;
        Ok(Preamble { signatures, header: Header::read(package).map_err(unusable)? })
    }

    /// The compression of the payload.
    fn compression(&self) -> Result<Compression, PackageError> {
        match self.header.string(tag::PAYLOAD_COMPRESSOR) {
            // Very old packages do not state it.
            None | Some("gzip") => Ok(Compression::Gzip),
            Some("xz") => Ok(Compression::Xz),
            Some("zstd") => Ok(Compression::Zstd),
            Some("none" | "identity") => Ok(Compression::None),
            Some(_) => {
                let why = "its payload is compressed in a way that is not supported";
                Err(PackageError::NotAPackage(why))
            }
        }
    }
}

fn unusable(error: HeaderError) -> PackageError {
    match error {
        HeaderError::Read(error) => error.into(),
        HeaderError::Malformed(why) => PackageError::NotAPackage(why),
    }
}

/// Calls `visit` for every member of a package's payload that is not a directory.
pub(super) fn for_each_member<E: From<PackageError>>(
    package: &mut dyn Read,
    limits: Limits,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let preamble = Preamble::read(package)?;
    if !matches!(preamble.header.string(tag::PAYLOAD_FORMAT), None | Some("cpio")) {
        return Err(PackageError::NotAPackage("its payload is not a cpio archive").into());
    }
    let payload = preamble.compression()?.reader(package).map_err(PackageError::from)?;
    let mut payload = Bounded::new(payload, limits.unpacked);
    let files = stripped_cpio::list(&preamble.header);
    loop {
        let mut magic = [0; CPIO_MAGIC];
        payload.read_exact(&mut magic).map_err(PackageError::from)?;
        if magic == *stripped_cpio::MAGIC {
            let file = stripped_cpio::next(&mut payload, &files)?;
            let mut content = (&mut payload).take(file.size);
            show(&file.path()?, file.mode, &mut content, visit)?;
            io::copy(&mut content, &mut io::sink()).map_err(PackageError::from)?;
            if content.limit() > 0 {
                return Err(PackageError::Truncated.into());
            }
            let mut padding = [0; 3];
            let padding = &mut padding[..stripped_cpio::padding(file.size)];
            payload.read_exact(padding).map_err(PackageError::from)?;
            continue;
        }
        let mut member = next_member(&magic, &mut payload)?;
        if member.entry().is_trailer() {
            break;
        }
        let (path, mode) = (member.entry().name().to_owned(), member.entry().mode());
        show(&path, mode, &mut member, visit)?;
        member.finish().map_err(PackageError::from)?;
    }
    // As with tar archives, the checksums after the last member prove that everything was intact.
    io::copy(&mut payload, &mut io::sink()).map_err(PackageError::from)?;
    Ok(())
}

fn show<E: From<PackageError>>(
    path: &str,
    mode: u32,
    content: &mut dyn Read,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let kind = match mode & TYPE_MASK {
        REGULAR => Kind::File,
        SYMLINK => {
            let mut target = Vec::new();
            content.take(MAX_TARGET).read_to_end(&mut target).map_err(PackageError::from)?;
            Kind::Link(String::from_utf8_lossy(&target).into_owned())
        }
        _ => Kind::Other,
    };
    let mut member = Member::new(path, kind, content)?;
    if mode & TYPE_MASK == DIR { Ok(()) } else { visit(&mut member) }
}

/// A member with a header of its own, whose magic number has already been read.
fn next_member<'a, R: Read>(
    magic: &[u8; CPIO_MAGIC],
    payload: &'a mut R,
) -> Result<newc::Reader<impl Read + use<'a, R>>, PackageError> {
    let mut header = [0; CPIO_HEADER];
    header[..CPIO_MAGIC].copy_from_slice(magic);
    payload.read_exact(&mut header[CPIO_MAGIC..])?;
    let name_size = std::str::from_utf8(&header[CPIO_NAME_SIZE]).ok();
    let name_size = name_size.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    if name_size.is_none_or(|size| size > MAX_NAME) {
        return Err(PackageError::Damaged(io::ErrorKind::InvalidData.into()));
    }
    Ok(newc::Reader::new(io::Cursor::new(header).chain(payload))?)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::test_support::{
        archive::{Entry, compress},
        rpm::{cpio, header, package},
    };

    const STRING: u32 = 6;

    fn rpm(compressor: &str, payload: &[u8]) -> Vec<u8> {
        let compressor = format!("{compressor}\0");
        let entries = [
            (tag::PAYLOAD_FORMAT, STRING, 1, &b"cpio\0"[..]),
            (tag::PAYLOAD_COMPRESSOR, STRING, 1, compressor.as_bytes()),
        ];
        package(&header(&[]), &header(&entries), payload)
    }

    /// The paths and contents of all members, or the error.
    fn members(package: &[u8]) -> Result<Vec<(String, Vec<u8>)>, PackageError> {
        members_within(package, Limits::default())
    }

    fn members_within(
        package: &[u8],
        limits: Limits,
    ) -> Result<Vec<(String, Vec<u8>)>, PackageError> {
        let mut members = Vec::new();
        let mut visit = |member: &mut Member<'_>| {
            members.push((member.path.to_owned(), member.read(10)?));
            Ok::<_, PackageError>(())
        };
        for_each_member(&mut &package[..], limits, &mut visit)?;
        Ok(members)
    }

    #[rstest]
    #[case("none", Compression::None)]
    #[case("gzip", Compression::Gzip)]
    #[case("xz", Compression::Xz)]
    #[case("zstd", Compression::Zstd)]
    fn every_compression_is_read(#[case] name: &str, #[case] compression: Compression) {
        let payload = cpio(&[Entry::Dir("./boot"), Entry::File("./boot/vmlinuz", b"image")]);
        let package = rpm(name, &compress(compression, &payload));
        let expected = vec![("boot/vmlinuz".to_owned(), b"image".to_vec())];
        assert_eq!(members(&package).unwrap(), expected);
    }

    #[rstest]
    #[case::parent("../etc/passwd")]
    #[case::inner("./boot/../../etc/passwd")]
    #[case::absolute("/etc/passwd")]
    fn a_path_out_of_the_package_is_refused(#[case] path: &str) {
        let error = members(&rpm("none", &cpio(&[Entry::File(path, b"root")]))).unwrap_err();
        assert!(matches!(&error, PackageError::PathTraversal(found) if found == path), "{error:?}");
    }

    #[test]
    fn a_link_out_of_the_package_is_refused() {
        let link = Entry::Link("./boot/vmlinuz", "../../etc/passwd");
        let error = members(&rpm("none", &cpio(&[link]))).unwrap_err();
        assert!(
            matches!(&error, PackageError::LinkOut { target, .. } if target == "../../etc/passwd"),
            "{error:?}"
        );
    }

    #[test]
    fn a_decompression_bomb_is_refused() {
        let payload = compress(Compression::Xz, &cpio(&[Entry::File("./zeros", &[0; 5])]));
        let limits = Limits { unpacked: 100 };
        let error = members_within(&rpm("xz", &payload), limits).unwrap_err();
        assert!(matches!(error, PackageError::Bomb { limit: 100 }), "{error:?}");
    }

    #[test]
    fn an_absurd_name_is_refused_before_it_is_read() {
        let mut payload = cpio(&[Entry::File("./boot/vmlinuz", b"image")]);
        payload[CPIO_NAME_SIZE].copy_from_slice(b"ffffffff");
        let error = members(&rpm("none", &payload)).unwrap_err();
        assert!(matches!(error, PackageError::Damaged(_)), "{error:?}");
    }

    #[test]
    fn a_package_cut_anywhere_is_an_error() {
        let payload = cpio(&[Entry::File("./boot/vmlinuz", b"image")]);
        let package = rpm("xz", &compress(Compression::Xz, &payload));
        for length in 0..package.len() {
            if let Ok(found) = members(&package[..length]) {
                panic!("cut after {length} of {} bytes: {found:?}", package.len());
            }
        }
    }

    /// A package whose members have no headers, as rpm 6 makes them, and its payload.
    fn stripped() -> (Vec<u8>, Vec<u8>) {
        const INT16: u32 = 3;
        const INT32: u32 = 4;
        const INT64: u32 = 5;
        const STRING_ARRAY: u32 = 8;
        let numbers = |numbers: &[u64], width: usize| -> Vec<u8> {
            numbers.iter().flat_map(|n| n.to_be_bytes()[8 - width..].to_vec()).collect()
        };
        // A directory, a file, a link, and one file with two names.
        let modes = numbers(&[0o040_755, 0o100_644, 0o120_777, 0o100_644, 0o100_644], 2);
        let sizes = numbers(&[0, 5, 7, 3, 3], 8);
        let inodes = numbers(&[1, 2, 3, 4, 4], 4);
        let header = header(&[
            (tag::PAYLOAD_COMPRESSOR, STRING, 1, &b"none\0"[..]),
            (tag::FILE_MODES, INT16, 5, &modes),
            (tag::FILE_INODES, INT32, 5, &inodes),
            (tag::DIR_INDEXES, INT32, 5, &numbers(&[0, 1, 1, 1, 1], 4)),
            (tag::FILE_NAMES, STRING_ARRAY, 5, b"boot\0vmlinuz\0link\0one\0two\0"),
            (tag::DIR_NAMES, STRING_ARRAY, 2, b"/\0/boot/\0"),
            (tag::LONG_FILE_SIZES, INT64, 5, &sizes),
        ]);
        let mut payload = Vec::new();
        for (number, content) in
            [(0, &b""[..]), (1, b"image\0\0\0"), (2, b"vmlinuz\0"), (3, b""), (4, b"two\0")]
        {
            payload.extend(format!("07070X{number:08x}\0\0").as_bytes());
            payload.extend(content);
        }
        payload.extend(cpio(&[]));
        (header, payload)
    }

    #[test]
    fn members_without_headers_are_in_the_list_of_files() {
        let (described, payload) = stripped();
        let mut shown = Vec::new();
        let mut visit = |member: &mut Member<'_>| {
            let content = match member.path {
                "boot/link" => {
                    let error = member.read(10).unwrap_err();
                    assert!(matches!(error, PackageError::NotAFile(_)), "{error:?}");
                    "a link".to_owned()
                }
                // A member that is not read must not get in the way.
                "boot/vmlinuz" => "unread".to_owned(),
                _ => String::from_utf8(member.read(10)?).unwrap(),
            };
            shown.push(format!("{} {content}", member.path));
            Ok::<_, PackageError>(())
        };
        let package = package(&header(&[]), &described, &payload);
        for_each_member(&mut &package[..], Limits::default(), &mut visit).unwrap();
        assert_eq!(shown, ["boot/vmlinuz unread", "boot/link a link", "boot/one ", "boot/two two"]);
        for length in 0..package.len() {
            let mut visit = |_: &mut Member<'_>| Ok::<_, PackageError>(());
            let cut = for_each_member(&mut &package[..length], Limits::default(), &mut visit);
            assert!(cut.is_err(), "{length}");
        }
    }

    #[test]
    fn an_absurd_directory_is_not_written_out_for_every_file() {
        const FILES: u32 = 1000;
        let dir = format!("/{}/\0", "d".repeat(1 << 20));
        let (names, zeros) = ("f\0".repeat(FILES as usize), vec![0; 8 * FILES as usize]);
        let inodes: Vec<u8> = (0..FILES).flat_map(u32::to_be_bytes).collect();
        let described = header(&[
            (tag::PAYLOAD_COMPRESSOR, STRING, 1, &b"none\0"[..]),
            (tag::FILE_MODES, 3, FILES, &zeros),
            (tag::FILE_INODES, 4, FILES, &inodes),
            (tag::DIR_INDEXES, 4, FILES, &zeros),
            (tag::FILE_NAMES, 8, FILES, names.as_bytes()),
            (tag::DIR_NAMES, 8, 1, dir.as_bytes()),
            (tag::LONG_FILE_SIZES, 5, FILES, &zeros),
        ]);
        let mut payload = b"07070X00000001\0\0".to_vec();
        payload.extend(cpio(&[]));
        let error = members(&package(&header(&[]), &described, &payload)).unwrap_err();
        assert!(matches!(error, PackageError::LongName { .. }), "{error:?}");
    }

    #[test]
    fn a_member_that_is_not_in_the_list_is_refused() {
        let (described, mut payload) = stripped();
        payload[13] = b'9';
        let error = members(&package(&header(&[]), &described, &payload)).unwrap_err();
        assert!(matches!(error, PackageError::NotAPackage(_)), "{error:?}");
        // A package without a file list.
        let error = members(&rpm("none", &payload)).unwrap_err();
        assert!(matches!(error, PackageError::NotAPackage(_)), "{error:?}");
    }

    #[test]
    fn an_unknown_compression_is_refused() {
        let error = members(&rpm("lzma", b"")).unwrap_err();
        assert!(matches!(error, PackageError::NotAPackage(_)), "{error:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_payload_makes_it_panic(mut payload in proptest::collection::vec(0_u8.., 0..300)) {
            let magic = b"070701";
            let length = magic.len().min(payload.len());
            payload[..length].copy_from_slice(&magic[..length]);
            drop(members(&rpm("none", &payload)));
        }
    }
}
