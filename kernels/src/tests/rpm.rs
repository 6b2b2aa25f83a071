//! RPM repositories with the layouts of distributions, made with the distributions' tools.

use std::path::Path;

use kernlab_core::outcome::Reason;

use super::*;
use crate::test_support::rpm::{Rpm, RpmRepository, Signer};

const EL8: &str = "4.18.0-553.el8_10";
const EL8_RELEASE: &str = "4.18.0-553.el8_10.x86_64";
pub(super) const DIR: &str = "8/BaseOS/x86_64/os";
const IMAGE: &str = "Packages/kernel-core-4.18.0-553.el8_10.x86_64.rpm";

/// A checkout with a single entry from an RPM repository.
pub(super) fn lab(signer: &Signer, signs: &str, dir: &str) -> Lab {
    let lab = Lab::new();
    lab.write("key.asc", &signer.public_key);
    lab.write(
        MATRIX_FILE,
        &format!(
            r#"schema = 1
[repository.sample]
distribution = "sample"
archive = "sample"
signs = "{signs}"
keys = [{{ file = "key.asc", fingerprint = "{}" }}]
[[kernel]]
id = "newest"
arch = "x86_64"
tier = "default"
btf = ["embedded"]
why = "a test"
source = {{ kind = "rpm", repository = "sample", {dir}, package = "kernel" }}
"#,
            signer.fingerprint
        ),
    );
    lab
}

pub(super) fn path() -> String {
    format!("path = \"{DIR}\"")
}

fn image(release: &str) -> Vec<u8> {
    bzimage(release, Payload::Compressed(Compression::Gzip), &vmlinux(release, true))
}

fn el8_rpm<'a>(
    name: &'a str,
    provides: &'a [&'a str],
    requires: &'a [&'a str],
    files: Vec<Member<'a>>,
) -> Rpm<'a> {
    Rpm { name, version: EL8, provides, requires, files, payload: "w2.xzdio" }
}

/// The packages of RHEL 8 and its derivatives, all compressed with xz.
fn el8(repository: &RpmRepository, signer: Option<&Signer>) {
    let uname = |part: &str| format!("kernel{part}-uname-r = {EL8_RELEASE}");
    let (core, modules) = (uname("-core"), uname("-modules"));
    repository.add(&el8_rpm("kernel", &[], &[&core, &modules], Vec::new()), signer);
    let module = |name: &str, depends| compress(Compression::Xz, &module(name, depends));
    let below = |path: &str| format!("lib/modules/{EL8_RELEASE}/{path}");
    let paths = ["vmlinuz", "config", "modules.builtin", "build", "kernel/virtio_pci.ko.xz"];
    let [vmlinuz, config, builtin, build, pci] = paths.map(below);
    let files = vec![
        Member::File(&vmlinuz, &[]),
        Member::File(&config, b"CONFIG_BPF=y\n"),
        Member::File(&builtin, b"kernel/drivers/virtio/virtio.ko\n"),
        Member::Link(&build, "/usr/src/kernels/4.18.0-553.el8_10.x86_64"),
        Member::File(&pci, &[]),
    ];
    let (image, content) = (image(EL8_RELEASE), module("virtio_pci", "virtio,virtio_ring"));
    let fill = |member| match member {
        Member::File(path, _) if path.ends_with("vmlinuz") => Member::File(path, &image),
        Member::File(path, _) if path.ends_with("pci.ko.xz") => Member::File(path, &content),
        member => member,
    };
    let files = files.into_iter().map(fill).collect();
    let provides = [&*core, &uname("")];
    repository
        .add(&el8_rpm("kernel-core", &provides, &["linux-firmware >= 20200619"], files), signer);
    let (ring, content) = (below("kernel/virtio_ring.ko.xz"), module("virtio_ring", ""));
    let files = vec![Member::File(&ring, &content)];
    repository.add(&el8_rpm("kernel-modules", &[&modules], &[&core], files), signer);
}

