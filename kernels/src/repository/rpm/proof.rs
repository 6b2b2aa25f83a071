//! Checks that a package is signed by its distribution.
//!
//! A package's signature covers its header. Since rpm 4.14 the header contains the digest of the
//! payload; older packages have a second signature that covers header and payload.

use std::io::{self, Read};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::header::{Header, tag};
use crate::{
    compression::read_bounded,
    digest::Digest,
    package::{PackageError, rpm::Preamble},
    signature::{Keyring, SignatureError, SignedBy},
};

/// Far larger than the payload of any kernel package.
const MAX_PAYLOAD: u64 = 1 << 30;
/// The OpenPGP number of SHA-256.
const SHA256: u64 = 8;

/// The name and version of a package, once they are proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `kernel-core-4.18.0-553.el8_10.x86_64`, without an epoch.
    pub(crate) nvra: String,
    pub(crate) signed_by: Vec<SignedBy>,
}

/// A package without a valid signature by a trusted key.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The file can't be read.
    #[error("cannot read the package")]
    Read(#[from] io::Error),
    /// It is not a package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The package is not signed as required.
    #[error("cannot trust the package")]
    Signature(#[from] SignatureError),
    /// Only the header is signed.
    #[error("the signature of the package does not cover its payload")]
    PayloadNotSigned,
    /// The header is signed only together with the payload.
    #[error(
        "the header of the package has no signature of its own: only the whole package can be checked"
    )]
    HeaderNotSigned,
    /// The package is signed, but it is a different one.
    #[error("the package is {found}, not {expected}")]
    OtherPackage {
        /// What the package's header says.
        found: String,
        /// What the repository says.
        expected: String,
    },
    /// The payload differs from the signed one.
    #[error("the payload of the package differs from the signed one")]
    OtherPayload,
}

/// Checks the signatures and the payload of a package.
pub(crate) fn prove(package: &mut dyn Read, keyring: &Keyring) -> Result<Identity, ProofError> {
    let Signed { header, of_header, of_all } = Signed::read(package)?;
    let signed_by = match header.string(tag::PAYLOAD_DIGEST) {
        Some(expected) if !of_header.is_empty() => {
            let signed_by = keyring.verify_packets(header.bytes(), &of_header)?;
            // Since rpm 6 the digest is SHA-256 without a tag that says so.
            if !matches!(header.numbers(tag::PAYLOAD_DIGEST_ALGORITHM)[..], [] | [SHA256]) {
                return Err(ProofError::PayloadNotSigned);
            }
            let (found, _) = Digest::of_reader(&mut package.take(MAX_PAYLOAD))?;
            if expected.parse() != Ok(found) {
                return Err(ProofError::OtherPayload);
            }
            signed_by
        }
        _ if !of_all.is_empty() => {
            let payload = read_bounded(package, MAX_PAYLOAD)?;
            keyring.verify_packets(&[header.bytes(), &payload].concat(), &of_all)?
        }
        _ if of_header.is_empty() => return Err(SignatureError::Unsigned.into()),
        _ => return Err(ProofError::PayloadNotSigned),
    };
    Ok(Identity { nvra: nvra(&header), signed_by })
}

/// Checks the signature of a package's header, and reads no more of the package than that. The
/// payload stays unproven.
pub(crate) fn prove_header(
    package: &mut dyn Read,
    keyring: &Keyring,
) -> Result<Identity, ProofError> {
    let Signed { header, of_header, of_all } = Signed::read(package)?;
    if of_header.is_empty() && !of_all.is_empty() {
        return Err(ProofError::HeaderNotSigned);
    }
    let signed_by = keyring.verify_packets(header.bytes(), &of_header)?;
    Ok(Identity { nvra: nvra(&header), signed_by })
}

/// A header, and the signatures of the package.
struct Signed {
    header: Header,
    of_header: Vec<Vec<u8>>,
    /// Signatures over header and payload.
    of_all: Vec<Vec<u8>>,
}

impl Signed {
    fn read(package: &mut dyn Read) -> Result<Self, ProofError> {
        let Preamble { signatures, header } = Preamble::read(package)?;
        let encoded = signatures.strings(tag::OPENPGP).into_iter();
        // A tag that is not base64 contains no signature; another tag may contain one.
        let packets = encoded.filter_map(|text| BASE64_STANDARD.decode(text).ok());
        let binary = |tag| signatures.binary(tag).map(<[u8]>::to_vec);
        let tags = [tag::RSA_HEADER, tag::DSA_HEADER];
        let of_header = packets.chain(tags.into_iter().filter_map(binary)).collect();
        let of_all = [tag::PGP, tag::GPG].into_iter().filter_map(binary).collect();
        Ok(Signed { header, of_header, of_all })
    }
}

