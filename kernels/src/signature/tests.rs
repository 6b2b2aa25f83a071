//! Which signatures are accepted, and when.

use rstest::rstest;

use super::*;
use crate::test_support::{author::Author, rpm::Signer};

const TEXT: &str = "Suite: test\n- dashed: yes\nDate: today\n";

fn now() -> AsOf {
    AsOf::Now(jiff::Timestamp::now())
}

/// A keyring with one author's key, and its directory.
fn keyring(author: &Author) -> (tempfile::TempDir, Result<Keyring, KeyError>) {
    keyring_of(&author.public_key(), &author.fingerprint())
}

fn keyring_of(key: &str, fingerprint: &str) -> (tempfile::TempDir, Result<Keyring, KeyError>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.asc");
    fs::write(&path, key).unwrap();
    let key = Key { path, built_in: None, fingerprint: fingerprint.to_owned() };
    (dir, Keyring::load(&[key]))
}

#[test]
fn a_document_signed_by_a_subkey_is_good() {
    let author = Author::new();
    let (_dir, keyring) = keyring(&author);
    let signed = keyring.unwrap().verify_inline(author.sign(TEXT).as_bytes(), now());
    let Signed { text, by } = signed.unwrap();
    assert_eq!(text, TEXT);
    assert_eq!(by, [SignedBy { name: "key".to_owned(), fingerprint: author.fingerprint() }]);
}

#[test]
fn a_detached_signature_is_good() {
    let author = Author::new();
    let (_dir, keyring) = keyring(&author);
    let keyring = keyring.unwrap();
    let signature = author.sign_detached(TEXT, HashAlgorithm::Sha512);
    let signed = keyring.verify_detached(TEXT.as_bytes(), signature.as_bytes(), now()).unwrap();
    assert_eq!(signed.text, TEXT);
    let other = b"Suite: other";
    let error = keyring.verify_detached(other, signature.as_bytes(), now()).unwrap_err();
    assert!(matches!(error, SignatureError::Bad), "{error:?}");
}

#[test]
fn a_changed_document_is_bad() {
    let author = Author::new();
    let (_dir, keyring) = keyring(&author);
    let keyring = keyring.unwrap();
    let document = author.sign(TEXT).replace("today", "to-day");
    let error = keyring.verify_inline(document.as_bytes(), now()).unwrap_err();
    assert!(matches!(error, SignatureError::Bad), "{error:?}");
}

#[test]
fn text_around_a_signed_document_is_not_signed() {
    let author = Author::new();
    let (_dir, keyring) = keyring(&author);
    let keyring = keyring.unwrap();
    let document = format!("Suite: forged\n\n{}", author.sign(TEXT));
    assert!(keyring.verify_inline(document.as_bytes(), now()).is_err());
    let document = format!("{}\nSuite: forged\n", author.sign(TEXT));
    if let Ok(Signed { text, .. }) = keyring.verify_inline(document.as_bytes(), now()) {
        assert!(!text.contains("forged"), "{text}");
    }
}

#[test]
fn another_key_is_named() {
    let (author, unrelated_process) = (Author::new(), Author::new());
    let (_dir, keyring) = keyring(&author);
    let error =
        keyring.unwrap().verify_inline(unrelated_process.sign(TEXT).as_bytes(), now()).unwrap_err();
    assert!(matches!(error, SignatureError::UnknownSigner { .. }), "{error:?}");
    assert!(error.to_string().contains(&author.fingerprint()), "{error}");
}

#[test]
fn a_signature_counts_only_in_its_time() {
    const DAY: u32 = 24 * 60 * 60;
    let author = Author::new();
    let (_dir, keyring) = keyring(&author);
    let keyring = keyring.unwrap();
    let today = Timestamp::now().as_secs();
    // No lifetime means no expiry.
    for (created, lifetime, good) in [
        (today - DAY, 2 * DAY, true),
        (today - DAY, 0, true),
        (today - 2 * DAY, DAY, false),
        (today + 2 * DAY, 0, false),
    ] {
        let lifetime = pgp::types::Duration::from_secs(lifetime);
        let document = author.sign_once(TEXT, Timestamp::from_secs(created), lifetime);
        assert_eq!(keyring.verify_inline(document.as_bytes(), now()).is_ok(), good, "{created}");
    }
}