#[test]
fn a_repository_that_signs_its_index() {
    let signer = Signer::new();
    let (lab, repository) = (lab(&signer, "index", &path()), RpmRepository::new());
    el8(&repository, Some(&signer));
    repository.index(&["--xz"], Some(&signer));
    repository.publish(&lab.server, DIR);
    assert_eq!(lab.update(), [""; 0]);
    assert!(lab.server.requests().iter().all(|path| path.contains("/repodata/")));
    let kernels = lab.open();
    let entry = &kernels.matrix().entries[0];
    let locked = kernels.locked(entry).unwrap();
    assert_eq!((&*locked.release, &*locked.version), (EL8_RELEASE, EL8));
    let files: Vec<_> = locked.files.iter().map(|file| (file.role, file.name())).collect();
    let of = |part: &str| format!("kernel-{part}-{EL8_RELEASE}.rpm");
    assert_eq!(files, [(Role::Image, &*of("core")), (Role::Modules, &of("modules"))]);

    let unpacked = lab.prepare().unwrap();
    assert_eq!(unpacked.release, EL8_RELEASE);
    assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), vmlinux(EL8_RELEASE, true));
    assert_eq!(fs::read_to_string(unpacked.config.as_ref().unwrap()).unwrap(), "CONFIG_BPF=y\n");
    let set = unpacked.modules.find(&["virtio_pci"]).unwrap();
    assert_eq!(names(&set), ["virtio_ring", "virtio_pci"]);
    assert_eq!(set.load[0].content, module("virtio_ring", ""));

    // Nothing changed: the lock stays the same, byte for byte.
    let before = fs::read(lab.path(LOCK_FILE)).unwrap();
    assert_eq!(lab.update(), [""; 0]);
    assert_eq!(fs::read(lab.path(LOCK_FILE)).unwrap(), before);
}

#[test]
fn an_index_that_is_not_as_it_was_signed_is_refused() {
    let signer = Signer::new();
    let (lab, repository) = (lab(&signer, "index", &path()), RpmRepository::new());
    el8(&repository, None);
    repository.index(&[], None);
    repository.publish(&lab.server, DIR);
    let refused = |expected: &str| {
        let [error] = &lab.update()[..] else { panic!("{expected}") };
        assert!(error.contains(expected), "{error}");
        assert!(!lab.path(LOCK_FILE).exists());
    };
    refused("cannot read 8/BaseOS/x86_64/os/repodata/repomd.xml.asc: the server answered 404");
    let repomd = repository.path("repodata/repomd.xml");
    Signer::new().sign_file(&repomd);
    repository.publish(&lab.server, DIR);
    refused("cannot trust the repository: signed by ");
    repository.index(&[], Some(&signer));
    repository.publish(&lab.server, DIR);
    let repomd = format!("{DIR}/repodata/repomd.xml");
    lab.server.edit(&repomd, |content| content.extend(b"<!-- -->"));
    refused("cannot trust the repository: the signature is bad");
    repository.publish(&lab.server, DIR);
    let list = fs::read_dir(repository.path("repodata")).unwrap();
    let names = list.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let primary = names.filter(|name| name.ends_with("-primary.xml.gz"));
    for name in primary {
        lab.server.edit(&format!("{DIR}/repodata/{name}"), |content| content[30] ^= 1);
    }
    refused("does not match the digest in the repomd.xml");
    repository.publish(&lab.server, DIR);
    assert_eq!(lab.update(), [""; 0]);
}

#[test]
fn a_package_replaced_after_it_was_locked_is_refused() {
    let signer = Signer::new();
    let (lab, repository) = (lab(&signer, "index", &path()), RpmRepository::new());
    el8(&repository, None);
    repository.index(&[], Some(&signer));
    repository.publish(&lab.server, DIR);
    assert_eq!(lab.update(), [""; 0]);
    lab.server.edit(&format!("{DIR}/{IMAGE}"), |content| content[2000] ^= 1);
    assert_eq!(lab.prepare().unwrap_err().reason(), Reason::DigestMismatch);
    lab.server.remove(&format!("{DIR}/{IMAGE}"));
    let error = chain(&lab.prepare().unwrap_err());
    assert!(error.contains("no longer has the locked file kernel-core-4.18.0"), "{error}");
    assert!(error.contains("run `cargo xtask kernels update newest`"), "{error}");
}

const FEDORA: &str = "6.19.10-300.fc44";

fn fedora_rpm<'a>(
    name: &'a str,
    provides: &'a [&'a str],
    requires: &'a [&'a str],
    files: Vec<Member<'a>>,
) -> Rpm<'a> {
    Rpm { name, version: FEDORA, provides, requires, files, payload: "w3.zstdio" }
}

