//! Which repositories an update trusts, and what it writes.

use super::*;
use crate::Arch;

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let before = fs::read(lab.path(LOCK_FILE)).unwrap();
    lab.publish(&[meta(), kernel()]);
    let kernels = lab.open();
    let update = kernels.update(&kernels.matrix().entries, &Silent);
    assert_eq!(update.changes(), []);
    kernels.write_locks(&update).unwrap();
    assert_eq!(fs::read(lab.path(LOCK_FILE)).unwrap(), before);
}

#[test]
fn a_newer_package_replaces_the_locked_one() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let newer = Package { name: "linux-image-6.1.0-2-cloud", version: "6.1.6-1", ..kernel() };
    let meta = Package { version: "6.1.6-1", depends: newer.name, ..meta() };
    lab.publish(&[meta, kernel(), newer]);
    let kernels = lab.open();
    let changes = kernels.update(&kernels.matrix().entries, &Silent).changes();
    let text = changes[0].to_string();
    let expected = "~ newest: 6.1.0-1-cloud (6.1.5-1) -> 6.1.0-2-cloud (6.1.6-1)\n";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn an_entry_that_this_machine_replaces_stays_in_the_shared_lock() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let before = fs::read(lab.path(LOCK_FILE)).unwrap();
    lab.write(
        OVERLAY_FILE,
        "schema = 1\n[[kernel]]\nid = \"newest\"\narch = \"x86_64\"\ntier = \"default\"\nbtf = \
         [\"embedded\"]\nwhy = \"a test\"\nsource = { kind = \"host\" }\n",
    );
    assert_eq!(lab.update(), [""; 0]);
    assert_eq!(fs::read(lab.path(LOCK_FILE)).unwrap(), before);
}

#[test]
fn an_unreachable_repository_leaves_the_lock_alone() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let before = fs::read(lab.path(LOCK_FILE)).unwrap();
    lab.server.remove(IN_RELEASE);
    let [error] = &lab.update()[..] else { panic!() };
    assert!(
        error.starts_with("no mirror of \"sample\" can be used\n  http://127.0.0.1:"),
        "{error}"
    );
    assert!(error.contains("cannot read dists/stable/Release: the server answered 404"), "{error}");
    assert_eq!(fs::read(lab.path(LOCK_FILE)).unwrap(), before);
    lab.mirrors(&[]);
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.ends_with("none is known; name one in KERNLAB_MIRROR_SAMPLE"), "{error}");
}

#[test]
fn a_repository_with_a_detached_signature() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    let mut index = Vec::new();
    lab.server.edit(INDEX, |content| index.clone_from(content));
    let text = release(SUITE, &index);
    let signature = lab.author.sign_detached(&text, pgp::crypto::hash::HashAlgorithm::Sha256);
    lab.server.remove(IN_RELEASE);
    lab.server.put("dists/stable/Release", text);
    lab.server.put("dists/stable/Release.gpg", signature);
    assert_eq!(lab.update(), [""; 0]);
}

#[test]
fn what_is_not_signed_by_the_right_key_is_not_believed() {
    let lab = Lab::new();
    publish(&lab.server, &Author::new(), SUITE, &[meta(), kernel()]);
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("cannot trust the repository: signed by "), "{error}");
    assert!(!lab.path(LOCK_FILE).exists());
}

#[test]
fn a_tampered_index_is_not_believed() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.server.edit(INDEX, |content| content[20] ^= 1);
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("not match the digest in the signed release file"), "{error}");
}

#[test]
fn the_next_mirror_is_asked_and_the_bad_one_named() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    let bad = Server::start();
    publish(&bad, &Author::new(), SUITE, &[meta(), kernel()]);
    lab.mirrors(&[&bad.url(), &lab.server.url()]);
    let kernels = lab.open();
    let update = kernels.update(&kernels.matrix().entries, &Silent);
    assert!(update.unresolved.is_empty());
    let [(url, RepositoryError::Signature(_))] = &update.bypassed[..] else {
        panic!("{:?}", update.bypassed);
    };
    assert_eq!(*url, bad.url());
}

#[test]
fn a_local_entry_has_a_lock_of_its_own() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let shared = fs::read(lab.path(LOCK_FILE)).unwrap();
    let overlay = fs::read_to_string(lab.path(OVERLAY_FILE)).unwrap();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let entry = &matrix[matrix.find("[[kernel]]").unwrap()..];
    lab.write(OVERLAY_FILE, &format!("{overlay}{}", entry.replace("newest", "mine")));
    assert_eq!(lab.update(), [""; 0]);
    assert_eq!(fs::read(lab.path(LOCK_FILE)).unwrap(), shared);
    let local = fs::read_to_string(lab.path(LOCAL_LOCK_FILE)).unwrap();
    assert!(local.contains("id = \"mine\"") && !local.contains("id = \"newest\""), "{local}");
}

#[test]
fn the_matrix_of_the_project_is_sound() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let matrix =
        manifest::read_matrix(None, &root.join(MATRIX_FILE), &root.join("no overlay")).unwrap();
    for (name, repository) in &matrix.repositories {
        signature::Keyring::load(&repository.keys)
            .unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    }
    let lock = Lock::read(&root.join(LOCK_FILE)).unwrap();
    for kernel in lock.kernels() {
        let entry = matrix.entries.iter().find(|entry| entry.id == kernel.id);
        assert!(entry.is_some_and(|entry| kernel.is_of(entry)), "{} is stale", kernel.id);
    }
    // Releases of an architecture are in ascending order, so that those in reports and selections are too.
    let releases: Vec<_> = matrix
        .entries
        .iter()
        .filter_map(|e| Some((e.arch != Arch::X86_64, e.release.clone()?)))
        .collect();
    assert!(releases.is_sorted(), "{releases:?}");
}
