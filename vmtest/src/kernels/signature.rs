//! Whether a document was signed by a key that the project trusts: a repository's `Release` or
//! `repomd.xml`, the header of an RPM package.
//!
//! A document carries the signatures of several keys; one good signature of one expected key is
//! enough. A key's validity is judged at the time of the signature, so that an archived document
//! stays good.

use std::{fs, io, path::PathBuf};

use pgp::{
    composed::{CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey},
    crypto::hash::HashAlgorithm,
    packet::{PublicKey, PublicSubkey, Signature, SignatureType},
    types::{KeyDetails, Tag, Timestamp},
};

use crate::kernels::matrix::Key;

/// How far a signature may be dated into the future: clocks differ.
const CLOCK_TOLERANCE: u32 = 24 * 60 * 60;

/// A key that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read.
    #[error("cannot read the key {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not an armoured public key.
    #[error("{path} is not an armoured OpenPGP public key")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<pgp::errors::Error>,
    },
    /// It is another key than the matrix expects.
    #[error("the key in {path} has the fingerprint {found}, not {expected}")]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// Its fingerprint.
        found: String,
        /// What the matrix says.
        expected: String,
    },
    /// Its owner took it back.
    #[error("the key in {path} is revoked")]
    Revoked {
        /// The file.
        path: PathBuf,
    },
}

/// A document without a good signature.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Not a signed document at all.
    #[error("not a signed document")]
    Malformed(#[source] Box<pgp::errors::Error>),
    /// Nobody signed.
    #[error("it is not signed")]
    Unsigned,
    /// Not text.
    #[error("the signed document is not UTF-8")]
    NotText,
    /// No signature is of an expected key.
    #[error("signed by {found}, none of which is a key of this repository ({expected})")]
    UnknownSigner {
        /// Who signed.
        found: String,
        /// Who should have.
        expected: String,
    },
    /// The signature of an expected key does not fit the document.
    #[error("the signature is bad: the document was changed, or the key may not sign it")]
    Bad,
}

/// The keys of a repository.
#[derive(Debug)]
pub(crate) struct Keyring {
    signers: Vec<Signer>,
    fingerprints: Vec<String>,
}

/// A key or subkey that may sign, and until when: seconds since 1970.
#[derive(Debug)]
struct Signer {
    key: SigningKey,
    expires: Option<u32>,
}

#[derive(Debug)]
enum SigningKey {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

impl Keyring {
    pub(crate) fn load(keys: &[Key]) -> Result<Self, KeyError> {
        let mut keyring = Keyring { signers: Vec::new(), fingerprints: Vec::new() };
        for key in keys {
            keyring.signers.extend(load_key(key)?);
            keyring.fingerprints.push(key.fingerprint.clone());
        }
        Ok(keyring)
    }

    /// The text of a document that carries its signatures in itself: `InRelease`.
    pub(crate) fn verify_inline(&self, document: &[u8]) -> Result<String, SignatureError> {
        let document = std::str::from_utf8(document).map_err(|_| SignatureError::NotText)?;
        let (message, _) = CleartextSignedMessage::from_string(document)
            .map_err(|error| SignatureError::Malformed(Box::new(error)))?;
        let text = message.signed_text();
        self.verify(message.signatures().iter(), text.as_bytes())?;
        Ok(text.replace("\r\n", "\n"))
    }

    /// The text of a document whose signatures come in a file of their own: `Release.gpg`,
    /// `repomd.xml.asc`.
    pub(crate) fn verify_detached(
        &self,
        document: &[u8],
        signatures: &[u8],
    ) -> Result<String, SignatureError> {
        let malformed = |error| SignatureError::Malformed(Box::new(error));
        let (signatures, _) = DetachedSignature::from_armor_many(signatures).map_err(malformed)?;
        let signatures: Vec<_> = signatures.collect::<Result<_, _>>().map_err(malformed)?;
        self.verify(signatures.iter().map(|detached| &detached.signature), document)?;
        String::from_utf8(document.to_vec()).map_err(|_| SignatureError::NotText)
    }

    /// Whether one of these packets, which are not armoured, is a good signature of the document.
    pub(crate) fn verify_packets(
        &self,
        document: &[u8],
        packets: &[impl AsRef<[u8]>],
    ) -> Result<(), SignatureError> {
        if packets.is_empty() {
            return Err(SignatureError::Unsigned);
        }
        let malformed = |error| SignatureError::Malformed(Box::new(error));
        let mut signatures = Vec::new();
        for packet in packets {
            let parsed = DetachedSignature::from_bytes_many(packet.as_ref()).map_err(malformed)?;
            for signature in parsed {
                signatures.push(signature.map_err(malformed)?);
            }
        }
        self.verify(signatures.iter().map(|detached| &detached.signature), document)
    }

