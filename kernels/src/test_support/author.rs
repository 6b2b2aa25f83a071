//! Signatures by a repository's author.
//!
//! This file does not depend on the rest of the crate, because its integration tests include it as
//! well.

use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder,
        SignedSecretKey, SubkeyParamsBuilder,
    },
    crypto::hash::HashAlgorithm,
    packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData},
    ser::Serialize as _,
    types::{Duration, KeyDetails as _, Password, Timestamp},
};

/// A signer: a primary key, and a subkey that signs in its place, as with Debian's keys.
pub(crate) struct Author(SignedSecretKey);

impl Author {
    pub(crate) fn new() -> Self {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .build()
            .unwrap();
        let parameters = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Archive <archive@example.org>".to_owned())
            .subkey(subkey)
            .build()
            .unwrap();
        Author(parameters.generate(rand::thread_rng()).unwrap())
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string().to_uppercase()
    }

    pub(crate) fn public_key(&self) -> String {
        self.0.to_public_key().to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// The text with an inline signature by the subkey.
    pub(crate) fn sign(&self, text: &str) -> String {
        let key = &self.0.secret_subkeys[0].key;
        CleartextSignedMessage::sign(rand::thread_rng(), text, key, &Password::empty())
            .unwrap()
            .to_armored_string(ArmorOptions::default())
            .unwrap()
    }

    /// The text with a signature of this age and lifetime.
    pub(crate) fn sign_once(&self, text: &str, created: Timestamp, lifetime: Duration) -> String {
        let key = &self.0.primary_key;
        let mut config =
            SignatureConfig::from_key(rand::thread_rng(), key, SignatureType::Text).unwrap();
        let subpackets = [
            SubpacketData::SignatureCreationTime(created),
            SubpacketData::SignatureExpirationTime(lifetime),
            SubpacketData::IssuerFingerprint(key.fingerprint()),
        ];
        config.hashed_subpackets =
            subpackets.map(|data| Subpacket::regular(data).unwrap()).to_vec();
        CleartextSignedMessage::new(text, config, key, &Password::empty())
            .unwrap()
            .to_armored_string(ArmorOptions::default())
            .unwrap()
    }

    /// The text with a signature of this date.
    pub(crate) fn sign_at(&self, text: &str, created: jiff::Timestamp) -> String {
        let created = Timestamp::from_secs(u32::try_from(created.as_second()).unwrap());
        self.sign_once(text, created, Duration::from_secs(0))
    }

    /// The key without its self-signatures.
    pub(crate) fn bare_public_key(&self) -> String {
        let mut key = self.0.to_public_key();
        key.details.users.iter_mut().for_each(|user| user.signatures.clear());
        key.to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// A signature by the primary key as in packages, without armour.
    pub(crate) fn sign_packet(&self, bytes: &[u8]) -> Vec<u8> {
        let (key, password) = (&self.0.primary_key, Password::empty());
        let hash = HashAlgorithm::Sha256;
        DetachedSignature::sign_binary_data(rand::thread_rng(), key, &password, hash, bytes)
            .unwrap()
            .to_bytes()
            .unwrap()
    }

    /// A detached signature by the primary key.
    pub(crate) fn sign_detached(&self, text: &str, hash: HashAlgorithm) -> String {
        let key = &self.0.primary_key;
        let password = Password::empty();
        let text = text.as_bytes();
        DetachedSignature::sign_binary_data(rand::thread_rng(), key, &password, hash, text)
            .unwrap()
            .to_armored_string(ArmorOptions::default())
            .unwrap()
    }
}
