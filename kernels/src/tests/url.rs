//! A package, archive or image at a URL.

use kernlab_core::outcome::Reason;

use super::*;

const FILE: &str = "kernels/linux";

/// A checkout with a single entry, whose source is the server's [`FILE`].
fn lab(content: &[u8]) -> Lab {
    let lab = Lab::new();
    lab.server.put(FILE, content);
    lab.write(
        MATRIX_FILE,
        &format!(
            r#"schema = 1
[[kernel]]
id = "newest"
arch = "x86_64"
tier = "default"
btf = ["embedded"]
why = "a test"
source = {{ kind = "url", url = "{}/{FILE}", sha256 = "{}" }}
"#,
            lab.server.url(),
            Digest::of(content)
        ),
    );
    lab.write(OVERLAY_FILE, "schema = 1\n");
    lab
}

/// What `make tarxz-pkg` builds in the kernel source.
fn archive() -> Vec<u8> {
    tar(&[
        Member::Dir("./boot/"),
        Member::File("./boot/vmlinuz-6.1.0-1-cloud", &image()),
        Member::File("./boot/config-6.1.0-1-cloud", b"CONFIG_BPF=y\n"),
        Member::File("./boot/System.map-6.1.0-1-cloud", b""),
        Member::Link("./lib/modules/6.1.0-1-cloud/build", "/usr/src/linux"),
        Member::File("./lib/modules/6.1.0-1-cloud/kernel/overlay.ko", &module("overlay", "")),
    ])
}

#[test]
fn an_archive_in_every_compression() {
    for compression in [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd] {
        let lab = lab(&compress(compression, &archive()));
        assert_eq!(lab.update(), [""; 0]);
        assert_eq!(lab.server.requests(), [format!("{FILE} size"), FILE.to_owned()]);
        let kernels = lab.open();
        let entry = &kernels.matrix().entries[0];
        assert_eq!(kernels.state(entry), State::Stored);
        assert_eq!(entry.release, Some("6.1".parse().unwrap()));
        let unpacked = lab.prepare().unwrap();
        assert_eq!(unpacked.release, RELEASE);
        assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), vmlinux(RELEASE, true));
        assert!(unpacked.config.is_some());
        assert_eq!(names(&unpacked.modules.find(&["overlay"]).unwrap()), ["overlay"]);
        // A source that is fixed by its digest is not resolved again.
        assert_eq!(lab.update(), [""; 0]);
        assert_eq!(lab.server.requests(), [""; 0]);
    }
}

#[test]
fn a_package_and_a_bare_image() {
    let lab_of_package = lab(&kernel().content);
    assert_eq!(lab_of_package.update(), [""; 0]);
    assert_eq!(lab_of_package.prepare().unwrap().release, RELEASE);

    let lab_of_image = lab(&image());
    assert_eq!(lab_of_image.update(), [""; 0]);
    let unpacked = lab_of_image.prepare().unwrap();
    assert_eq!(unpacked.release, RELEASE);
    assert_eq!(fs::read(unpacked.image.bzimage.unwrap()).unwrap(), image());

    let lab_of_vmlinux = lab(&vmlinux(RELEASE, true));
    assert_eq!(lab_of_vmlinux.update(), [""; 0]);
    let unpacked = lab_of_vmlinux.prepare().unwrap();
    assert_eq!(unpacked.image.bzimage, None);
    assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), vmlinux(RELEASE, true));

    let lab_of_plain_elf = lab(&vmlinux(RELEASE, false));
    assert_eq!(lab_of_plain_elf.update(), [""; 0]);
    assert_eq!(lab_of_plain_elf.prepare().unwrap_err().reason(), Reason::NotAKernel);
}

#[test]
fn what_is_no_kernel_is_not_locked() {
    let several = tar(&[
        Member::File("./boot/vmlinuz-6.1.0", b""),
        Member::File("./lib/modules/6.2.0/vmlinuz", b""),
    ]);
    for (content, expected) in [
        (&b"<html>not found</html>"[..], "neither a Debian or RPM package, nor a tar archive"),
        (&tar(&[Member::File("./README", b"")]), "the package has no kernel image"),
        (&several, "the package has several kernels: 6.1.0, 6.2.0"),
        (&tar(&[Member::File("../evil", b"")]), "points outside the package"),
    ] {
        let lab = lab(content);
        let [error] = &lab.update()[..] else { panic!("{expected}") };
        assert!(error.contains(expected), "{error}");
        assert!(!lab.path(LOCK_FILE).exists());
    }
}

#[test]
fn another_file_than_the_matrix_names_is_refused() {
    let lab = lab(&archive());
    lab.server.edit(FILE, |content| content[600] ^= 1);
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("does not have the SHA-256 digest that kernels.toml names"), "{error}");
    lab.server.remove(FILE);
    let [error] = &lab.update()[..] else { panic!() };
    assert!(
        error.starts_with("cannot get the size of ") && error.ends_with("404 Not Found"),
        "{error}"
    );
}

#[test]
fn offline_nothing_is_downloaded() {
    let lab = lab(&archive());
    assert_eq!(lab.update(), [""; 0]);
    let prepare = || {
        let kernels = lab.open().offline();
        kernels.prepare(&kernels.matrix().entries[0], &Silent)
    };
    prepare().unwrap();
    fs::remove_dir_all(lab.path("store")).unwrap();
    lab.server.requests();
    let error = prepare().unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable);
    let text = chain(&error);
    assert!(
        text.contains("linux is not in the store, and downloads are forbidden offline"),
        "{text}"
    );
    assert_eq!(lab.server.requests(), [""; 0]);
}
