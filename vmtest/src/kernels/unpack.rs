//! From packages to what a guest boots.
//!
//! Unpacking a kernel takes a second or more, so the result is kept in the store as an artifact.
//! It holds the image, the ELF kernel in it, the configuration, the names of all modules, and the
//! modules of virtio devices; any other module is read from its package when it is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    digest::{Digest, HashingReader},
    error::ErrorKind,
    fetch::StoredPackage,
    matrix::{MEMORY_MIB, PROCESSORS},
    modules::{self, MAX_MODULE, Modules, Supply},
    package::{self, Member, PackageError},
    packaged::PackagedModules,
    phases::{Image, Unpacked},
    store::{Store, StoreError},
    vmlinux::{BzImage, ElfKernel, ImageError, is_elf},
};

/// Goes into the key of artifacts: to be raised with every change of what unpacking makes.
pub(crate) const VERSION: u32 = 3;

const MAX_IMAGE: u64 = 1 << 30;
const MAX_TEXT: u64 = 64 << 20;

/// Modules whose names begin so are kept in the artifact.
const KEPT: &str = "virtio";

/// The file that every unpacked kernel has, and no other artifact.
pub(crate) const DESCRIPTION: &str = "kernel.json";

/// What an artifact holds; in its `kernel.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Description {
    release: String,
    has_bzimage: bool,
    has_vmlinux: bool,
    has_config: bool,
    /// Whether the image has type information; none if that can't be told.
    has_btf: Option<bool>,
    builtin: BTreeSet<String>,
    /// All modules of the packages.
    modules: BTreeSet<String>,
    /// Those whose files are in the artifact.
    kept: BTreeSet<String>,
    /// The size of every file in the artifact, for seeing damage.
    sizes: BTreeMap<String, u64>,
}

/// Unpacks a kernel, or finds that this was done before; `announce` is called if there is work.
pub(crate) fn unpack(
    store: &Store,
    id: &str,
    release: &str,
    packages: &[StoredPackage],
    announce: &mut dyn FnMut(),
) -> Result<Unpacked, ErrorKind> {
    let key = key(release, packages.iter().map(|package| package.object.digest()));
    let (path, description) = store.artifact(&key, open, |scratch| {
        announce();
        build(store, release, packages, scratch)
    })?;
    let file = |there: bool, name: &str| there.then(|| path.join(name));
    Ok(Unpacked {
        id: id.to_owned(),
        release: release.to_owned(),
        memory_mib: MEMORY_MIB,
        processors: PROCESSORS,
        image: Image {
            bzimage: file(description.has_bzimage, "bzImage"),
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
        },
    })
}

/// What a kernel that is unpacked from these packages is kept under.
pub(crate) fn key(release: &str, packages: impl Iterator<Item = Digest>) -> String {
    let inputs = packages.map(|digest| digest.to_string());
    let inputs: Vec<_> =
        [format!("kernel {VERSION} {release}")].into_iter().chain(inputs).collect();
    Digest::of(inputs.join(" ").as_bytes()).to_string()
}

/// The description of an artifact whose files are all there, with their sizes.
fn open(path: &Path) -> Option<Description> {
    let text = fs::read(path.join(DESCRIPTION)).ok()?;
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
) -> Result<(), ErrorKind> {
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
        return Err(ErrorKind::Package { file, source: PackageError::Lacks("kernel image") });
    }
    let text = serde_json::to_vec(&artifact.description)
        .map_err(|e| StoreError::io("write", scratch, e.into()))?;
    write(&scratch.join(DESCRIPTION), &text)
}