    fn verify<'a>(
        &self,
        signatures: impl Iterator<Item = &'a Signature>,
        document: &[u8],
    ) -> Result<(), SignatureError> {
        let mut known = false;
        let mut strangers = Vec::new();
        for signature in signatures {
            let ours: Vec<_> = self.signers.iter().filter(|s| s.made(signature)).collect();
            if ours.iter().any(|signer| signer.accepts(signature, document)) {
                return Ok(());
            }
            known |= !ours.is_empty();
            strangers.extend(signature.issuer_key_id().iter().map(ToString::to_string));
        }
        if known {
            return Err(SignatureError::Bad);
        }
        let found = match &strangers[..] {
            [] => "nobody".to_owned(),
            strangers => strangers.join(", "),
        };
        Err(SignatureError::UnknownSigner { found, expected: self.fingerprints.join(", ") })
    }
}

impl Signer {
    /// Whether a signature claims to be by this key.
    fn made(&self, signature: &Signature) -> bool {
        let (id, fingerprint) = match &self.key {
            SigningKey::Primary(key) => (key.legacy_key_id(), key.fingerprint()),
            SigningKey::Subkey(key) => (key.legacy_key_id(), key.fingerprint()),
        };
        signature.issuer_key_id().contains(&&id)
            || signature.issuer_fingerprint().contains(&&fingerprint)
    }

    fn accepts(&self, signature: &Signature, document: &[u8]) -> bool {
        let Some(created) = signature.created().map(Timestamp::as_secs) else {
            return false;
        };
        let now = Timestamp::now().as_secs();
        let lifetime = signature.signature_expiration_time().map_or(0, |time| time.as_secs());
        let is_document =
            matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text));
        let is_strong = matches!(
            signature.hash_alg(),
            Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
        );
        is_document
            && is_strong
            && created <= now.saturating_add(CLOCK_TOLERANCE)
            && (lifetime == 0 || created.saturating_add(lifetime) >= now)
            && self.expires.is_none_or(|expires| created < expires)
            && match &self.key {
                SigningKey::Primary(key) => signature.verify(key, document).is_ok(),
                SigningKey::Subkey(key) => signature.verify(key, document).is_ok(),
            }
    }
}

/// The primary key and those subkeys that it vouches for.
fn load_key(key: &Key) -> Result<Vec<Signer>, KeyError> {
    let path = || key.path.clone();
    let text =
        fs::read_to_string(&key.path).map_err(|source| KeyError::Read { path: path(), source })?;
    let (public, _) = SignedPublicKey::from_string(&text)
        .map_err(|source| KeyError::Malformed { path: path(), source: Box::new(source) })?;
    let found = public.fingerprint().to_string().to_uppercase();
    if found != key.fingerprint {
        let expected = key.fingerprint.clone();
        return Err(KeyError::OtherKey { path: path(), found, expected });
    }
    let primary = &public.primary_key;
    if public.details.revocation_signatures.iter().any(|s| s.verify_key(primary).is_ok()) {
        return Err(KeyError::Revoked { path: path() });
    }
    // The newest statement of the key about itself counts.
    let own_statements = public.details.users.iter().flat_map(|user| {
        let by_itself =
            |s: &&Signature| s.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        user.signatures.iter().filter(by_itself)
    });
    let expires = own_statements.max_by_key(|s| s.created()).and_then(|s| expiry(primary, s));
    let mut signers = vec![Signer { key: SigningKey::Primary(primary.clone()), expires }];
    for subkey in &public.public_subkeys {
        let bindings = || {
            subkey
                .signatures
                .iter()
                .filter(|s| s.verify_subkey_binding(primary, &subkey.key).is_ok())
        };
        let revoked = bindings().any(|s| s.typ() == Some(SignatureType::SubkeyRevocation));
        let Some(binding) = bindings().max_by_key(|s| s.created()).filter(|_| !revoked) else {
            continue;
        };
        // A subkey that signs must vouch for the primary key in turn, lest it be claimed by
        // somebody else's.
        let vouches = binding
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
        if binding.key_flags().sign() && vouches {
            let own = expiry(&subkey.key, binding);
            let expires = own.into_iter().chain(expires).min();
            signers.push(Signer { key: SigningKey::Subkey(subkey.key.clone()), expires });
        }
    }
    Ok(signers)
}

