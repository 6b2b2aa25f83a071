//! Unpacks packages into what a guest boots.
//!
//! Unpacking a kernel takes a second or more, so the store keeps the result as an artifact. It
//! contains the image, its ELF kernel, the configuration, the names of all modules, and the virtio
//! modules. Other modules are read from their package when they are needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::{
        kernel::{Image, Unpacked},
        matrix::{Arch, MEMORY_MIB, PROCESSORS},
    },
    digest::Digest,
    image::{
        Arm64Image,
        error::FilesError,
        is_arm64,
        members::{Content, VERSION, for_each_member, plain_module, write},
        module_file,
        modules::{Modules, Supply},
        packaged::PackagedModules,
        vmlinux::{BzImage, ElfKernel, ImageError, is_elf},
    },
    package::{Member, PackageError},
    repository::fetch::StoredPackage,
    store::{Store, StoreError, UNPACKED},
};

const MAX_IMAGE: u64 = 1 << 30;
const MAX_TEXT: u64 = 64 << 20;

/// Modules whose names start with this are kept in the artifact.
const KEPT: &str = "virtio";

/// The description of an artifact, in its `kernel.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Description {
    release: String,
    #[serde(default)]
    arch: Arch,
    has_bzimage: bool,
    has_vmlinux: bool,
    has_config: bool,
    /// Whether the image has BTF; `None` if that can't be determined.
    has_btf: Option<bool>,
    builtin: BTreeSet<String>,
    /// All modules of the packages.
    modules: BTreeSet<String>,
    /// The modules whose files are in the artifact.
    kept: BTreeSet<String>,
    /// The size of every file in the artifact, to detect damage.
    sizes: BTreeMap<String, u64>,
}

/// Unpacks a kernel unless that was done before. `missing` are packages of it that can't be had. Calls
/// `announce` before it starts.
pub(crate) fn unpack(
    store: &Store,
    id: &str,
    release: &str,
    packages: &[StoredPackage],
    missing: &[String],
    announce: &mut dyn FnMut(),
) -> Result<Unpacked, FilesError> {
    let key = key(release, packages.iter().map(|package| package.object.digest()));
    let (path, description) = store.artifact(&key, open, |scratch| {
        announce();
        build(store, release, packages, scratch)
    })?;
    let file = |there: bool, name: &str| there.then(|| path.join(name));
    Ok(Unpacked {
        id: id.to_owned(),
        release: release.to_owned(),
        version: None,
        sha256: None,
        arch: description.arch,
        memory_mib: MEMORY_MIB,
        processors: PROCESSORS,
        image: Image {
            bzimage: file(description.has_bzimage, shipped(description.arch)),
            vmlinux: file(description.has_vmlinux, "vmlinux"),
        },
        config: file(description.has_config, "config"),
        has_btf: description.has_btf,
        modules: Modules {
            builtin: description.builtin,
            supply: Supply::Packages(PackagedModules {
                all: description.modules,
                kept: description.kept,
                dir: path.join("modules"),
                release: release.to_owned(),
                packages: packages.to_vec(),
                store: store.clone(),
            }),
            missing: missing.to_vec(),
        },
    })
}

/// The name of the image that distributions ship.
fn shipped(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "bzImage",
        Arch::Aarch64 => "Image",
    }
}

/// The artifact key of a kernel that is unpacked from these packages.
pub(crate) fn key(release: &str, packages: impl Iterator<Item = Digest>) -> String {
    let inputs = packages.map(|digest| digest.to_string());
    let inputs: Vec<_> =
        [format!("kernel {VERSION} {release}")].into_iter().chain(inputs).collect();
    Digest::of(inputs.join(" ").as_bytes()).to_string()
}

/// The description of an artifact, if all its files exist with their recorded sizes.
fn open(path: &Path) -> Option<Description> {
    let text = fs::read(path.join(UNPACKED)).ok()?;
    let description: Description = serde_json::from_slice(&text).ok()?;
    let is_whole = |(name, size): (&String, &u64)| {
        fs::metadata(path.join(name)).is_ok_and(|metadata| metadata.len() == *size)
    };
    description.sizes.iter().all(is_whole).then_some(description)
}

fn build(
    store: &Store,
    release: &str,
    packages: &[StoredPackage],
    scratch: &Path,
) -> Result<(), FilesError> {
    let mut artifact = Artifact {
        dir: scratch,
        description: Description { release: release.to_owned(), ..Description::default() },
        has_image: false,
    };
    let dir = scratch.join("modules");
    fs::create_dir(&dir).map_err(|e| StoreError::io("create", &dir, e))?;
    for package in packages {
        for_each_member(store, package, |member| artifact.take(release, &package.file, member))?;
    }
    if !artifact.has_image {
        let file = packages.first().map(|package| package.file.clone()).unwrap_or_default();
        return Err(FilesError::Package { file, source: PackageError::Lacks("kernel image") });
    }
    let text = serde_json::to_vec(&artifact.description)
        .map_err(|e| StoreError::io("write", scratch, e.into()))?;
    write(&scratch.join(UNPACKED), &text)
}