/// Reads a package from the store, checking on the way that it still is what was stored.
pub(crate) fn for_each_member(
    store: &Store,
    package: &StoredPackage,
    mut visit: impl FnMut(&mut Member<'_>) -> Result<(), ErrorKind>,
) -> Result<(), ErrorKind> {
    let outcome = read(store, package, |reader| {
        package::for_each_member(reader, |member| visit(member).map_err(Failure::Visit))
    })?;
    outcome.map_err(|failure| match failure {
        Failure::Visit(kind) => kind,
        Failure::Package(source) => ErrorKind::Package { file: package.file.clone(), source },
    })
}

/// Reads a file of the store, and what `examine` leaves of it too, to check that it still is what
/// was stored.
pub(crate) fn read<T>(
    store: &Store,
    package: &StoredPackage,
    examine: impl FnOnce(&mut dyn io::Read) -> T,
) -> Result<T, ErrorKind> {
    let path = package.object.path();
    let unreadable = |source| ErrorKind::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut reader = HashingReader::new(io::BufReader::with_capacity(1 << 16, file));
    let outcome = examine(&mut reader);
    if reader.finish().map_err(unreadable)? != package.object.digest() {
        store.discard(&package.object)?;
        return Err(ErrorKind::StoreDamaged { digest: package.object.digest() });
    }
    Ok(outcome)
}

/// The release of the one kernel in a package.
pub(crate) fn release_of(store: &Store, package: &StoredPackage) -> Result<String, ErrorKind> {
    let mut releases = BTreeSet::new();
    for_each_member(store, package, |member| {
        releases.extend(release_of_image(member.path).map(str::to_owned));
        Ok(())
    })?;
    let bad = |source| ErrorKind::Package { file: package.file.clone(), source };
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

/// The release that an image is of, by its path.
fn release_of_image(path: &str) -> Option<&str> {
    if let Some(release) = path.strip_prefix("boot/vmlinuz-") {
        return (!release.contains('/')).then_some(release);
    }
    let path = path.strip_prefix("usr/").unwrap_or(path);
    let (release, file) = path.strip_prefix("lib/modules/")?.split_once('/')?;
    matches!(file, "vmlinuz" | "vmlinuz.unsigned").then_some(release)
}

enum Failure {
    Visit(ErrorKind),
    Package(PackageError),
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Self {
        Failure::Package(error)
    }
}

/// What a member of a package is to a kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Image,
    Config,
    Builtin,
    Module(String),
}

impl Content {
    pub(crate) fn of(path: &str, release: &str) -> Option<Self> {
        if let Some(name) = path.strip_prefix("boot/") {
            let (kind, of) = name.split_once('-')?;
            return match kind {
                "vmlinuz" if of == release => Some(Content::Image),
                "config" if of == release => Some(Content::Config),
                _ => None,
            };
        }
        let path = path.strip_prefix("usr/").unwrap_or(path);
        let path = path.strip_prefix("lib/modules/")?.strip_prefix(release)?.strip_prefix('/')?;
        match path {
            "vmlinuz" | "vmlinuz.unsigned" => Some(Content::Image),
            "config" => Some(Content::Config),
            "modules.builtin" => Some(Content::Builtin),
            path => modules::name_of_path(path).map(Content::Module),
        }
    }
}

/// An artifact in the making.
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
    ) -> Result<(), ErrorKind> {
        let file = || package.to_owned();
        let bad = |source| ErrorKind::Package { file: file(), source };
        match Content::of(member.path, release) {
            None => Ok(()),
            Some(Content::Image) if self.has_image => Ok(()),
            Some(Content::Image) => {
                let image = format!("{} of {}", member.path, package);
                let bytes = member.read(MAX_IMAGE).map_err(bad)?;
                self.image(&bytes).map_err(|kind| match kind {
                    Refused::Image(source) => ErrorKind::Image { image, source },
                    Refused::Other(kind) => kind,
                })
            }
            Some(Content::Config) => {
                self.description.has_config = true;
                self.write("config", &member.read(MAX_TEXT).map_err(bad)?)
            }
            Some(Content::Builtin) => {
                let text = member.read(MAX_TEXT).map_err(bad)?;
                self.description.builtin = modules::parse_builtin(&String::from_utf8_lossy(&text));
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
        self.write("bzImage", bytes)?;
        let Some(vmlinux) = image.extract()? else { return Ok(()) };
        let kernel = ElfKernel::parse(&vmlinux)?;
        self.description.has_btf = Some(kernel.has_btf);
        if kernel.has_pvh {
            self.description.has_vmlinux = true;
            self.write("vmlinux", &vmlinux)?;
        }
        Ok(())
    }

    fn write(&mut self, name: &str, content: &[u8]) -> Result<(), ErrorKind> {
        self.description.sizes.insert(name.to_owned(), content.len() as u64);
        write(&self.dir.join(name), content)
    }
}

enum Refused {
    Image(ImageError),
    Other(ErrorKind),
}

impl From<ImageError> for Refused {
    fn from(error: ImageError) -> Self {
        Refused::Image(error)
    }
}

impl From<ErrorKind> for Refused {
    fn from(kind: ErrorKind) -> Self {
        Refused::Other(kind)
    }
}

pub(crate) fn plain_module(member: &mut Member<'_>) -> Result<Vec<u8>, PackageError> {
    let compressed = member.read(MAX_MODULE)?;
    Ok(modules::decompress(member.path, &compressed[..])?)
}

pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), ErrorKind> {
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o444)))
        .map_err(|e| StoreError::io("write", path, e).into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("boot/vmlinuz-6.1-x", Some(Content::Image))]
    #[case("boot/config-6.1-x", Some(Content::Config))]
    #[case("boot/System.map-6.1-x", None)]
    #[case("boot/vmlinuz-6.1-y", None)]
    #[case("usr/lib/modules/6.1-x/vmlinuz", Some(Content::Image))]
    #[case("usr/lib/modules/6.1-x/vmlinuz.unsigned", Some(Content::Image))]
    #[case("lib/modules/6.1-x/config", Some(Content::Config))]
    #[case("lib/modules/6.1-x/modules.builtin", Some(Content::Builtin))]
    #[case("lib/modules/6.1-x/modules.builtin.modinfo", None)]
    #[case("lib/modules/6.1-x/kernel/a-b.ko.xz", Some(Content::Module("a_b".to_owned())))]
    #[case("lib/modules/6.1-xy/kernel/a.ko", None)]
    #[case("usr/share/doc/linux/copyright", None)]
    fn members(#[case] path: &str, #[case] expected: Option<Content>) {
        assert_eq!(Content::of(path, "6.1-x"), expected);
    }

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
