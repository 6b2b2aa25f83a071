//! Whole ways, from a matrix to a kernel that boots, with a repository on the loopback.

use std::{fs, path::PathBuf, sync::Mutex, time::Duration};

use kernlab_core::outcome::Reason;

use super::{
    compression::Compression,
    sample::{
        archive::{Entry as Member, compress, deb, tar},
        image::{Payload, bzimage, module, vmlinux},
        repository::{Author, Package, publish, release},
        server::{Manner, Server},
    },
    *,
};

const SUITE: &str = "stable";
const PACKAGE: &str = "linux-image-6.1.0-1-cloud";
const RELEASE: &str = "6.1.0-1-cloud";
const IN_RELEASE: &str = "dists/stable/InRelease";
const INDEX: &str = "dists/stable/main/binary-amd64/Packages.xz";

/// A checkout, a store and a repository.
struct Lab {
    root: tempfile::TempDir,
    server: Server,
    author: Author,
}

impl Lab {
    fn new() -> Self {
        let lab = Lab {
            root: tempfile::tempdir().unwrap(),
            server: Server::start(),
            author: Author::new(),
        };
        lab.write("key.asc", &lab.author.public_key());
        lab.write(
            MATRIX_FILE,
            &format!(
                r#"schema = 1
[repository.sample]
distribution = "sample"
archive = "sample"
keys = [{{ file = "key.asc", fingerprint = "{}" }}]
[[kernel]]
id = "newest"
arch = "x86_64"
tier = "default"
btf = ["embedded"]
why = "a test"
source = {{ kind = "deb", repository = "sample", suite = "{SUITE}", component = "main", package = "linux-image-cloud" }}
"#,
                lab.author.fingerprint()
            ),
        );
        lab.mirrors(&[&lab.server.url()]);
        lab
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.path().join(name), text).unwrap();
    }

    /// Names the mirrors of the repository, in the overlay.
    fn mirrors(&self, urls: &[&str]) {
        self.write(OVERLAY_FILE, &format!("schema = 1\n[mirror]\nsample = {urls:?}\n"));
    }

    fn publish(&self, packages: &[Package]) {
        publish(&self.server, &self.author, SUITE, packages);
    }

    fn open(&self) -> Kernels {
        let store = Store::open(self.root.path().join("store")).unwrap();
        let client = download::Client::direct(Duration::from_millis(500));
        Kernels::at(self.root.path(), store, self.root.path(), client).unwrap()
    }

    /// Updates the lock; the errors of what could not be resolved.
    fn update(&self) -> Vec<String> {
        let kernels = self.open();
        let update = kernels.update(&kernels.matrix().entries);
        kernels.write_locks(&update).unwrap();
        update.unresolved.iter().map(|unresolved| chain(&*unresolved.error)).collect()
    }

    fn prepare(&self) -> Result<Unpacked, Error> {
        let kernels = self.open();
        kernels.prepare(&kernels.matrix().entries[0], &Silent)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }
}

fn meta() -> Package {
    Package {
        name: "linux-image-cloud",
        version: "6.1.5-1",
        depends: PACKAGE,
        content: b"unused".to_vec(),
    }
}

fn image() -> Vec<u8> {
    bzimage(RELEASE, Payload::Compressed(Compression::Zstd), &vmlinux(RELEASE, true))
}

