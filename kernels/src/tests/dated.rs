//! A kernel of a past date, from an archive with Debian's layout.

use jiff::{SignedDuration, Timestamp};
use kernlab_core::outcome::Reason;

use super::*;
use crate::test_support::suite::Suite;

const DATE: &str = "20181101T000000Z";
const ROOT: &str = "archive/debian/20181101T000000Z";
const RELEASE_4_18: &str = "4.18.0-2-cloud-amd64";
const PACKAGE_4_18: &str = "linux-image-4.18.0-2-cloud-amd64";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The suite of that date. It expired within a week.
fn suite() -> Suite<'static> {
    Suite {
        root: ROOT,
        name: "sid",
        codename: "sid",
        date: time("2018-10-31T20:45:12Z"),
        valid_for: Some(SignedDuration::from_hours(7 * 24)),
        compressions: &[Compression::Xz, Compression::Gzip],
        only_by_hash: false,
    }
}

fn packages() -> [Package; 3] {
    let image =
        bzimage(RELEASE_4_18, Payload::Compressed(Compression::Xz), &vmlinux(RELEASE_4_18, true));
    let members = [
        Member::File("./boot/vmlinuz-4.18.0-2-cloud-amd64", &image),
        Member::File("./boot/config-4.18.0-2-cloud-amd64", b"CONFIG_BPF=y\n"),
    ];
    let (version, depends) = ("4.18.10-2", "kmod, linux-base (>= 4.3~)");
    let content = deb(&tar(&members));
    [
        Package { name: PACKAGE_4_18, version, depends, content },
        Package {
            name: "linux-image-4.18.0-2-cloud-amd64-dbg",
            version,
            depends,
            content: vec![1],
        },
        Package { name: "linux-image-4.18.0-2-amd64", version, depends, content: vec![2] },
    ]
}

/// A checkout with an entry that pins the date or does not.
fn lab(pin: Option<&str>) -> Lab {
    let lab = Lab::new();
    let pin = pin.map(|date| format!("\nsnapshot = \"{date}\"")).unwrap_or_default();
    lab.write(
        MATRIX_FILE,
        &format!(
            r#"schema = 1
[repository.sample]
distribution = "sample"
archive = "debian"
snapshot = "{}/archive/debian/{{timestamp}}"
keys = [{{ file = "key.asc", fingerprint = "{}" }}]
[[kernel]]
id = "newest"
arch = "x86_64"
tier = "extended"
btf = ["absent"]
why = "a test"
[kernel.source]
kind = "deb"
repository = "sample"
suite = "sid"
component = "main"
package = "linux-image-4.18.0-[0-9]-{{cloud-,}}amd64"{pin}
"#,
            lab.server.url(),
            lab.author.fingerprint()
        ),
    );
    lab.mirrors(&[&format!("{}/debian", lab.server.url())]);
    lab
}

#[test]
fn a_pinned_date_is_believed_although_its_document_expired() {
    let lab = lab(Some(DATE));
    suite().publish(&lab.server, &lab.author, &packages());
    assert_eq!(lab.update(), [""; 0]);
    let lock = fs::read_to_string(lab.path(LOCK_FILE)).unwrap();
    let source = "deb sample sid main linux-image-4.18.0-[0-9]-{cloud-,}amd64 at 20181101T000000Z";
    assert!(lock.contains(&format!("source = \"{source}\"")), "{lock}");
    assert!(lock.contains("snapshot = \"20181101T000000Z\"\npinned = true"), "{lock}");
    let unpacked = lab.prepare().unwrap();
    assert_eq!(unpacked.release, RELEASE_4_18);
    assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), vmlinux(RELEASE_4_18, true));
    // Both metadata and packages came only from the archive.
    let requests = lab.server.requests();
    assert!(requests.iter().all(|path| path.starts_with(ROOT)), "{requests:?}");
    // Nothing changed: the lock stays the same, byte for byte.
    assert_eq!(lab.update(), [""; 0]);
    assert_eq!(fs::read_to_string(lab.path(LOCK_FILE)).unwrap(), lock);
}