#[rstest]
// Signed years ago, by a key that was valid then and is not any more.
#[case(2000, Some(1000), AsOf::Kept(days_ago(1999)), true)]
#[case(2000, Some(1000), AsOf::Kept(days_ago(0)), true)]
#[case(2000, Some(1000), AsOf::Now(days_ago(0)), false)]
#[case(2000, Some(1000), AsOf::Now(days_ago(1001)), true)]
// Signed by a key that had already expired.
#[case(2000, Some(2001), AsOf::Kept(days_ago(1999)), false)]
#[case(1, Some(2), AsOf::Now(days_ago(0)), false)]
// Signed later than the requested date.
#[case(2000, None, AsOf::Kept(days_ago(2003)), false)]
#[case(2000, None, AsOf::Kept(days_ago(2000)), true)]
#[case(1, None, AsOf::Now(days_ago(0)), true)]
fn a_key_counts_only_until_it_ends(
    #[case] signed: i64,
    #[case] key_ended: Option<i64>,
    #[case] as_of: AsOf,
    #[case] good: bool,
) {
    let author = Author::new();
    let (_dir, keyring) = keyring(&author);
    let mut keyring = keyring.unwrap();
    let seconds = |days| AsOf::Now(days_ago(days)).seconds();
    keyring.signers.iter_mut().for_each(|signer| signer.expires = key_ended.map(seconds));
    let created = Timestamp::from_secs(seconds(signed));
    let document = author.sign_once(TEXT, created, pgp::types::Duration::from_secs(0));
    let outcome = keyring.verify_inline(document.as_bytes(), as_of);
    assert_eq!(outcome.is_ok(), good, "{outcome:?}");
}

fn days_ago(days: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days)
}

#[test]
fn an_unsigned_document_is_refused() {
    let (_dir, keyring) = keyring(&Author::new());
    let keyring = keyring.unwrap();
    for document in [&b"Suite: test\n"[..], b"", b"\xff\xfe"] {
        assert!(keyring.verify_inline(document, now()).is_err());
    }
    assert!(keyring.verify_detached(b"Suite: test\n", b"no armour", now()).is_err());
}

#[test]
fn a_key_that_says_nothing_of_itself_is_refused() {
    let author = Author::new();
    let (_dir, keyring) = keyring_of(&author.bare_public_key(), &author.fingerprint());
    let error = keyring.unwrap_err();
    assert!(matches!(error, KeyError::NoSelfSignature { .. }), "{error:?}");
}

#[rstest]
#[case("rsa2048", "SHA1")]
#[case("rsa2048", "SHA512")]
#[case("dsa1024", "SHA1")]
#[case("dsa2048", "SHA256")]
fn the_expiry_of_an_old_key_is_seen_however_it_is_signed(
    #[case] algorithm: &str,
    #[case] digest: &str,
) {
    let (begin, end) = ("2010-01-01T00:00:00Z", "2012-01-01T00:00:00Z");
    let [begin, end]: [jiff::Timestamp; 2] = [begin, end].map(|time| time.parse().unwrap());
    let signer = Signer::of_old(algorithm, digest, begin, end);
    let (_dir, keyring) = keyring_of(&signer.public_key, &signer.fingerprint);
    let keyring = keyring.unwrap();
    assert_eq!(keyring.signers[0].expires, Some(AsOf::Now(end).seconds()));
    let day = jiff::SignedDuration::from_hours(24);
    let document = signer.sign_inline(TEXT, end - day);
    for (as_of, good) in [
        (AsOf::Kept(end), true),
        (AsOf::Kept(jiff::Timestamp::now()), true),
        (AsOf::Now(end - day), true),
        (AsOf::Now(end + day), false),
    ] {
        let outcome = keyring.verify_inline(document.as_bytes(), as_of);
        assert_eq!(outcome.is_ok(), good, "{as_of:?}: {outcome:?}");
    }
}

#[test]
fn a_document_signed_with_sha_1_is_refused() {
    let begin = "2010-01-01T00:00:00Z".parse().unwrap();
    let end = "2012-01-01T00:00:00Z".parse().unwrap();
    let signer = Signer::of_old("rsa2048", "SHA1", begin, end);
    let (_dir, keyring) = keyring_of(&signer.public_key, &signer.fingerprint);
    let document = signer.sign_inline_with(TEXT, begin, "SHA1");
    let error = keyring.unwrap().verify_inline(document.as_bytes(), AsOf::Kept(end));
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "the signature uses SHA1, which is no longer safe");
}

#[test]
fn a_key_must_be_the_expected_one() {
    let (author, other) = (Author::new(), Author::new());
    let (_dir, keyring) = keyring_of(&author.public_key(), &other.fingerprint());
    let error = keyring.unwrap_err();
    assert!(matches!(error, KeyError::OtherKey { .. }), "{error:?}");
    let (_dir, keyring) = keyring_of("no key", &other.fingerprint());
    assert!(matches!(keyring.unwrap_err(), KeyError::Malformed { .. }));
    let key = Key { path: "/absent.asc".into(), built_in: None, fingerprint: other.fingerprint() };
    let error = Keyring::load(&[key]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the key /absent.asc");
}
