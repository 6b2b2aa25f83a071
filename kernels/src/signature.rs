//! Whether a document was signed by a key that the project trusts: a repository's `Release` or
//! `repomd.xml`, the header of an RPM package.
//!
//! A document carries the signatures of several keys; one good signature of one expected key is
//! enough. What a repository says today must be signed by a key that is valid today. What it said on
//! a date, and packages, which are signed once and kept for years, must be signed by a key that was
//! valid when it signed: [`AsOf`] tells the two apart.

use std::{fs, io, path::PathBuf};

use pgp::{
    composed::{CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey},
    crypto::hash::HashAlgorithm,
    packet::{PublicKey, PublicSubkey, Signature, SignatureType},
    types::{KeyDetails, Tag, Timestamp},
};

use serde::Serialize;

use crate::catalog::matrix::Key;

/// How far a signature may be dated into the future: clocks differ.
const CLOCK_TOLERANCE: u32 = 24 * 60 * 60;

/// The time at which a signature has to be good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AsOf {
    /// Now: the key may not have expired.
    Now(jiff::Timestamp),
    /// This date, or now for what is signed once and kept: the key may have expired since it
    /// signed.
    Kept(jiff::Timestamp),
}

impl AsOf {
    /// Seconds since 1970, as OpenPGP counts them.
    fn seconds(self) -> u32 {
        let (AsOf::Now(time) | AsOf::Kept(time)) = self;
        u32::try_from(time.as_second()).unwrap_or_default()
    }
}

/// A key of a repository that signed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedBy {
    /// The name of the key's file, without its extension.
    pub name: String,
    /// Of the primary key.
    pub fingerprint: String,
}

/// A document with a good signature.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) text: String,
    pub(crate) by: Vec<SignedBy>,
}

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
    /// Nothing that the key says of itself is signed by it, so that nobody can tell when it expires.
    #[error("the key in {path} has no good signature of its own: its owner and expiry are unknown")]
    NoSelfSignature {
        /// The file.
        path: PathBuf,
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
    /// A digest that signatures can be forged with.
    #[error("the signature is made with {digest}, which is no longer safe")]
    WeakDigest {
        /// `SHA1`.
        digest: String,
    },
    /// The key was not valid any more.
    #[error("the key {name} that signed it expired on {on}")]
    KeyExpired {
        /// The name of its file.
        name: String,
        /// When.
        on: jiff::Timestamp,
    },
    /// The signature was good for some time only.
    #[error("the signature expired on {0}")]
    Expired(jiff::Timestamp),
    /// It is not signed yet.
    #[error("the signature is of {0}, which is later than it can be")]
    FromTheFuture(jiff::Timestamp),
    /// The signature of an expected key does not fit the document.
    #[error("the signature is bad: the document was changed, or the key may not sign it")]
    Bad,
}

/// The keys of a repository.
#[derive(Debug)]
pub(crate) struct Keyring {
    signers: Vec<Signer>,
    keys: Vec<SignedBy>,
}

/// A key or subkey that may sign, and until when: seconds since 1970.
#[derive(Debug)]
struct Signer {
    key: SigningKey,
    expires: Option<u32>,
    /// Which of the keyring's keys it belongs to.
    of: SignedBy,
}

#[derive(Debug)]
enum SigningKey {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

impl Keyring {
    pub(crate) fn load(keys: &[Key]) -> Result<Self, KeyError> {
        let mut keyring = Keyring { signers: Vec::new(), keys: Vec::new() };
        for key in keys {
            let name = key.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let of = SignedBy { name, fingerprint: key.fingerprint.clone() };
            keyring.signers.extend(load_key(key, &of)?);
            keyring.keys.push(of);
        }
        Ok(keyring)
    }

    /// The text of a document that carries its signatures in itself: `InRelease`.
    pub(crate) fn verify_inline(
        &self,
        document: &[u8],
        as_of: AsOf,
    ) -> Result<Signed, SignatureError> {
        let document = std::str::from_utf8(document).map_err(|_| SignatureError::NotText)?;
        let (message, _) = CleartextSignedMessage::from_string(document)
            .map_err(|error| SignatureError::Malformed(Box::new(error)))?;
        let text = message.signed_text();
        let by = self.verify(message.signatures().iter(), text.as_bytes(), as_of)?;
        Ok(Signed { text: text.replace("\r\n", "\n"), by })
    }

