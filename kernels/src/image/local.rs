//! Kernels that are already on this machine: image files, and the running kernel.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::{
        kernel::{Image, UNKNOWN_RELEASE, Unpacked},
        matrix::{Arch, FileSource},
    },
    compression::read_bounded,
    digest::Digest,
    image::{
        FilesError,
        inspected::{Inspected, VMLINUX, file_name},
        modules::Modules,
        vmlinux::ImageError,
    },
    store::{Store, read_description, write_description, write_read_only},
};

const MAX_IMAGE: u64 = 1 << 30;

/// Part of the key of artifacts. Raise it with every change of how an image is read.
const VERSION: u32 = 3;

/// The description of an image, in its artifact.
const DESCRIPTION: &str = "image.json";

/// A kernel from files that an entry or the user names.
pub(crate) fn file(store: &Store, id: &str, source: &FileSource) -> Result<Unpacked, FilesError> {
    let mut kernel = of_image(store, id, &source.image)?;
    if let Some(vmlinux) = &source.vmlinux {
        let bytes = read(vmlinux)?;
        let inspected = Inspected::of_elf(&bytes).map_err(|error| unusable(vmlinux, error))?;
        kernel.has_btf = inspected.has_btf;
        kernel.image.vmlinux = Some(vmlinux.clone());
    }
    if let Some(path) = &source.config {
        readable(path)?;
        kernel.config = Some(path.clone());
    }
    if let Some(root) = &source.modules {
        kernel.modules = tree(root)?;
    }
    Ok(kernel)
}

/// The running kernel. `root` is the root directory of the machine: `/`, except in tests.
pub(crate) fn host(store: &Store, id: &str, root: &Path) -> Result<Unpacked, FilesError> {
    let path = root.join("proc/sys/kernel/osrelease");
    let release = fs::read_to_string(&path).map_err(|source| FilesError::Read { path, source })?;
    let release = release.trim();
    let dir = root.join("lib/modules").join(release);
    let images = [
        root.join(format!("boot/vmlinuz-{release}")),
        root.join("usr/lib/modules").join(release).join("vmlinuz"),
        dir.join("vmlinuz"),
    ];
    let Some(path) = images.iter().find(|path| path.exists()) else {
        let looked_for: Vec<_> = images.iter().map(|path| path.display().to_string()).collect();
        let looked_for = looked_for.join(", ");
        return Err(FilesError::NoHostKernel { release: release.to_owned(), looked_for });
    };
    let configs = [root.join(format!("boot/config-{release}")), dir.join("config")];
    Ok(Unpacked {
        release: release.to_owned(),
        config: configs.into_iter().find(|path| path.is_file()),
        modules: if dir.is_dir() { tree(&dir)? } else { Modules::unknown() },
        ..of_image(store, id, path)?
    })
}

/// What an image file is, in its artifact. The artifact also has the file that boots, if that had to be
/// decompressed.
#[derive(Serialize, Deserialize)]
struct Description {
    arch: Arch,
    release: Option<String>,
    has_btf: Option<bool>,
    /// Whether the file is a bzImage, or an image of arm64.
    is_shipped: bool,
}

/// The kernel in an image file, which is inspected and decompressed unless that was done before.
fn of_image(store: &Store, id: &str, path: &Path) -> Result<Unpacked, FilesError> {
    let bytes = read(path)?;
    let key = format!("image {VERSION} {}", Digest::of(&bytes));
    let key = Digest::of(key.as_bytes()).to_string();
    let describe = |scratch: &Path| -> Result<(), FilesError> {
        let image = Inspected::of(&bytes).map_err(|source| unusable(path, source))?;
        if let Some(Cow::Owned(shipped)) = &image.shipped {
            write_read_only(&scratch.join(file_name(image.arch)), shipped)?;
        }
        if let Some(Cow::Owned(vmlinux)) = image.pvh_kernel() {
            write_read_only(&scratch.join(VMLINUX), vmlinux)?;
        }
        let Inspected { arch, release, has_btf, .. } = image;
        let is_shipped = image.shipped.is_some();
        write_description(
            &scratch.join(DESCRIPTION),
            &Description { arch, release, has_btf, is_shipped },
        )?;
        Ok(())
    };
    let open = |dir: &Path| read_description::<Description>(&dir.join(DESCRIPTION));
    let (dir, Description { arch, release, has_btf, is_shipped }) =
        store.artifact(&key, open, describe)?;
    let decompressed = |name| Some(dir.join(name)).filter(|path| path.is_file());
    let image = match is_shipped {
        true => Image {
            bzimage: decompressed(file_name(arch)).or(Some(path.to_owned())),
            vmlinux: decompressed(VMLINUX),
        },
        false => Image { bzimage: None, vmlinux: Some(path.to_owned()) },
    };
    let release = release.unwrap_or_else(|| UNKNOWN_RELEASE.to_owned());
    Ok(Unpacked { has_btf, ..Unpacked::new(id, &release, arch, image) })
}

fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    let open = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        read_bounded(&mut file, MAX_IMAGE)
    };
    open().map_err(|source| FilesError::Read { path: path.to_owned(), source })
}

fn readable(path: &PathBuf) -> Result<(), FilesError> {
    let probe = File::open(path).and_then(|mut file| file.read(&mut [0]));
    probe.map(drop).map_err(|source| FilesError::Read { path: path.clone(), source })
}

fn tree(root: &Path) -> Result<Modules, FilesError> {
    Modules::of_tree(root).map_err(|source| FilesError::Read { path: root.to_owned(), source })
}

fn unusable(path: &Path, source: ImageError) -> FilesError {
    FilesError::Image { image: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compression::Compression,
        error_chain::chain,
        test_support::image::{Payload, bzimage, module, vmlinux, vmlinux_with_btf},
    };

    struct Machine {
        root: tempfile::TempDir,
        store: Store,
    }

    impl Machine {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for (path, content) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            let store = Store::open(root.path().join("store")).unwrap();
            Machine { root, store }
        }

        fn file(&self, image: &str) -> Result<Unpacked, FilesError> {
            self.file_with(image, |_| {})
        }

        fn file_with(
            &self,
            image: &str,
            edit: impl FnOnce(&mut FileSource),
        ) -> Result<Unpacked, FilesError> {
            let image = self.path(image);
            let mut source = FileSource { image, vmlinux: None, modules: None, config: None };
            edit(&mut source);
            file(&self.store, "id", &source)
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }
    }

    const RELEASE: &str = "5.4.273";

    #[test]
    fn a_bzimage_boots_by_the_kernel_in_it() {
        let kernel = vmlinux(RELEASE, true);
        let image = bzimage(RELEASE, Payload::Compressed(Compression::Xz), &kernel);
        let machine = Machine::new(&[("bzImage", &image)]);
        let unpacked = machine.file("bzImage").unwrap();
        assert_eq!(unpacked.release, RELEASE);
        assert_eq!(unpacked.image.bzimage, Some(machine.path("bzImage")));
        assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), kernel);
        // The second result comes from the store.
        assert_eq!(machine.file("bzImage").unwrap().image, unpacked.image);
    }

    #[test]
    fn an_image_tells_whether_it_has_btf() {
        let of = |kernel: &[u8]| bzimage(RELEASE, Payload::Compressed(Compression::Xz), kernel);
        let machine = Machine::new(&[
            ("with", &of(&vmlinux_with_btf(RELEASE, 1, true))),
            ("without", &of(&vmlinux(RELEASE, true))),
            ("unknown", &bzimage(RELEASE, Payload::Bzip2, b"")),
            ("vmlinux", &vmlinux(RELEASE, true)),
        ]);
        for (image, has_btf) in [
            ("with", Some(true)),
            ("without", Some(false)),
            ("unknown", None),
            ("vmlinux", Some(false)),
        ] {
            // The second answer comes from the store.
            for _ in 0..2 {
                assert_eq!(machine.file(image).unwrap().has_btf, has_btf, "{image}");
            }
        }
        // The file that boots decides.
        let vmlinux = Some(machine.path("vmlinux"));
        let unpacked = machine.file_with("unknown", |source| source.vmlinux = vmlinux).unwrap();
        assert_eq!(unpacked.has_btf, Some(false));
    }

    #[test]
    fn a_bzimage_without_a_pvh_kernel_boots_itself() {
        let image = bzimage(RELEASE, Payload::Plain, &vmlinux(RELEASE, false));
        let machine = Machine::new(&[("bzImage", &image)]);
        let unpacked = machine.file("bzImage").unwrap();
        assert_eq!(unpacked.image.fastest(), machine.path("bzImage"));
    }

    #[test]
    fn a_vmlinux_boots_if_it_has_a_pvh_entry() {
        let machine = Machine::new(&[
            ("vmlinux", &vmlinux(RELEASE, true)),
            ("old", &vmlinux("4.18.0", false)),
        ]);
        let unpacked = machine.file("vmlinux").unwrap();
        assert_eq!(unpacked.image.fastest(), machine.path("vmlinux"));
        assert_eq!(unpacked.release, RELEASE);
        let error = machine.file("old").unwrap_err();
        assert!(chain(&error).contains("build it with CONFIG_PVH=y"), "{}", chain(&error));
    }

    #[test]
    fn everything_that_an_entry_names_must_be_there() {
        let image = bzimage(RELEASE, Payload::Bzip2, b"");
        let machine = Machine::new(&[
            ("bzImage", &image),
            ("vmlinux", &vmlinux(RELEASE, true)),
            ("config", b"CONFIG_X=y"),
            ("modules/kernel/a.ko", &module("a", "")),
        ]);
        let unpacked = machine
            .file_with("bzImage", |source| {
                source.vmlinux = Some(machine.path("vmlinux"));
                source.config = Some(machine.path("config"));
                source.modules = Some(machine.path("modules"));
            })
            .unwrap();
        assert_eq!(unpacked.image.fastest(), machine.path("vmlinux"));
        assert_eq!(unpacked.modules.find(&["a"]).unwrap().load.len(), 1);
        let edits: [fn(&mut FileSource); 3] = [
            |source| source.vmlinux = Some("/absent/file".into()),
            |source| source.config = Some("/absent/file".into()),
            |source| source.modules = Some("/absent/file".into()),
        ];
        for edit in edits {
            let error = machine.file_with("bzImage", edit).unwrap_err();
            assert!(error.to_string().contains("/absent/file"), "{error}");
        }
    }

    #[test]
    fn other_files_are_refused_with_their_path() {
        let machine = Machine::new(&[("text", b"#!/bin/sh\n"), ("directory/file", b"")]);
        for (name, expected) in [
            ("text", "text: not a kernel image: it has no x86 boot header"),
            ("directory", "directory: not a regular file"),
            ("absent", "absent: No such file"),
        ] {
            let error = chain(&machine.file(name).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_running_kernel_is_found_with_its_modules() {
        let image = bzimage("6.1.0-x", Payload::Lz4, &vmlinux("6.1.0-x", true));
        let release: (&str, &[u8]) = ("proc/sys/kernel/osrelease", b"6.1.0-x\n");
        for place in ["boot/vmlinuz-6.1.0-x", "usr/lib/modules/6.1.0-x/vmlinuz"] {
            let machine = Machine::new(&[
                release,
                (place, &image),
                ("boot/config-6.1.0-x", b""),
                ("lib/modules/6.1.0-x/kernel/a.ko", &module("a", "")),
            ]);
            let unpacked = host(&machine.store, "host", machine.root.path()).unwrap();
            assert_eq!(unpacked.release, "6.1.0-x");
            assert_eq!(unpacked.config, Some(machine.path("boot/config-6.1.0-x")));
            assert_eq!(unpacked.modules.find(&["a"]).unwrap().load.len(), 1);
        }
        let machine = Machine::new(&[release]);
        let error = host(&machine.store, "host", machine.root.path()).unwrap_err().to_string();
        assert!(error.contains("boot/vmlinuz-6.1.0-x, "), "{error}");
        let error = host(&machine.store, "host", Path::new("/absent")).unwrap_err().to_string();
        assert!(error.contains("/absent/proc/sys/kernel/osrelease"), "{error}");
    }

    #[test]
    fn an_unreadable_image_comes_with_advice() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = FilesError::Read { path: "/boot/vmlinuz-6.1".into(), source };
        assert!(error.to_string().contains("readable only by root"), "{error}");
    }
}