fn kernel_of(members: &[Member<'_>]) -> Package {
    Package { name: PACKAGE, version: "6.1.5-1", depends: "kmod", content: deb(&tar(members)) }
}

fn kernel() -> Package {
    let modules = |name: &str, depends: &str| compress(Compression::Xz, &module(name, depends));
    kernel_of(&[
        Member::File("./boot/vmlinuz-6.1.0-1-cloud", &image()),
        Member::File("./boot/config-6.1.0-1-cloud", b"CONFIG_BPF=y\n"),
        Member::File("./lib/modules/6.1.0-1-cloud/modules.builtin", b"kernel/virtio.ko\n"),
        Member::File(
            "./lib/modules/6.1.0-1-cloud/kernel/virtio-pci.ko.xz",
            &modules("virtio_pci", "virtio,virtio-ring"),
        ),
        Member::File(
            "./lib/modules/6.1.0-1-cloud/kernel/virtio_ring.ko.xz",
            &modules("virtio_ring", ""),
        ),
        Member::File(
            "./lib/modules/6.1.0-1-cloud/kernel/overlay.ko.xz",
            &modules("overlay", "exportfs"),
        ),
        Member::File("./lib/modules/6.1.0-1-cloud/kernel/exportfs.ko.xz", &modules("exportfs", "")),
    ])
}

fn names(set: &ModuleSet) -> Vec<&str> {
    set.load.iter().map(|module| module.name.as_str()).collect()
}

#[test]
fn from_a_matrix_to_a_kernel() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    let kernels = lab.open();
    assert_eq!(kernels.state(&kernels.matrix().entries[0]), State::Unresolved);
    assert_eq!(lab.update(), [""; 0]);

    let kernels = lab.open();
    let entry = &kernels.matrix().entries[0];
    assert_eq!(kernels.state(entry), State::Locked);
    assert_eq!(entry.release, Some("6.1".parse().unwrap()), "the lock tells it");
    lab.server.requests();
    let unpacked = kernels.prepare(entry, &Silent).unwrap();
    assert_eq!(kernels.state(entry), State::Stored);
    assert_eq!(lab.server.requests(), [kernel().path()], "the metapackage is not downloaded");
    assert_eq!(unpacked.release, RELEASE);
    assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), vmlinux(RELEASE, true));
    assert_eq!(fs::read(unpacked.image.bzimage.as_ref().unwrap()).unwrap(), image());
    assert_eq!(fs::read_to_string(unpacked.config.as_ref().unwrap()).unwrap(), "CONFIG_BPF=y\n");

    let set = unpacked.modules.find(&["virtio_pci", "virtio", "virtio_mmio"]).unwrap();
    assert_eq!(names(&set), ["virtio_ring", "virtio_pci"]);
    assert_eq!(
        (&set.builtin[..], &set.absent[..]),
        (&["virtio".to_owned()][..], &["virtio_mmio".to_owned()][..])
    );
    // Not kept with the image: read from the package, and what it needs in a second round.
    let set = unpacked.modules.find(&["overlay"]).unwrap();
    assert_eq!(names(&set), ["exportfs", "overlay"]);
    assert_eq!(set.load[0].content, module("exportfs", ""));
    assert_eq!(unpacked.modules.find(&["overlay"]).unwrap(), set);

    // All of it again, without the repository.
    drop(lab.server);
    let again = kernels.prepare(entry, &Silent).unwrap();
    assert_eq!(again.image, unpacked.image);
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let before = fs::read(lab.path(LOCK_FILE)).unwrap();
    lab.publish(&[meta(), kernel()]);
    let kernels = lab.open();
    let update = kernels.update(&kernels.matrix().entries);
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
    let changes = kernels.update(&kernels.matrix().entries).changes();
    let text = changes[0].to_string();
    let expected = "~ newest: 6.1.0-1-cloud (6.1.5-1) -> 6.1.0-2-cloud (6.1.6-1)\n";
    assert!(text.starts_with(expected), "{text}");
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
    assert!(error.contains("cannot trust the release document: signed by "), "{error}");
    assert!(!lab.path(LOCK_FILE).exists());
}

#[test]
fn a_tampered_index_is_not_believed() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.server.edit(INDEX, |content| content[20] ^= 1);
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("is not what the signed release document promises"), "{error}");
}

#[test]
fn the_next_mirror_is_asked_and_the_bad_one_named() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    let bad = Server::start();
    publish(&bad, &Author::new(), SUITE, &[meta(), kernel()]);
    lab.mirrors(&[&bad.url(), &lab.server.url()]);
    let kernels = lab.open();
    let update = kernels.update(&kernels.matrix().entries);
    assert!(update.unresolved.is_empty());
    let [(url, RepositoryError::Signature(_))] = &update.bypassed[..] else {
        panic!("{:?}", update.bypassed);
    };
    assert_eq!(*url, bad.url());
}

#[test]
fn a_tampered_package_is_not_unpacked() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    lab.server.edit(&kernel().path(), |content| content[100] ^= 1);
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch);
    let text = chain(&error);
    assert!(text.contains("run `cargo xtask kernels update newest`"), "{text}");
}

#[test]
fn a_package_is_had_from_the_first_mirror_that_has_it() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let empty = Server::start();
    lab.mirrors(&[&empty.url(), &lab.server.url()]);
    lab.prepare().unwrap();
    assert_eq!(empty.requests(), [kernel().path()]);
}

#[test]
fn an_unreachable_package_is_unavailable() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    lab.server.remove(&kernel().path());
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable);
    assert!(chain(&error).contains("the server answered 404"), "{}", chain(&error));
}

