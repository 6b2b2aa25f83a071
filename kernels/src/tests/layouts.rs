//! The layout of Ubuntu's repositories: metapackages, modules in separate packages, and an index in
//! several compressions that is also available under its digest.

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::*;
use crate::test_support::{
    archive::{Entry, zstd_deb},
    suite::Suite,
};

/// The differences between Ubuntu releases.
#[derive(Clone, Copy)]
struct Ubuntu {
    suite: &'static str,
    codename: &'static str,
    release: &'static str,
    /// The versions of the metapackage and of the kernel.
    versions: [&'static str; 2],
    names: [&'static str; 3],
    index: &'static [Compression],
    deb: fn(&[u8]) -> Vec<u8>,
}

const FOCAL: Ubuntu = Ubuntu {
    suite: "focal-updates",
    codename: "focal",
    release: "5.4.0-216-generic",
    versions: ["5.4.0.216.208", "5.4.0-216.236"],
    names: [
        "linux-image-5.4.0-216-generic",
        "linux-modules-5.4.0-216-generic",
        "linux-modules-extra-5.4.0-216-generic",
    ],
    index: &[Compression::Gzip, Compression::Xz],
    deb,
};

const JAMMY: Ubuntu = Ubuntu {
    suite: "jammy-updates",
    codename: "jammy",
    release: "5.15.0-160-generic",
    versions: ["5.15.0.160.160", "5.15.0-160.170"],
    names: [
        "linux-image-5.15.0-160-generic",
        "linux-modules-5.15.0-160-generic",
        "linux-modules-extra-5.15.0-160-generic",
    ],
    index: &[Compression::Zstd],
    deb: zstd_deb,
};

impl Ubuntu {
    /// `linux-image-virtual` and its dependencies.
    fn packages(&self) -> Vec<Package> {
        let Ubuntu { release, versions: [meta, version], names: [image, modules, extra], .. } =
            *self;
        let vmlinuz =
            bzimage(release, Payload::Compressed(Compression::Zstd), &vmlinux(release, true));
        let below = |path: &str| format!("./lib/modules/{release}/{path}");
        let [builtin, pci] = ["modules.builtin", "kernel/drivers/virtio/virtio_pci.ko"].map(below);
        let (boot, config) =
            (format!("./boot/vmlinuz-{release}"), format!("./boot/config-{release}"));
        // The configuration is in the modules package.
        let with_modules = [
            Entry::Dir("./"),
            Entry::File(&config, b"CONFIG_BPF=y\n"),
            Entry::File(&builtin, b"kernel/drivers/virtio/virtio.ko\n"),
            Entry::File(&pci, &module("virtio_pci", "virtio")),
        ];
        let package = |name, version, depends, members: &[Entry<'_>]| Package {
            name,
            version,
            depends,
            content: (self.deb)(&tar(members)),
        };
        let on_modules: &'static str = match *self {
            Ubuntu { codename: "focal", .. } => {
                "kmod, linux-base (>= 4.5ubuntu1~16.04.1), linux-modules-5.4.0-216-generic"
            }
            _ => "kmod, linux-base (>= 4.5ubuntu1~16.04.1), linux-modules-5.15.0-160-generic",
        };
        vec![
            package("linux-image-virtual", meta, image, &[]),
            package("linux-image-generic", meta, image, &[]),
            package(image, version, on_modules, &[Entry::Dir("./"), Entry::File(&boot, &vmlinuz)]),
            package(modules, version, "", &with_modules),
            package(extra, version, image, &[]),
        ]
    }
}

#[rstest]
#[case::focal(FOCAL)]
#[case::jammy(JAMMY)]
fn ubuntu_is_followed_from_the_metapackage_to_a_kernel_that_boots(
    #[case] ubuntu: Ubuntu,
    #[values(false, true)] only_by_hash: bool,
) {
    let lab = Lab::new();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let suite = format!("suite = \"{}\"", ubuntu.suite);
    let matrix = matrix.replace("suite = \"stable\"", &suite);
    lab.write(MATRIX_FILE, &matrix.replace("linux-image-cloud", "linux-image-virtual"));
    let published = Suite {
        root: "",
        name: ubuntu.suite,
        codename: ubuntu.codename,
        // Ubuntu's release files have no expiry date.
        date: Timestamp::now() - SignedDuration::from_hours(60 * 24),
        valid_for: None,
        compressions: ubuntu.index,
        only_by_hash,
    };
    published.publish(&lab.server, &lab.author, &ubuntu.packages());
    assert_eq!(lab.update(), [""; 0]);
    let index = lab.server.requests().pop().unwrap();
    assert!(index.contains("/main/binary-amd64/by-hash/SHA256/"), "{index}");
    let kernels = lab.open();
    let locked = kernels.locked(&kernels.matrix().entries[0]).unwrap();
    assert_eq!((&*locked.release, &*locked.version), (ubuntu.release, ubuntu.versions[1]));
    let files: Vec<_> = locked.files.iter().map(|file| (file.role, file.name())).collect();
    let of = |name: &str| format!("{name}_{}_amd64.deb", ubuntu.versions[1]);
    let [image, modules, _] = ubuntu.names.map(of);
    assert_eq!(files, [(Role::Image, &*image), (Role::Modules, &*modules)]);

    let unpacked = lab.prepare().unwrap();
    assert_eq!(unpacked.release, ubuntu.release);
    assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), vmlinux(ubuntu.release, true));
    assert_eq!(fs::read_to_string(unpacked.config.as_ref().unwrap()).unwrap(), "CONFIG_BPF=y\n");
    assert_eq!(names(&unpacked.modules.find(&["virtio_pci"]).unwrap()), ["virtio_pci"]);
}

#[test]
fn a_dir_with_an_index_in_it_is_a_repository() {
    let lab = Lab::new();
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let flat = matrix.replace("suite = \"stable\", component = \"main\"", "suite = \"./\"");
    lab.write(MATRIX_FILE, &flat);
    let packages = [meta(), kernel()];
    let index = test_support::repository::index(&packages).replace("Filename: ", "Filename: ./");
    let release = format!(
        "Date: {}\nSHA256:\n {} {:16} Packages\n",
        Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000"),
        Digest::of(index.as_bytes()),
        index.len()
    );
    lab.server.put("InRelease", lab.author.sign(&release));
    lab.server.put("Packages", index);
    for package in packages {
        lab.server.put(&package.path(), package.content.clone());
    }
    assert_eq!(lab.update(), [""; 0]);
    assert_eq!(lab.prepare().unwrap().release, RELEASE);
}