/// The packages of Fedora: all compressed with zstd, and the modules in two packages.
pub(super) fn fedora(repository: &RpmRepository, signer: &Signer) {
    const RELEASE: &str = "6.19.10-300.fc44.x86_64";
    let uname = |part: &str| format!("kernel{part}-uname-r = {RELEASE}");
    let parts = ["-core", "-modules-core", "-modules"].map(uname);
    let requires: Vec<_> = parts.iter().map(String::as_str).collect();
    let signer = Some(signer);
    repository.add(&fedora_rpm("kernel", &[], &requires, Vec::new()), signer);
    let below = |path: &str| format!("lib/modules/{RELEASE}/{path}");
    let module = |name: &str| compress(Compression::Zstd, &module(name, ""));
    let (vmlinuz, image) = (below("vmlinuz"), image(RELEASE));
    let files = vec![Member::File(&vmlinuz, &image)];
    repository.add(&fedora_rpm("kernel-core", &requires[..1], &requires[1..2], files), signer);
    let (path, content) = (below("kernel/virtio.ko.zst"), module("virtio"));
    let files = vec![Member::File(&path, &content)];
    repository.add(&fedora_rpm("kernel-modules-core", &requires[1..2], &[], files), signer);
    let (path, content) = (below("kernel/overlay.ko.zst"), module("overlay"));
    let files = vec![Member::File(&path, &content)];
    repository.add(&fedora_rpm("kernel-modules", &requires[2..], &requires[..1], files), signer);
}

pub(super) const FEDORA_IMAGE: &str = "Packages/kernel-core-6.19.10-300.fc44.x86_64.rpm";

#[test]
fn a_repository_that_signs_its_packages() {
    let signer = Signer::new();
    let (lab, repository) = (lab(&signer, "packages", &path()), RpmRepository::new());
    fedora(&repository, &signer);
    repository.index(&[], None);
    repository.publish(&lab.server, DIR);
    assert_eq!(lab.update(), [""; 0]);
    let downloads = |requests: Vec<String>| requests.iter().filter(|r| r.ends_with("rpm")).count();
    assert_eq!(downloads(lab.server.requests()), 3, "the packages to lock were checked");
    let unpacked = lab.prepare().unwrap();
    assert_eq!(unpacked.release, "6.19.10-300.fc44.x86_64");
    assert_eq!(names(&unpacked.modules.find(&["virtio", "overlay"]).unwrap()).len(), 2);
    assert_eq!(lab.update(), [""; 0]);
    assert_eq!(downloads(lab.server.requests()), 0, "locked packages are not checked again");
}

#[test]
fn packages_that_are_not_as_they_were_signed_are_refused() {
    let (signer, repository) = (Signer::new(), RpmRepository::new());
    fedora(&repository, &signer);
    let refused = |change: &dyn Fn(&Path), expected: &str| {
        let lab = lab(&signer, "packages", &path());
        let image = repository.path(FEDORA_IMAGE);
        let before = fs::read(&image).unwrap();
        change(&image);
        // An attacker who changes a package of a repository with an unsigned index changes the
        // index too.
        repository.index(&[], None);
        repository.publish(&lab.server, DIR);
        fs::write(&image, before).unwrap();
        let [error] = &lab.update()[..] else { panic!("{expected}") };
        assert!(error.contains(expected), "{error}");
        assert!(!lab.path(LOCK_FILE).exists());
    };
    let unsign = |image: &Path| Signer::unsign(image);
    refused(
        &unsign,
        "kernel-core-6.19.10-300.fc44.x86_64.rpm is refused: cannot trust the package",
    );
    let unrelated_process = Signer::new();
    let resign = |image: &Path| {
        Signer::unsign(image);
        unrelated_process.sign_package(image, &[]);
    };
    refused(&resign, "cannot trust the package: signed by ");
    let change = |image: &Path| {
        let mut content = fs::read(image).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(image, content).unwrap();
    };
    refused(&change, "the payload of the package differs from the signed one");
}

#[test]
fn a_mirror_with_packages_of_a_stranger_is_passed_over() {
    let signer = Signer::new();
    let lab = lab(&signer, "packages", &path());
    let publish = |server: &Server, signer: &Signer| {
        let repository = RpmRepository::new();
        fedora(&repository, signer);
        repository.index(&[], None);
        repository.publish(server, DIR);
    };
    let bad = Server::start();
    publish(&bad, &Signer::new());
    publish(&lab.server, &signer);
    lab.mirrors(&[&bad.url(), &lab.server.url()]);
    let kernels = lab.open();
    let update = kernels.update(&kernels.matrix().entries, &Silent);
    assert!(update.unresolved.is_empty());
    let [(url, RepositoryError::Unproven { .. })] = &update.bypassed[..] else {
        panic!("{:?}", update.bypassed);
    };
    assert_eq!(*url, bad.url());
}