#[test]
fn a_download_that_breaks_off_is_resumed_by_the_next_command() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let path = kernel().path();
    lab.server.behave(&path, &[Manner::CutAfter(1000), Manner::CutAfter(0)]);
    assert_eq!(lab.prepare().unwrap_err().reason(), Reason::Unreachable);
    lab.server.requests();
    lab.prepare().unwrap();
    assert_eq!(lab.server.requests(), [format!("{path} from 1000")]);
}

#[test]
fn many_at_once_download_and_unpack_once() {
    struct Count(Mutex<Vec<String>>);
    impl Observer for Count {
        fn observe(&self, _kernel: &str, event: Event<'_>) {
            if matches!(event, Event::Downloaded | Event::Unpack) {
                self.0.lock().unwrap().push(format!("{event:?}"));
            }
        }
    }
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let count = Count(Mutex::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // Each with its own handle, as processes have.
            scope.spawn(|| {
                let kernels = lab.open();
                kernels.prepare(&kernels.matrix().entries[0], &count).unwrap();
            });
        }
    });
    assert_eq!(count.0.into_inner().unwrap(), ["Downloaded", "Unpack"]);
}

#[test]
fn what_is_not_locked_says_what_to_do() {
    let lab = Lab::new();
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::NotLocked);
    assert_eq!(
        chain(&error),
        "kernel newest: not in the lock: run `cargo xtask kernels update newest`"
    );
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    lab.write(MATRIX_FILE, &matrix.replace("linux-image-cloud", "linux-image-rt"));
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::NotLocked);
    assert!(chain(&error).contains("the entry says \"deb sample stable main linux-image-rt\""));
}

#[test]
fn packages_that_are_not_kernels() {
    let file = |content| Member::File("./boot/vmlinuz-6.1.0-1-cloud", content);
    let cases: [(Member<'_>, Reason, &str); 4] = [
        (file(b"a text"), Reason::NotAKernel, "not a kernel image: it has no x86 boot header"),
        (Member::File("./boot/other", b""), Reason::BadPackage, "the package has no kernel image"),
        (Member::File("../../evil", b""), Reason::BadPackage, "points out of the package"),
        (
            Member::Link("./boot/vmlinuz-6.1.0-1-cloud", "/etc/passwd"),
            Reason::BadPackage,
            "is not a regular file",
        ),
    ];
    for (member, reason, expected) in cases {
        let lab = Lab::new();
        lab.publish(&[meta(), kernel_of(&[member])]);
        lab.update();
        let error = lab.prepare().unwrap_err();
        assert_eq!(error.reason(), reason);
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    }
}

#[test]
fn damage_on_this_disk_is_seen_and_mended() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let unpacked = lab.prepare().unwrap();
    // A file of the artifact is cut: it is made anew.
    let image = unpacked.image.fastest();
    fs::remove_file(image).unwrap();
    fs::write(image, "cut").unwrap();
    assert_eq!(fs::read(lab.prepare().unwrap().image.fastest()).unwrap(), vmlinux(RELEASE, true));
    // The package itself is damaged, and the artifact gone.
    let kernels = lab.open();
    let file = &kernels.locked(&kernels.matrix().entries[0]).unwrap().files[0];
    let object = kernels.store().object(file.sha256, file.size).unwrap();
    let mut content = fs::read(object.path()).unwrap();
    content[100] ^= 1;
    fs::remove_file(object.path()).unwrap();
    fs::write(object.path(), content).unwrap();
    fs::remove_dir_all(lab.path("store/artifacts")).unwrap();
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch);
    assert!(chain(&error).contains("run the command again"), "{}", chain(&error));
    lab.prepare().unwrap();
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
    let matrix = manifest::read_matrix(&root.join(MATRIX_FILE), &root.join("no overlay")).unwrap();
    for (name, repository) in &matrix.repositories {
        deb::signature::Keyring::load(&repository.keys)
            .unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    }
    let lock = Lock::read(&root.join(LOCK_FILE)).unwrap();
    for kernel in lock.kernels() {
        let entry = matrix.entries.iter().find(|entry| entry.id == kernel.id);
        assert!(entry.is_some_and(|entry| kernel.is_of(entry)), "{} is stale", kernel.id);
    }
    // Releases ascend, so that reports and selections do.
    let releases: Vec<_> = matrix.entries.iter().filter_map(|e| e.release.clone()).collect();
    assert!(releases.is_sorted(), "{releases:?}");
}
