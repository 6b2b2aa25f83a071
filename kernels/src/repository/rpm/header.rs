//! A header of an RPM package: an index of tagged values, and the store that contains the values.
//!
//! The format is described in `docs/manual/format_header.md` of rpm's source.

use std::io::{self, Read};

/// Tags, as `include/rpm/rpmtag.h` of rpm's source numbers them.
pub(crate) mod tag {
    /// In the main header: the name of the package.
    pub(crate) const NAME: u32 = 1000;
    pub(crate) const VERSION: u32 = 1001;
    pub(crate) const RELEASE: u32 = 1002;
    pub(crate) const ARCH: u32 = 1022;
    /// The list of files. A path has two parts, and the directories are in a list of their own.
    pub(crate) const FILE_SIZES: u32 = 1028;
    pub(crate) const FILE_MODES: u32 = 1030;
    pub(crate) const FILE_INODES: u32 = 1096;
    pub(crate) const DIR_INDEXES: u32 = 1116;
    pub(crate) const FILE_NAMES: u32 = 1117;
    pub(crate) const DIR_NAMES: u32 = 1118;
    pub(crate) const LONG_FILE_SIZES: u32 = 5008;
    pub(crate) const PAYLOAD_FORMAT: u32 = 1124;
    pub(crate) const PAYLOAD_COMPRESSOR: u32 = 1125;
    /// The hexadecimal digest of the payload as stored in the package.
    pub(crate) const PAYLOAD_DIGEST: u32 = 5092;
    pub(crate) const PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;

    /// In the signature header: signatures of the main header, by DSA and by RSA keys.
    pub(crate) const DSA_HEADER: u32 = 267;
    pub(crate) const RSA_HEADER: u32 = 268;
    /// Signatures of the main header by keys of any kind, in base64; since rpm 6.
    pub(crate) const OPENPGP: u32 = 278;
    /// Signatures of header and payload. Before rpm 4.14 nothing else proved the payload.
    pub(crate) const PGP: u32 = 1002;
    pub(crate) const GPG: u32 = 1005;
}

const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
const ENTRY: usize = 16;
/// rpm's own limits are looser. A kernel's header, with the paths of all modules, has about 2 MiB.
const MAX_ENTRIES: u32 = 1 << 16;
const MAX_STORE: u32 = 64 << 20;

const INT16: u32 = 3;
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;
const BINARY: u32 = 7;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// A header that can't be used.
#[derive(Debug)]
pub(crate) enum HeaderError {
    Read(io::Error),
    Malformed(&'static str),
}

/// The exact bytes of a header, because signatures cover them.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    bytes: Vec<u8>,
    /// The offset of the store.
    store: usize,
}

/// One entry of the index.
struct Entry {
    tag: u32,
    kind: u32,
    offset: usize,
    count: usize,
}