fn nvra(header: &Header) -> String {
    let text = |tag| header.string(tag).unwrap_or_default();
    let (name, version) = (text(tag::NAME), text(tag::VERSION));
    let (release, arch) = (text(tag::RELEASE), text(tag::ARCH));
    format!("{name}-{version}-{release}.{arch}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;
    use crate::{
        catalog::matrix::Key,
        test_support::{
            author::Author,
            rpm::{header, package},
        },
    };

    const INT32: u32 = 4;
    const STRING: u32 = 6;
    const BINARY: u32 = 7;
    const STRING_ARRAY: u32 = 8;
    const PAYLOAD: &[u8] = b"compressed";

    fn keyring(author: &Author) -> Keyring {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), author.public_key()).unwrap();
        let key =
            Key { path: file.path().to_owned(), built_in: None, fingerprint: author.fingerprint() };
        Keyring::load(&[key]).unwrap()
    }

    /// The package's header, with or without the digest of its payload.
    fn described(algorithm: Option<u8>) -> Vec<u8> {
        let digest = format!("{}\0", Digest::of(PAYLOAD));
        let kind = [0, 0, 0, algorithm.unwrap_or_default()];
        let mut entries = vec![
            (tag::NAME, STRING, 1, &b"kernel\0"[..]),
            (tag::VERSION, STRING, 1, b"5.10\0"),
            (tag::RELEASE, STRING, 1, b"1.amzn2\0"),
            (tag::ARCH, STRING, 1, b"x86_64\0\0"),
        ];
        if algorithm.is_some() {
            entries.push((tag::PAYLOAD_DIGEST_ALGORITHM, INT32, 1, &kind));
            entries.push((tag::PAYLOAD_DIGEST, STRING_ARRAY, 1, digest.as_bytes()));
        }
        header(&entries)
    }

    fn signatures(tag: u32, signature: &[u8]) -> Vec<u8> {
        header(&[(tag, BINARY, signature.len() as u32, signature)])
    }

    fn prove(package: &[u8], author: &Author) -> Result<String, ProofError> {
        super::prove(&mut &package[..], &keyring(author)).map(|identity| identity.nvra)
    }

    #[rstest]
    #[case(tag::RSA_HEADER)]
    #[case(tag::DSA_HEADER)]
    #[case(tag::OPENPGP)]
    fn a_signed_header_with_the_digest_of_the_payload_is_a_proof(#[case] tag: u32) {
        let author = Author::new();
        let described = described(Some(8));
        let signature = author.sign_packet(&described);
        let signatures = match tag {
            tag::OPENPGP => {
                let text = BASE64_STANDARD.encode(&signature) + "\0";
                header(&[(tag, STRING_ARRAY, 1, text.as_bytes())])
            }
            tag => signatures(tag, &signature),
        };
        let whole = package(&signatures, &described, PAYLOAD);
        assert_eq!(prove(&whole, &author).unwrap(), "kernel-5.10-1.amzn2.x86_64");
        let other = package(&signatures, &described, b"another");
        let error = prove(&other, &author).unwrap_err();
        assert!(matches!(error, ProofError::OtherPayload), "{error:?}");
        let mut changed = whole.clone();
        let at = whole.windows(4).position(|bytes| bytes == b"5.10").unwrap();
        changed[at] = b'6';
        let error = prove(&changed, &author).unwrap_err();
        assert!(matches!(error, ProofError::Signature(SignatureError::Bad)), "{error:?}");
        let error = prove(&whole, &Author::new()).unwrap_err();
        assert!(
            matches!(error, ProofError::Signature(SignatureError::UnknownSigner { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn before_rpm_4_14_a_second_signature_is_over_the_payload() {
        let author = Author::new();
        let described = described(None);
        let signature = author.sign_packet(&[&described[..], PAYLOAD].concat());
        let signatures = signatures(tag::PGP, &signature);
        let whole = package(&signatures, &described, PAYLOAD);
        assert_eq!(prove(&whole, &author).unwrap(), "kernel-5.10-1.amzn2.x86_64");
        let error = prove(&package(&signatures, &described, b"another"), &author).unwrap_err();
        assert!(matches!(error, ProofError::Signature(SignatureError::Bad)), "{error:?}");
    }

    #[test]
    fn what_does_not_cover_the_payload_is_no_proof() {
        let author = Author::new();
        // SHA-1 is not a digest to rely on.
        for described in [described(None), described(Some(2))] {
            let signatures = signatures(tag::RSA_HEADER, &author.sign_packet(&described));
            let error = prove(&package(&signatures, &described, PAYLOAD), &author).unwrap_err();
            assert!(matches!(error, ProofError::PayloadNotSigned), "{error:?}");
        }
    }

    #[test]
    fn an_unsigned_package_is_refused() {
        let whole = package(&header(&[]), &described(Some(8)), PAYLOAD);
        let error = prove(&whole, &Author::new()).unwrap_err();
        assert!(matches!(error, ProofError::Signature(SignatureError::Unsigned)), "{error:?}");
        let error = prove(b"no package", &Author::new()).unwrap_err();
        assert!(matches!(error, ProofError::Package(_)), "{error:?}");
    }
}
