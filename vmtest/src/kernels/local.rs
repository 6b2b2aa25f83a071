//! Kernels that are on this machine already: image files, and the running kernel.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    Image, Unpacked,
    compression::read_bounded,
    digest::Digest,
    error::ErrorKind,
    matrix::FileSource,
    modules::Modules,
    store::{Store, StoreError},
    unpack::{Inspected, inspect},
    vmlinux::{ElfKernel, ImageError},
};

const MAX_IMAGE: u64 = 1 << 30;

/// Goes into the key of artifacts: to be raised with every change of how an image is read.
const VERSION: u32 = 1;

/// A kernel in files that somebody named.
pub(crate) fn file(store: &Store, id: &str, source: &FileSource) -> Result<Unpacked, ErrorKind> {
    let (image, release) = read_image(store, &source.image)?;
    let image = match &source.vmlinux {
        None => image,
        Some(vmlinux) => {
            let bytes = read(vmlinux)?;
            let kernel = ElfKernel::parse(&bytes).map_err(|e| unusable(vmlinux, e))?;
            if !kernel.has_pvh {
                return Err(unusable(vmlinux, ImageError::NoPvh));
            }
            Image { vmlinux: Some(vmlinux.clone()), ..image }
        }
    };
    for path in source.config.iter().chain(&source.btf) {
        readable(path)?;
    }
    let modules = match &source.modules {
        None => Modules::unknown(),
        Some(root) => tree(root)?,
    };
    Ok(Unpacked {
        id: id.to_owned(),
        release: release.unwrap_or_else(|| "unknown".to_owned()),
        image,
        config: source.config.clone(),
        btf: source.btf.clone(),
        modules,
    })
}

/// The running kernel. `root` is `/`, but in tests.
pub(crate) fn host(store: &Store, id: &str, root: &Path) -> Result<Unpacked, ErrorKind> {
    let path = root.join("proc/sys/kernel/osrelease");
    let release = fs::read_to_string(&path).map_err(|source| ErrorKind::Read { path, source })?;
    let release = release.trim();
    let folder = root.join("lib/modules").join(release);
    let images = [
        root.join(format!("boot/vmlinuz-{release}")),
        root.join("usr/lib/modules").join(release).join("vmlinuz"),
        folder.join("vmlinuz"),
    ];
    let Some(path) = images.iter().find(|path| path.exists()) else {
        let looked_for: Vec<_> = images.iter().map(|path| path.display().to_string()).collect();
        let looked_for = looked_for.join(", ");
        return Err(ErrorKind::NoHostKernel { release: release.to_owned(), looked_for });
    };
    let (image, _) = read_image(store, path)?;
    let configs = [root.join(format!("boot/config-{release}")), folder.join("config")];
    Ok(Unpacked {
        id: id.to_owned(),
        release: release.to_owned(),
        image,
        config: configs.into_iter().find(|path| path.is_file()),
        btf: None,
        modules: if folder.is_dir() { tree(&folder)? } else { Modules::unknown() },
    })
}

/// Checks an image and extracts the ELF kernel in it, unless that was done before.
fn read_image(store: &Store, path: &Path) -> Result<(Image, Option<String>), ErrorKind> {
    let bytes = read(path)?;
    let Inspected { release, is_elf, vmlinux } = inspect(&bytes).map_err(|e| unusable(path, e))?;
    let path = path.to_owned();
    if is_elf {
        return Ok((Image { bzimage: None, vmlinux: Some(path) }, release));
    }
    let vmlinux = match vmlinux {
        None => None,
        Some(vmlinux) => {
            let key = format!("image {VERSION} {}", Digest::of(&bytes));
            let key = Digest::of(key.as_bytes()).to_string();
            let artifact = store.artifact_or_build(&key, |scratch| {
                let path = scratch.join("vmlinux");
                fs::write(&path, &vmlinux).map_err(|e| StoreError::io("write", &path, e))
            })?;
            Some(artifact.join("vmlinux"))
        }
    };
    Ok((Image { bzimage: Some(path), vmlinux }, release))
}

fn read(path: &Path) -> Result<Vec<u8>, ErrorKind> {
    let open = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        read_bounded(&mut file, MAX_IMAGE)
    };
    open().map_err(|source| ErrorKind::Read { path: path.to_owned(), source })
}

fn readable(path: &PathBuf) -> Result<(), ErrorKind> {
    let probe = File::open(path).and_then(|mut file| file.read(&mut [0]));
    probe.map(drop).map_err(|source| ErrorKind::Read { path: path.clone(), source })
}

fn tree(root: &Path) -> Result<Modules, ErrorKind> {
    Modules::of_tree(root).map_err(|source| ErrorKind::Read { path: root.to_owned(), source })
}

fn unusable(path: &Path, source: ImageError) -> ErrorKind {
    ErrorKind::Image { image: path.display().to_string(), source }
}