/// When a key ends, by a statement about it.
fn expiry(key: &impl KeyDetails, statement: &Signature) -> Option<u32> {
    let lifetime = statement.key_expiration_time().map_or(0, |time| time.as_secs());
    (lifetime > 0).then(|| key.created_at().as_secs().saturating_add(lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::sample::repository::Author;

    const TEXT: &str = "Suite: test\n- dashed: yes\nDate: today\n";

    /// A keyring of one author, and its folder.
    fn keyring(author: &Author) -> (tempfile::TempDir, Result<Keyring, KeyError>) {
        keyring_of(&author.public_key(), &author.fingerprint())
    }

    fn keyring_of(key: &str, fingerprint: &str) -> (tempfile::TempDir, Result<Keyring, KeyError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.asc");
        fs::write(&path, key).unwrap();
        let key = Key { path, fingerprint: fingerprint.to_owned() };
        (folder, Keyring::load(&[key]))
    }

    #[test]
    fn a_document_signed_by_a_subkey_is_good() {
        let author = Author::new();
        let (_folder, keyring) = keyring(&author);
        let text = keyring.unwrap().verify_inline(author.sign(TEXT).as_bytes()).unwrap();
        assert_eq!(text, TEXT);
    }

    #[test]
    fn a_detached_signature_is_good() {
        let author = Author::new();
        let (_folder, keyring) = keyring(&author);
        let keyring = keyring.unwrap();
        let signature = author.sign_detached(TEXT, HashAlgorithm::Sha512);
        let text = keyring.verify_detached(TEXT.as_bytes(), signature.as_bytes()).unwrap();
        assert_eq!(text, TEXT);
        let error = keyring.verify_detached(b"Suite: other", signature.as_bytes()).unwrap_err();
        assert!(matches!(error, SignatureError::Bad), "{error:?}");
    }

    #[test]
    fn a_changed_document_is_bad() {
        let author = Author::new();
        let (_folder, keyring) = keyring(&author);
        let keyring = keyring.unwrap();
        let document = author.sign(TEXT).replace("today", "to-day");
        let error = keyring.verify_inline(document.as_bytes()).unwrap_err();
        assert!(matches!(error, SignatureError::Bad), "{error:?}");
    }

    #[test]
    fn text_around_a_signed_document_is_not_signed() {
        let author = Author::new();
        let (_folder, keyring) = keyring(&author);
        let keyring = keyring.unwrap();
        let document = format!("Suite: forged\n\n{}", author.sign(TEXT));
        assert!(keyring.verify_inline(document.as_bytes()).is_err());
        let document = format!("{}\nSuite: forged\n", author.sign(TEXT));
        if let Ok(text) = keyring.verify_inline(document.as_bytes()) {
            assert!(!text.contains("forged"), "{text}");
        }
    }

    #[test]
    fn another_key_is_named() {
        let (author, stranger) = (Author::new(), Author::new());
        let (_folder, keyring) = keyring(&author);
        let error = keyring.unwrap().verify_inline(stranger.sign(TEXT).as_bytes()).unwrap_err();
        assert!(matches!(error, SignatureError::UnknownSigner { .. }), "{error:?}");
        assert!(error.to_string().contains(&author.fingerprint()), "{error}");
    }

    #[test]
    fn a_signature_counts_only_in_its_time() {
        const DAY: u32 = 24 * 60 * 60;
        let author = Author::new();
        let (_folder, keyring) = keyring(&author);
        let keyring = keyring.unwrap();
        let now = Timestamp::now().as_secs();
        // No lifetime means for ever.
        for (created, lifetime, good) in [
            (now - DAY, 2 * DAY, true),
            (now - DAY, 0, true),
            (now - 2 * DAY, DAY, false),
            (now + 2 * DAY, 0, false),
        ] {
            let lifetime = pgp::types::Duration::from_secs(lifetime);
            let document = author.sign_once(TEXT, Timestamp::from_secs(created), lifetime);
            assert_eq!(keyring.verify_inline(document.as_bytes()).is_ok(), good, "{created}");
        }
    }

    #[test]
    fn a_key_counts_only_until_it_ends() {
        let author = Author::new();
        let (_folder, keyring) = keyring(&author);
        let mut keyring = keyring.unwrap();
        let now = Timestamp::now().as_secs();
        let document = author.sign(TEXT);
        for (expires, good) in [(Some(now - 60), false), (Some(now + 60), true), (None, true)] {
            keyring.signers.iter_mut().for_each(|signer| signer.expires = expires);
            assert_eq!(keyring.verify_inline(document.as_bytes()).is_ok(), good, "{expires:?}");
        }
    }

    #[test]
    fn an_unsigned_document_is_refused() {
        let (_folder, keyring) = keyring(&Author::new());
        let keyring = keyring.unwrap();
        for document in [&b"Suite: test\n"[..], b"", b"\xff\xfe"] {
            assert!(keyring.verify_inline(document).is_err());
        }
        assert!(keyring.verify_detached(b"Suite: test\n", b"no armour").is_err());
    }

    #[test]
    fn a_key_must_be_the_expected_one() {
        let (author, other) = (Author::new(), Author::new());
        let (_folder, keyring) = keyring_of(&author.public_key(), &other.fingerprint());
        let error = keyring.unwrap_err();
        assert!(matches!(error, KeyError::OtherKey { .. }), "{error:?}");
        let (_folder, keyring) = keyring_of("no key", &other.fingerprint());
        assert!(matches!(keyring.unwrap_err(), KeyError::Malformed { .. }));
        let key = Key { path: "/absent.asc".into(), fingerprint: other.fingerprint() };
        let error = Keyring::load(&[key]).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the key /absent.asc");
    }
}
