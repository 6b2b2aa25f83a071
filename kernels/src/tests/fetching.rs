//! From a lock entry to a kernel.

use std::sync::Mutex;

use kernlab_core::outcome::Reason;

use super::*;

#[test]
fn an_image_of_another_architecture_than_the_entry_s_is_refused() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    fs::write(lab.path("bzImage"), image()).unwrap();
    let source = "source = { kind = \"file\", image = \"bzImage\" }\n";
    let (before, _) = matrix.split_once("source = ").unwrap();
    lab.write(MATRIX_FILE, &format!("{before}{source}").replace("x86_64", "aarch64"));
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::NotAKernel);
    assert_eq!(
        chain(&error),
        "kernel newest: the image is for x86_64, but its entry says `arch = \"aarch64\"`: correct the \
         entry, or name another image"
    );
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
    // These modules are not kept with the image. They are read from the package, and their
    // dependencies in a second round.
    let set = unpacked.modules.find(&["overlay"]).unwrap();
    assert_eq!(names(&set), ["exportfs", "overlay"]);
    assert_eq!(set.load[0].content, module("exportfs", ""));
    assert_eq!(unpacked.modules.find(&["overlay"]).unwrap(), set);

    // The same steps again, without the repository.
    drop(lab.server);
    let again = kernels.prepare(entry, &Silent).unwrap();
    assert_eq!(again.image, unpacked.image);
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
fn a_package_that_the_repository_dropped_says_what_to_do() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let newer = Package { version: "6.1.6-1", ..kernel() };
    let path = newer.path();
    lab.publish(&[meta(), newer]);
    lab.server.remove(&kernel().path());
    // The results of other mirrors are listed too, but the file still counts as removed.
    let absent = Server::start().url();
    lab.mirrors(&[&lab.server.url(), &absent]);
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable);
    let text = chain(&error);
    let expected = "the repository no longer has the locked file \
                    linux-image-6.1.0-1-cloud_6.1.5-1_amd64.deb: run `cargo xtask kernels update \
                    newest` to lock its current files";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains(&absent), "{text}");
    assert_eq!(lab.update(), [""; 0]);
    lab.server.requests();
    lab.prepare().unwrap();
    assert_eq!(lab.server.requests(), [path]);
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
        fn notice(&self, _: &str) {}

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
            // Each with a handle of its own, like separate processes.
            scope.spawn(|| {
                let kernels = lab.open();
                kernels.prepare(&kernels.matrix().entries[0], &count).unwrap();
            });
        }
    });
    // A thread that unpacks may finish before the one that downloaded reports it.
    let mut events = count.0.into_inner().unwrap();
    events.sort_unstable();
    assert_eq!(events, ["Downloaded", "Unpack"]);
}

#[test]
fn a_lock_of_another_source_is_told() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab.update();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    lab.write(MATRIX_FILE, &matrix.replace("linux-image-cloud", "linux-image-rt"));
    let error = lab.prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::NotLocked);
    assert!(chain(&error).contains("the entry names \"deb sample stable main linux-image-rt\""));
}

#[test]
fn packages_that_are_not_kernels() {
    let file = |content| Member::File("./boot/vmlinuz-6.1.0-1-cloud", content);
    let cases: [(Member<'_>, Reason, &str); 4] = [
        (file(b"a text"), Reason::NotAKernel, "not a kernel image: it has no x86 boot header"),
        (Member::File("./boot/other", b""), Reason::BadPackage, "the package has no kernel image"),
        (Member::File("../../evil", b""), Reason::BadPackage, "points outside the package"),
        (
            Member::Link("./boot/vmlinuz-6.1.0-1-cloud", "/etc/passwd"),
            Reason::BadPackage,
            "is a link out of the package, to \"/etc/passwd\"",
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
    // A file of the artifact is truncated, so it is built again.
    let image = unpacked.image.fastest();
    fs::remove_file(image).unwrap();
    fs::write(image, "cut").unwrap();
    assert_eq!(fs::read(lab.prepare().unwrap().image.fastest()).unwrap(), vmlinux(RELEASE, true));
    // The package itself is damaged, and the artifact does not exist.
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