impl Header {
    pub(crate) fn read(source: &mut dyn Read) -> Result<Self, HeaderError> {
        let mut bytes = vec![0; ENTRY];
        source.read_exact(&mut bytes).map_err(HeaderError::Read)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(HeaderError::Malformed("one of its headers has the wrong magic number"));
        }
        let (entries, store) = (number(&bytes, 8), number(&bytes, 12));
        if entries > MAX_ENTRIES || store > MAX_STORE {
            return Err(HeaderError::Malformed("one of its headers is too large"));
        }
        let length = entries as usize * ENTRY + store as usize;
        let read = source.take(length as u64).read_to_end(&mut bytes).map_err(HeaderError::Read)?;
        if read < length {
            return Err(HeaderError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Header { bytes, store: ENTRY + entries as usize * ENTRY })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value of a string tag; the first one of an array.
    pub(crate) fn string(&self, tag: u32) -> Option<&str> {
        self.strings(tag).into_iter().next()
    }

    /// All strings of a tag. Stops before the first that is not UTF-8.
    pub(crate) fn strings(&self, tag: u32) -> Vec<&str> {
        let Some(entry) = self.entry(tag) else {
            return Vec::new();
        };
        if !matches!(entry.kind, STRING | STRING_ARRAY | I18N_STRING) {
            return Vec::new();
        }
        let values = self.value(&entry).unwrap_or_default().split(|byte| *byte == 0);
        values.map_while(|value| std::str::from_utf8(value).ok()).take(entry.count).collect()
    }

    /// All numbers of a tag, of any width.
    pub(crate) fn numbers(&self, tag: u32) -> Vec<u64> {
        let Some(entry) = self.entry(tag) else {
            return Vec::new();
        };
        let width = match entry.kind {
            INT16 => 2,
            INT32 => 4,
            INT64 => 8,
            _ => return Vec::new(),
        };
        let values = self.value(&entry).unwrap_or_default().chunks_exact(width).take(entry.count);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        values.map(number).collect()
    }

    pub(crate) fn binary(&self, tag: u32) -> Option<&[u8]> {
        let entry = self.entry(tag).filter(|entry| entry.kind == BINARY)?;
        self.value(&entry)?.get(..entry.count)
    }

    /// The store from the start of a value.
    fn value(&self, entry: &Entry) -> Option<&[u8]> {
        self.bytes[self.store..].get(entry.offset..)
    }

    fn entry(&self, tag: u32) -> Option<Entry> {
        let entries = self.bytes[ENTRY..self.store].chunks_exact(ENTRY);
        let entry = |line: &[u8]| Entry {
            tag: number(line, 0),
            kind: number(line, 4),
            offset: number(line, 8) as usize,
            count: number(line, 12) as usize,
        };
        entries.map(entry).find(|entry| entry.tag == tag)
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_be_bytes(bytes.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::rpm::header;

    #[test]
    fn values_are_found_by_their_tag() {
        let bytes = header(&[
            (tag::NAME, STRING, 1, b"kernel\0"),
            (tag::PAYLOAD_DIGEST_ALGORITHM, INT32, 1, &[0, 0, 1, 2]),
            (tag::RSA_HEADER, BINARY, 3, b"abcd"),
            (tag::OPENPGP, STRING_ARRAY, 2, b"one\0two\0three\0"),
        ]);
        let header = Header::read(&mut &[&bytes[..], b"payload"].concat()[..]).unwrap();
        assert_eq!(header.bytes(), bytes);
        assert_eq!(header.string(tag::NAME), Some("kernel"));
        assert_eq!(header.numbers(tag::PAYLOAD_DIGEST_ALGORITHM), [0x102]);
        assert_eq!(header.binary(tag::RSA_HEADER), Some(&b"abc"[..]));
        assert_eq!(header.strings(tag::OPENPGP), ["one", "two"]);
        assert_eq!(header.string(tag::VERSION), None);
        assert_eq!(header.string(tag::PAYLOAD_DIGEST_ALGORITHM), None, "wrong type");
    }

    #[test]
    fn numbers_of_every_width() {
        let bytes = header(&[
            (tag::FILE_MODES, INT16, 2, &[0x81, 0xa4, 0xa1, 0xff]),
            (tag::FILE_SIZES, INT32, 2, &[0, 0, 1, 0, 0, 0, 0, 7]),
            (tag::LONG_FILE_SIZES, INT64, 1, &[0, 0, 0, 1, 0, 0, 0, 0]),
        ]);
        let header = Header::read(&mut &bytes[..]).unwrap();
        assert_eq!(header.numbers(tag::FILE_MODES), [0o100_644, 0o120_777]);
        assert_eq!(header.numbers(tag::FILE_SIZES), [256, 7]);
        assert_eq!(header.numbers(tag::LONG_FILE_SIZES), [1 << 32]);
        assert_eq!(header.numbers(tag::NAME), [0_u64; 0]);
    }

    #[test]
    fn values_beyond_the_store_are_not_there() {
        let mut bytes = header(&[(tag::RSA_HEADER, BINARY, 100, b"abc")]);
        let read = |bytes: &[u8]| Header::read(&mut &*bytes).unwrap();
        assert_eq!(read(&bytes).binary(tag::RSA_HEADER), None);
        bytes[ENTRY + 8..ENTRY + 12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(read(&bytes).binary(tag::RSA_HEADER), None);
    }

    #[test]
    fn a_header_that_is_none_is_refused() {
        let whole = header(&[(tag::NAME, STRING, 1, b"kernel\0")]);
        for length in 0..whole.len() {
            let error = Header::read(&mut &whole[..length]).unwrap_err();
            assert!(matches!(error, HeaderError::Read(_)), "{error:?}");
        }
        for (at, value) in [(0, 0), (8, 0xff), (12, 0xff)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let error = Header::read(&mut &bytes[..]).unwrap_err();
            assert!(matches!(error, HeaderError::Malformed(_)), "{error:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(0_u8.., 0..200)) {
            bytes.splice(0..0, MAGIC.into_iter().chain([0, 0, 0, 2, 0, 0, 0, 40]));
            if let Ok(header) = Header::read(&mut &bytes[..]) {
                let tags = header.bytes[ENTRY..].chunks_exact(ENTRY).map(|line| number(line, 0));
                for tag in tags.collect::<Vec<_>>() {
                    header.strings(tag);
                    header.numbers(tag);
                    header.binary(tag);
                }
            }
        }
    }
}
