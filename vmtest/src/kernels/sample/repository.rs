//! A signed repository of kernel packages.

use std::fmt::Write as _;

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

use super::server::Server;
use crate::kernels::{compression::Compression, digest::Digest, sample::archive::compress};

/// Somebody who signs: a primary key, and a subkey that signs for it as Debian's keys do.
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

    /// The text with a signature of the subkey.
    pub(crate) fn sign(&self, text: &str) -> String {
        let key = &self.0.secret_subkeys[0].key;
        CleartextSignedMessage::sign(rand::thread_rng(), text, key, &Password::empty())
            .unwrap()
            .to_armored_string(ArmorOptions::default())
            .unwrap()
    }

    /// The text with a signature of this age that is good for so long.
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

    /// A signature of the primary key as packages have it, without armour.
    pub(crate) fn sign_packet(&self, bytes: &[u8]) -> Vec<u8> {
        let (key, password) = (&self.0.primary_key, Password::empty());
        let hash = HashAlgorithm::Sha256;
        DetachedSignature::sign_binary_data(rand::thread_rng(), key, &password, hash, bytes)
            .unwrap()
            .to_bytes()
            .unwrap()
    }

    /// A signature of the primary key, for a file of its own.
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

/// A package to be published.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) depends: &'static str,
    pub(crate) content: Vec<u8>,
}

impl Package {
    pub(crate) fn path(&self) -> String {
        format!("pool/{}_{}_amd64.deb", self.name, self.version)
    }
}

/// The index of these packages.
pub(crate) fn index(packages: &[Package]) -> String {
    let mut text = String::new();
    for package in packages {
        write!(
            text,
            "Package: {}\nVersion: {}\nDepends: {}\nFilename: {}\nSize: {}\nSHA256: {}\n\n",
            package.name,
            package.version,
            package.depends,
            package.path(),
            package.content.len(),
            Digest::of(&package.content)
        )
        .unwrap();
    }
    text
}

/// A release document of today that describes this index.
pub(crate) fn release(suite: &str, index: &[u8]) -> String {
    let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S UTC");
    format!(
        "Suite: {suite}\nDate: {now}\nSHA256:\n {} {} main/binary-amd64/Packages.xz\n",
        Digest::of(index),
        index.len()
    )
}

/// Puts a suite and its packages on a server.
pub(crate) fn publish(server: &Server, author: &Author, suite: &str, packages: &[Package]) {
    for package in packages {
        server.put(&package.path(), package.content.clone());
    }
    let index = compress(Compression::Xz, index(packages).as_bytes());
    let release = release(suite, &index);
    server.put(&format!("dists/{suite}/InRelease"), author.sign(&release));
    server.put(&format!("dists/{suite}/main/binary-amd64/Packages.xz"), index);
}