/// The release of the only kernel in a package.
pub(crate) fn release_of(store: &Store, package: &StoredPackage) -> Result<String, FilesError> {
    let mut releases = BTreeSet::new();
    for_each_member(store, package, |member| {
        releases.extend(release_of_image(member.path).map(str::to_owned));
        Ok::<_, FilesError>(())
    })?;
    let bad = |source| FilesError::Package { file: package.file.clone(), source };
    let mut releases = releases.into_iter();
    match (releases.next(), releases.next()) {
        (Some(release), None) => Ok(release),
        (None, _) => Err(bad(PackageError::Lacks("kernel image"))),
        (Some(first), Some(second)) => {
            let all: Vec<_> = [first, second].into_iter().chain(releases).collect();
            Err(bad(PackageError::SeveralKernels(all.join(", "))))
        }
    }
}

/// The release of an image, according to its path.
fn release_of_image(path: &str) -> Option<&str> {
    if let Some(release) = path.strip_prefix("boot/vmlinuz-") {
        return (!release.contains('/')).then_some(release);
    }
    let path = path.strip_prefix("usr/").unwrap_or(path);
    let (release, file) = path.strip_prefix("lib/modules/")?.split_once('/')?;
    matches!(file, "vmlinuz" | "vmlinuz.unsigned").then_some(release)
}

/// An artifact that is being written.
struct Artifact<'a> {
    dir: &'a Path,
    description: Description,
    has_image: bool,
}

impl Artifact<'_> {
    fn take(
        &mut self,
        release: &str,
        package: &str,
        member: &mut Member<'_>,
    ) -> Result<(), FilesError> {
        let file = || package.to_owned();
        let bad = |source| FilesError::Package { file: file(), source };
        match Content::of(member.path, release) {
            None => Ok(()),
            Some(Content::Image) if self.has_image => Ok(()),
            Some(Content::Image) => {
                let image = format!("{} of {}", member.path, package);
                let bytes = member.read(MAX_IMAGE).map_err(bad)?;
                self.image(&bytes).map_err(|kind| match kind {
                    Refused::Image(source) => FilesError::Image { image, source },
                    Refused::Other(kind) => kind,
                })
            }
            Some(Content::Config) => {
                self.description.has_config = true;
                self.write("config", &member.read(MAX_TEXT).map_err(bad)?)
            }
            Some(Content::Builtin) => {
                let text = member.read(MAX_TEXT).map_err(bad)?;
                self.description.builtin =
                    module_file::parse_builtin(&String::from_utf8_lossy(&text));
                Ok(())
            }
            Some(Content::Module(name)) => {
                if name.starts_with(KEPT) {
                    let content = plain_module(member).map_err(bad)?;
                    self.write(&format!("modules/{name}.ko"), &content)?;
                    self.description.kept.insert(name.clone());
                }
                self.description.modules.insert(name);
                Ok(())
            }
        }
    }

    fn image(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if is_arm64(bytes) {
            let image = Arm64Image::parse(bytes)?;
            self.has_image = true;
            self.description.arch = Arch::Aarch64;
            self.description.has_btf = Some(image.has_btf);
            self.description.has_bzimage = true;
            return Ok(self.write(shipped(Arch::Aarch64), &image.content)?);
        }
        if is_elf(bytes) {
            let kernel = ElfKernel::parse(bytes)?;
            if !kernel.has_pvh {
                return Err(ImageError::NoPvh.into());
            }
            self.has_image = true;
            self.description.has_btf = Some(kernel.has_btf);
            self.description.has_vmlinux = true;
            return Ok(self.write("vmlinux", bytes)?);
        }
        let image = BzImage::parse(bytes)?;
        self.has_image = true;
        self.description.has_bzimage = true;
        self.write(shipped(Arch::X86_64), bytes)?;
        let Some(vmlinux) = image.extract()? else { return Ok(()) };
        let kernel = ElfKernel::parse(&vmlinux)?;
        self.description.has_btf = Some(kernel.has_btf);
        if kernel.has_pvh {
            self.description.has_vmlinux = true;
            self.write("vmlinux", &vmlinux)?;
        }
        Ok(())
    }

    fn write(&mut self, name: &str, content: &[u8]) -> Result<(), FilesError> {
        self.description.sizes.insert(name.to_owned(), content.len() as u64);
        write(&self.dir.join(name), content)
    }
}

enum Refused {
    Image(ImageError),
    Other(FilesError),
}

impl From<ImageError> for Refused {
    fn from(error: ImageError) -> Self {
        Refused::Image(error)
    }
}

impl From<FilesError> for Refused {
    fn from(kind: FilesError) -> Self {
        Refused::Other(kind)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("boot/vmlinuz-6.1-x", Some("6.1-x"))]
    #[case("boot/vmlinuz-6.1-x/evil", None)]
    #[case("usr/lib/modules/6.1-x/vmlinuz", Some("6.1-x"))]
    #[case("lib/modules/6.1-x/kernel/vmlinuz", None)]
    #[case("boot/vmlinux-6.1-x", None)]
    fn an_image_tells_its_release(#[case] path: &str, #[case] expected: Option<&str>) {
        assert_eq!(release_of_image(path), expected);
    }
}