#[test]
fn without_the_pin_the_same_document_is_refused() {
    let lab = lab(None);
    lab.mirrors(&[&format!("{}/{ROOT}", lab.server.url())]);
    suite().publish(&lab.server, &lab.author, &packages());
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("the release file expired on 2018-11-07T20:45:12Z"), "{error}");
    assert!(!lab.path(LOCK_FILE).exists());
}

#[test]
fn a_date_that_is_yet_to_come_is_refused() {
    let lab = lab(Some("21181101T000000Z"));
    suite().publish(&lab.server, &lab.author, &packages());
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("21181101T000000Z is in the future"), "{error}");
    assert_eq!(lab.server.requests(), [""; 0]);
}

#[test]
fn a_changed_pin_makes_the_lock_stale() {
    let lab = lab(Some(DATE));
    suite().publish(&lab.server, &lab.author, &packages());
    lab.update();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    for changed in [
        matrix.replace(DATE, "20181102T000000Z"),
        matrix.replace(&format!("snapshot = \"{DATE}\""), ""),
    ] {
        lab.write(MATRIX_FILE, &changed);
        let error = lab.prepare().unwrap_err();
        assert_eq!(error.reason(), Reason::NotLocked);
        assert!(chain(&error).contains("the lock was resolved from "), "{}", chain(&error));
    }
}

#[test]
fn a_document_of_another_date_is_refused() {
    let suite = suite();
    for (date, why) in [
        ("2018-10-20T20:45:12Z", "it had expired"),
        ("2018-11-03T02:45:12Z", "it was not written yet"),
    ] {
        let lab = lab(Some(DATE));
        Suite { date: time(date), ..suite }.publish(&lab.server, &lab.author, &packages());
        let [error] = &lab.update()[..] else { panic!("{why}") };
        let is_of = format!("the release file, dated {date}, was not valid on");
        assert!(error.contains(&is_of) || error.contains("later than the date"), "{why}: {error}");
    }
}

#[test]
fn a_mirror_of_the_archive_is_asked_first() {
    let lab = lab(Some(DATE));
    let mirror = Server::start();
    lab.mirrors(&[&format!("{}/mirrored/{{timestamp}}", mirror.url())]);
    let root = format!("mirrored/{DATE}");
    Suite { root: &root, ..suite() }.publish(&mirror, &lab.author, &packages());
    assert_eq!(lab.update(), [""; 0]);
    let _ready = lab.prepare().unwrap();
    assert_eq!(lab.server.requests(), [""; 0]);
    // The archive still has what the mirror has lost.
    mirror.remove(&format!("{root}/pool/{PACKAGE_4_18}_4.18.10-2_amd64.deb"));
    suite().publish(&lab.server, &lab.author, &packages());
    fs::remove_dir_all(lab.path("store")).unwrap();
    let _ready = lab.prepare().unwrap();
    assert_eq!(lab.server.requests(), [format!("{ROOT}/pool/{PACKAGE_4_18}_4.18.10-2_amd64.deb")]);
}

#[test]
fn what_the_archive_lacks_is_unreachable_and_not_to_be_updated() {
    let lab = lab(Some(DATE));
    suite().publish(&lab.server, &lab.author, &packages());
    lab.update();
    lab.server.remove(&format!("{ROOT}/pool/{PACKAGE_4_18}_4.18.10-2_amd64.deb"));
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable);
    assert!(chain(&error).contains("the server answered 404"), "{}", chain(&error));
    assert!(!chain(&error).contains("update newest"), "{}", chain(&error));
}

#[test]
fn a_date_needs_an_archive_and_its_notation() {
    let lab = lab(Some("2018-11-01"));
    let store = || Store::open(lab.root.path().join("store")).unwrap();
    let open = || {
        let client = download::Client::offline();
        chain(&Catalog::read(lab.root.path(), None, store(), lab.root.path(), client).unwrap_err())
    };
    assert!(open().contains("is not a date of a dated archive"), "{}", open());
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let lines = matrix.replace("2018-11-01", DATE);
    let without: Vec<_> = lines.lines().filter(|l| !l.starts_with("snapshot = \"http")).collect();
    lab.write(MATRIX_FILE, &without.join("\n"));
    assert!(open().contains("\"sample\" has no dated archive"), "{}", open());
}
