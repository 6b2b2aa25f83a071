//! Unpacks packages into what a guest boots.
//!
//! Unpacking a kernel takes a second or more, so the store keeps the result as an artifact. It
//! contains the image, its ELF kernel, the configuration, the names of all modules, and the virtio
//! modules. Other modules are read from their package when they are needed.

use std::{collections::BTreeSet, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::{
        kernel::{Image, Unpacked},
        matrix::Arch,
    },
    digest::Digest,
    image::{
        error::FilesError,
        inspected::{CONFIG, Inspected, VMLINUX, file_name},
        members::{Content, VERSION, for_each_member, plain_module},
        module_file,
        modules::{Modules, Supply},
        packaged::PackagedModules,
    },
    package::{Member, PackageError},
    repository::fetch::StoredPackage,
    store::{Store, StoreError, UNPACKED, read_description, write_description, write_read_only},
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
    /// Whether the image has BTF; `None` if that can't be determined.
    has_btf: Option<bool>,
    builtin: BTreeSet<String>,
    /// All modules of the packages.
    modules: BTreeSet<String>,
    /// The modules whose files are in the artifact.
    kept: BTreeSet<String>,
}

/// Unpacks a kernel unless that was done before. `missing` are packages of it that are not available. Calls
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
    let (path, (description, image)) = store.artifact(&key, open, |scratch| {
        announce();
        build(store, release, packages, scratch)
    })?;
    let modules = Modules {
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
    };
    Ok(Unpacked {
        config: Some(path.join(CONFIG)).filter(|path| path.is_file()),
        has_btf: description.has_btf,
        modules,
        ..Unpacked::new(id, release, description.arch, image)
    })
}

/// The artifact key of a kernel that is unpacked from these packages.
pub(crate) fn key(release: &str, packages: impl Iterator<Item = Digest>) -> String {
    let inputs = packages.map(|digest| digest.to_string());
    let inputs: Vec<_> =
        [format!("kernel {VERSION} {release}")].into_iter().chain(inputs).collect();
    Digest::of(inputs.join(" ").as_bytes()).to_string()
}

/// The content of an artifact.
fn open(path: &Path) -> Option<(Description, Image)> {
    let description: Description = read_description(&path.join(UNPACKED))?;
    let image = Image::in_artifact(path, description.arch)?;
    Some((description, image))
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
    Ok(write_description(&scratch.join(UNPACKED), &artifact.description)?)
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
                let bytes = member.read(MAX_IMAGE).map_err(bad)?;
                let image = Inspected::of(&bytes).map_err(|source| FilesError::Image {
                    image: format!("{} of {package}", member.path),
                    source,
                })?;
                self.image(&image)
            }
            Some(Content::Config) => self.write(CONFIG, &member.read(MAX_TEXT).map_err(bad)?),
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

    fn image(&mut self, image: &Inspected<'_>) -> Result<(), FilesError> {
        self.has_image = true;
        self.description.arch = image.arch;
        self.description.has_btf = image.has_btf;
        if let Some(shipped) = &image.shipped {
            self.write(file_name(image.arch), shipped)?;
        }
        if let Some(vmlinux) = image.pvh_kernel() {
            self.write(VMLINUX, vmlinux)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), FilesError> {
        Ok(write_read_only(&self.dir.join(name), content)?)
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
