//! SHA-256 digests, and readers that compute them on the way.

use std::{
    fmt,
    io::{self, Read},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

/// A SHA-256 digest, written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a whole buffer.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of everything that remains in a reader, and the number of those bytes.
    pub fn of_reader(reader: &mut impl Read) -> io::Result<(Self, u64)> {
        let mut hashing = HashingReader::new(reader);
        let length = io::copy(&mut hashing, &mut io::sink())?;
        Ok((hashing.hasher.finish(), length))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Text that is not a SHA-256 digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SHA-256 digest: expected 64 hexadecimal digits")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let not_a_digest = || NotADigest(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(not_a_digest());
        }
        let mut digest = [0; 32];
        for (byte, index) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[index..index + 2], 16).map_err(|_| not_a_digest())?;
        }
        Ok(Digest(digest))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The digest of an index, of the kind that its repository uses. Packages always have SHA-256
/// digests, but the metadata may use others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexDigest {
    Sha256(Digest),
    Sha512([u8; 64]),
}

impl IndexDigest {
    /// Parses a digest of this kind: `sha256` or `sha512`, in any case. `None` if it is malformed,
    /// or its kind is not safe.
    pub(crate) fn parse(kind: &str, text: &str) -> Option<Self> {
        match kind.to_ascii_lowercase().as_str() {
            "sha256" => text.parse().ok().map(IndexDigest::Sha256),
            "sha512" => {
                let (high, low) = text.split_at_checked(64)?;
                let halves: [Digest; 2] = [high.parse().ok()?, low.parse().ok()?];
                let bytes = halves.map(|half| half.0).concat();
                Some(IndexDigest::Sha512(bytes.try_into().ok()?))
            }
            _ => None,
        }
    }

    /// Whether these bytes have this digest.
    pub(crate) fn is_of(&self, bytes: &[u8]) -> bool {
        match self {
            IndexDigest::Sha256(digest) => Digest::of(bytes) == *digest,
            IndexDigest::Sha512(digest) => sha2::Sha512::digest(bytes).as_slice() == digest,
        }
    }

    /// The name of its kind in paths: `SHA256`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            IndexDigest::Sha256(_) => "SHA256",
            IndexDigest::Sha512(_) => "SHA512",
        }
    }
}

impl fmt::Display for IndexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexDigest::Sha256(digest) => digest.fmt(f),
            IndexDigest::Sha512(digest) => {
                digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// A digest that is being computed.
#[derive(Clone, Default)]
pub(crate) struct Hasher(sha2::Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of the data so far. More data may follow.
    pub(crate) fn finish(&self) -> Digest {
        Digest(self.0.clone().finalize().into())
    }
}

/// A reader that computes the digest of what is read.
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        HashingReader { inner, hasher: Hasher::default() }
    }

    /// Reads the rest and returns the digest of everything.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_reads_back_what_it_writes() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(ABC.parse(), Ok(digest));
        assert_eq!(ABC.to_uppercase().parse(), Ok(digest));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "ba78", &ABC[1..], &ABC.replace('f', "g"), &format!("{}\u{e9}", &ABC[2..])]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_reader_read_in_part_still_gives_the_whole_digest() {
        let mut reader = HashingReader::new(&b"abc"[..]);
        reader.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(reader.finish().unwrap(), Digest::of(b"abc"));
        assert_eq!(Digest::of_reader(&mut &b"abc"[..]).unwrap(), (Digest::of(b"abc"), 3));
    }

    #[test]
    fn an_index_may_be_known_by_its_sha_512() {
        // `printf '' | sha512sum`
        const EMPTY: &str = "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
                             47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";
        let digest = IndexDigest::parse("sha512", EMPTY).unwrap();
        assert!(digest.is_of(b"") && !digest.is_of(b"x"));
        assert_eq!((digest.to_string().as_str(), digest.kind()), (EMPTY, "SHA512"));
        let digest = IndexDigest::parse("SHA256", &Digest::of(b"x").to_string()).unwrap();
        assert!(digest.is_of(b"x") && !digest.is_of(b""));
        for (kind, text) in [("sha512", &EMPTY[..64]), ("sha256", EMPTY), ("sha1", &EMPTY[..40])] {
            assert_eq!(IndexDigest::parse(kind, text), None);
        }
    }
}