    /// The text of a document whose signatures come in a file of their own: `Release.gpg`,
    /// `repomd.xml.asc`.
    pub(crate) fn verify_detached(
        &self,
        document: &[u8],
        signatures: &[u8],
        as_of: AsOf,
    ) -> Result<Signed, SignatureError> {
        let malformed = |error| SignatureError::Malformed(Box::new(error));
        let (signatures, _) = DetachedSignature::from_armor_many(signatures).map_err(malformed)?;
        let signatures: Vec<_> = signatures.collect::<Result<_, _>>().map_err(malformed)?;
        let signatures = signatures.iter().map(|detached| &detached.signature);
        let by = self.verify(signatures, document, as_of)?;
        let text = String::from_utf8(document.to_vec()).map_err(|_| SignatureError::NotText)?;
        Ok(Signed { text, by })
    }

    /// Whether one of these packets, which are not armoured, is a good signature of the document.
    pub(crate) fn verify_packets(
        &self,
        document: &[u8],
        packets: &[impl AsRef<[u8]>],
    ) -> Result<Vec<SignedBy>, SignatureError> {
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
        let signatures = signatures.iter().map(|detached| &detached.signature);
        self.verify(signatures, document, AsOf::Kept(jiff::Timestamp::now()))
    }

    fn verify<'a>(
        &self,
        signatures: impl Iterator<Item = &'a Signature>,
        document: &[u8],
        as_of: AsOf,
    ) -> Result<Vec<SignedBy>, SignatureError> {
        let mut good = Vec::new();
        let mut known = None;
        let mut strangers = Vec::new();
        for signature in signatures {
            for signer in self.signers.iter().filter(|signer| signer.made(signature)) {
                match signer.accepts(signature, document, as_of) {
                    Ok(()) if good.contains(&signer.of) => {}
                    Ok(()) => good.push(signer.of.clone()),
                    Err(error) => known = Some(error),
                }
            }
            strangers.extend(signature.issuer_key_id().iter().map(ToString::to_string));
        }
        if !good.is_empty() {
            return Ok(good);
        }
        if let Some(error) = known {
            return Err(error);
        }
        let found = match &strangers[..] {
            [] => "nobody".to_owned(),
            strangers => strangers.join(", "),
        };
        let expected: Vec<_> = self.keys.iter().map(|key| key.fingerprint.as_str()).collect();
        Err(SignatureError::UnknownSigner { found, expected: expected.join(", ") })
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

    fn accepts(
        &self,
        signature: &Signature,
        document: &[u8],
        as_of: AsOf,
    ) -> Result<(), SignatureError> {
        let Some(created) = signature.created().map(Timestamp::as_secs) else {
            return Err(SignatureError::Bad);
        };
        let is_document =
            matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text));
        let is_good = match &self.key {
            SigningKey::Primary(key) => signature.verify(key, document).is_ok(),
            SigningKey::Subkey(key) => signature.verify(key, document).is_ok(),
        };
        if !is_document || !is_good {
            return Err(SignatureError::Bad);
        }
        let digest = signature.hash_alg();
        if !matches!(
            digest,
            Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
        ) {
            let digest = digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
            return Err(SignatureError::WeakDigest { digest });
        }
        let lifetime = signature.signature_expiration_time().map_or(0, |time| time.as_secs());
        let end = Some(created.saturating_add(lifetime)).filter(|_| lifetime > 0);
        let time = as_of.seconds();
        // A key has to be valid when it signs; and now, for what is said of now.
        let key_time = match as_of {
            AsOf::Now(_) => created.max(time),
            AsOf::Kept(_) => created,
        };
        if created > time.saturating_add(CLOCK_TOLERANCE) {
            return Err(SignatureError::FromTheFuture(date(created)));
        }
        if let Some(end) = end.filter(|end| *end < time) {
            return Err(SignatureError::Expired(date(end)));
        }
        if let Some(expires) = self.expires.filter(|expires| *expires <= key_time) {
            let SignedBy { name, .. } = &self.of;
            return Err(SignatureError::KeyExpired { name: name.clone(), on: date(expires) });
        }
        Ok(())
    }
}

fn date(seconds: u32) -> jiff::Timestamp {
    jiff::Timestamp::from_second(i64::from(seconds)).unwrap_or_default()
}

/// The primary key and those subkeys that it vouches for.
fn load_key(key: &Key, of: &SignedBy) -> Result<Vec<Signer>, KeyError> {
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
    let newest = own_statements.max_by_key(|s| s.created());
    let newest = newest.ok_or_else(|| KeyError::NoSelfSignature { path: path() })?;
    let expires = expiry(primary, newest);
    let signer = |key, expires| Signer { key, expires, of: of.clone() };
    let mut signers = vec![signer(SigningKey::Primary(primary.clone()), expires)];
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
        // A subkey that signs must sign the primary key in turn, lest it be claimed by
        // somebody else's.
        let vouches = binding
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
        if binding.key_flags().sign() && vouches {
            let own = expiry(&subkey.key, binding);
            let expires = own.into_iter().chain(expires).min();
            signers.push(signer(SigningKey::Subkey(subkey.key.clone()), expires));
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
mod tests;
