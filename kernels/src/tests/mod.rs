//! Complete runs from a matrix to a bootable kernel, with a repository on the loopback interface.

mod adding;
mod building;
mod built_in;
mod dated;
mod fetching;
mod first_use;
mod layouts;
mod rpm;
mod updating;
mod url;
mod verifying;

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    catalog::{
        built_in::BuiltIn,
        data::Catalog,
        lock_file::{LOCAL_LOCK_FILE, LOCK_FILE},
        manifest::{self, OVERLAY_FILE},
    },
    compression::Compression,
    paths::{Location, MATRIX_FILE},
    repository::download,
    test_support::{
        archive::{Entry as Member, compress, deb, tar},
        author::Author,
        image::{Payload, bzimage, module, vmlinux},
        repository::{Package, publish, release},
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
    built_in: Option<BuiltIn>,
    server: Server,
    author: Author,
}

impl Lab {
    fn new() -> Self {
        let lab = Lab {
            root: tempfile::tempdir().unwrap(),
            built_in: None,
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

    /// Names mirrors of the repository in the overlay.
    fn mirrors(&self, urls: &[&str]) {
        self.write(OVERLAY_FILE, &format!("schema = 1\n[mirror]\nsample = {urls:?}\n"));
    }

    fn publish(&self, packages: &[Package]) {
        publish(&self.server, &self.author, SUITE, packages);
    }

    fn open(&self) -> Kernels {
        let store = Store::open(self.root.path().join("store")).unwrap();
        let client = download::Client::direct(Duration::from_secs(20));
        let root = self.root.path();
        let catalog = Catalog::read(root, self.built_in.clone(), store, root, client).unwrap();
        Kernels::of(catalog, Location::Checkout(root.to_owned()), root)
    }

    /// Updates the lock, and returns the errors of entries that could not be resolved.
    fn update(&self) -> Vec<String> {
        let kernels = self.open();
        let update = kernels.update(&kernels.matrix().entries, &Silent);
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
