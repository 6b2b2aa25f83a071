//! Checks that a document was signed by a key that the project trusts: a repository's `Release` or
//! `repomd.xml`, or the header of an RPM package.
//!
//! A document can have signatures of several keys; one valid signature by one expected key is
//! enough. The current state of a repository must be signed by a key that is valid now. A past
//! state, and packages, which are signed once and kept for years, must be signed by a key that was
//! valid at the time of the signature. [`AsOf`] distinguishes the two.

use std::{fs, io, path::PathBuf};

use pgp::{
    composed::{CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey},
    crypto::hash::HashAlgorithm,
    packet::{PublicKey, PublicSubkey, Signature, SignatureType},
    types::{KeyDetails, Tag, Timestamp},
};

use serde::Serialize;

use crate::catalog::matrix::Key;

/// How far in the future a signature may be dated, because clocks differ.
const CLOCK_TOLERANCE: u32 = 24 * 60 * 60;

/// The time at which a signature must be valid.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AsOf {
    /// Now: the key must not have expired.
    Now(jiff::Timestamp),
    /// This date, or now for a document that is signed once and kept: the key may have expired
    /// since it signed.
    Kept(jiff::Timestamp),
}

impl AsOf {
    /// Seconds since 1970, as in OpenPGP.
    fn seconds(self) -> u32 {
        let (AsOf::Now(time) | AsOf::Kept(time)) = self;
        u32::try_from(time.as_second()).unwrap_or_default()
    }
}

/// A repository key that signed a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedBy {
    /// The name of the key's file, without its extension.
    pub name: String,
    /// Fingerprint of the primary key.
    pub fingerprint: String,
}

/// A document with a valid signature.
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
    Read { path: PathBuf, source: io::Error },
    /// The file is not an armoured public key.
    #[error("{path} is not an armoured OpenPGP public key")]
    Malformed { path: PathBuf, source: Box<pgp::errors::Error> },
    /// The key has a different fingerprint than the matrix says.
    #[error("the key in {path} has the fingerprint {found}, not {expected}")]
    OtherKey {
        path: PathBuf,
        found: String,
        /// The fingerprint in the matrix.
        expected: String,
    },
    /// The key has no valid self-signature, so its expiry is unknown.
    #[error("the key in {path} has no valid self-signature: its owner and expiry are unknown")]
    NoSelfSignature { path: PathBuf },
    /// The owner revoked the key.
    #[error("the key in {path} is revoked")]
    Revoked { path: PathBuf },
}

/// A document without a valid signature.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The document is not in a signed format.
    #[error("not a signed document")]
    Malformed(#[source] Box<pgp::errors::Error>),
    /// There is no signature.
    #[error("it is not signed")]
    Unsigned,
    /// The document is not text.
    #[error("the signed document is not UTF-8")]
    NotText,
    /// No signature is by an expected key.
    #[error("signed by {found}, none of which is a key of this repository ({expected})")]
    UnknownSigner {
        /// The keys that signed.
        found: String,
        /// The expected keys.
        expected: String,
    },
    /// The signature uses a digest that is open to forgery.
    #[error("the signature uses {digest}, which is no longer safe")]
    WeakDigest {
        /// `SHA1`.
        digest: String,
    },
    /// The key had expired.
    #[error("the key {name} that signed it expired on {on}")]
    KeyExpired {
        /// The name of the key's file.
        name: String,
        /// The expiry date.
        on: jiff::Timestamp,
    },
    /// The signature itself has expired.
    #[error("the signature expired on {0}")]
    Expired(jiff::Timestamp),
    /// The signature is dated after the time at which it must be valid.
    #[error("the signature is dated {0}, later than the date for which it must be valid")]
    FromTheFuture(jiff::Timestamp),
    /// The signature is by an expected key, but does not match the document.
    #[error("the signature is bad: the document was changed, or the key may not sign it")]
    Bad,
}

/// The keys of a repository.
#[derive(Debug)]
pub(crate) struct Keyring {
    signers: Vec<Signer>,
    keys: Vec<SignedBy>,
}

/// A key or subkey that may sign, and when it expires in seconds since 1970.
#[derive(Debug)]
struct Signer {
    key: SigningKey,
    expires: Option<u32>,
    /// The keyring's key that it belongs to.
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

    /// The text of a document with inline signatures: `InRelease`.
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

    /// The text of a document with signatures in a separate file: `Release.gpg`, `repomd.xml.asc`.
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

    /// Whether one of these packets, which are not armoured, is a valid signature of the document.
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
            [] => "unknown keys".to_owned(),
            strangers => strangers.join(", "),
        };
        let expected: Vec<_> = self.keys.iter().map(|key| key.fingerprint.as_str()).collect();
        Err(SignatureError::UnknownSigner { found, expected: expected.join(", ") })
    }
}

impl Signer {
    /// Whether a signature claims to be made by this key.
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
        // A key must be valid when it signs. For a document about the current state, it must also
        // be valid now.
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

/// The primary key and its valid signing subkeys.
fn load_key(key: &Key, of: &SignedBy) -> Result<Vec<Signer>, KeyError> {
    let path = || key.path.clone();
    let text = match key.built_in {
        Some(text) => text.to_owned(),
        None => fs::read_to_string(&key.path)
            .map_err(|source| KeyError::Read { path: path(), source })?,
    };
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
    // The newest self-signature counts.
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
        // A signing subkey must in turn sign the primary key, or another key's owner could claim
        // the subkey.
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

/// The expiry of a key, according to a self-signature.
fn expiry(key: &impl KeyDetails, statement: &Signature) -> Option<u32> {
    let lifetime = statement.key_expiration_time().map_or(0, |time| time.as_secs());
    (lifetime > 0).then(|| key.created_at().as_secs().saturating_add(lifetime))
}

#[cfg(test)]
mod tests;