#[test]
fn another_package_of_the_same_signer_is_refused() {
    let signer = Signer::new();
    let (lab, repository) = (lab(&signer, "packages", &path()), RpmRepository::new());
    fedora(&repository, &signer);
    let old = Rpm {
        name: "kernel-core",
        version: "6.19.9-300.fc44",
        provides: &[],
        requires: &[],
        files: vec![Member::File("boot/vmlinuz-6.19.9-300.fc44.x86_64", b"an old one with holes")],
        payload: "w3.zstdio",
    };
    let old = repository.add(&old, Some(&signer));
    repository.index(&["--compatibility"], None);
    // The index of a malicious mirror: the old package under the name, size and digest of the new
    // one.
    let content = fs::read(&old).unwrap();
    let forged = |text: &str| {
        let new = fs::read(repository.path(FEDORA_IMAGE)).unwrap();
        text.replace(&Digest::of(&new).to_string(), &Digest::of(&content).to_string()).replace(
            &format!("package=\"{}\"", new.len()),
            &format!("package=\"{}\"", content.len()),
        )
    };
    repository.edit_primary(forged);
    repository.publish(&lab.server, DIR);
    lab.server.put(&format!("{DIR}/{FEDORA_IMAGE}"), content.clone());
    let [error] = &lab.update()[..] else { panic!() };
    let expected = "the package is kernel-core-6.19.9-300.fc44.x86_64, not \
                    kernel-core-6.19.10-300.fc44.x86_64";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_repository_whose_dir_changes_and_whose_packages_are_elsewhere() {
    const VERSION: &str = "5.10.245-241.976.amzn2";
    const RELEASE: &str = "5.10.245-241.976.amzn2.x86_64";
    const GUID: &str = "2/extras/kernel-5.10/stable/x86_64/f00d";
    const LIST: &str = "2/extras/kernel-5.10/latest/x86_64/mirror.list";
    let (signer, repository) = (Signer::new(), RpmRepository::new());
    let lab = lab(&signer, "packages", &format!("mirror_list = \"{LIST}\""));
    let (vmlinuz, config) = (format!("boot/vmlinuz-{RELEASE}"), format!("boot/config-{RELEASE}"));
    let (path, content) =
        (format!("lib/modules/{RELEASE}/kernel/overlay.ko"), module("overlay", ""));
    let image = image(RELEASE);
    let kernel = Rpm {
        name: "kernel",
        version: VERSION,
        provides: &[],
        requires: &["coreutils", "dracut >= 004"],
        files: vec![
            Member::File(&vmlinuz, &image),
            Member::File(&config, b"CONFIG_BPF=y\n"),
            Member::File(&path, &content),
        ],
        payload: "w9.gzdio",
    };
    let package = repository.add(&kernel, None);
    // Signed with an rpm older than 4.14: the signature covers the payload too.
    signer.sign_package(&package, &["--rpmv3"]);
    repository.index(&["--location-prefix", "../../../../../../blobstore/b10b"], None);
    repository.publish(&lab.server, GUID);
    let dir = format!("http://cdn.example.org/{GUID}\n");
    lab.server.put(LIST, dir);
    lab.server.rename(
        &format!("{GUID}/Packages/{}", kernel.file()),
        &format!("blobstore/b10b/Packages/{}", kernel.file()),
    );
    assert_eq!(lab.update(), [""; 0]);
    let unpacked = lab.prepare().unwrap();
    assert_eq!(unpacked.release, RELEASE);
    assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), vmlinux(RELEASE, true));
    assert!(unpacked.config.is_some());
    assert_eq!(names(&unpacked.modules.find(&["overlay"]).unwrap()), ["overlay"]);

    // One more level up would lead outside the server.
    repository.index(&["--location-prefix", "../../../../../../../blobstore/b10b"], None);
    repository.publish(&lab.server, GUID);
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("is outside the repository"), "{error}");
    lab.server.put(LIST, "<html>not found</html>");
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("mirror.list names no directory of this mirror"), "{error}");
}
