//! The members of a kernel's packages.

use std::{fs::File, io};

use super::{
    error::FilesError,
    module_file::{self, MAX_MODULE},
};
use crate::{
    digest::HashingReader,
    package::{self, Member, PackageError},
    repository::fetch::StoredPackage,
    store::Store,
};

/// Part of the key of artifacts. Raise it with every change of what unpacking produces.
pub(crate) const VERSION: u32 = 3;

/// Reads a package from the store, and checks at the same time that its digest is unchanged.
pub(crate) fn for_each_member<E: From<FilesError>>(
    store: &Store,
    package: &StoredPackage,
    mut visit: impl FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let outcome = read(store, package, |reader| {
        package::for_each_member(reader, |member| visit(member).map_err(Failure::Visit))
    })?;
    outcome.map_err(|failure| match failure {
        Failure::Visit(kind) => kind,
        Failure::Package(source) => {
            FilesError::Package { file: package.file.clone(), source }.into()
        }
    })
}

/// Reads a file of the store, including what `examine` does not read, to check that its digest is
/// unchanged.
pub(crate) fn read<T>(
    store: &Store,
    package: &StoredPackage,
    examine: impl FnOnce(&mut dyn io::Read) -> T,
) -> Result<T, FilesError> {
    let path = package.object.path();
    let unreadable = |source| FilesError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut reader = HashingReader::new(io::BufReader::with_capacity(1 << 16, file));
    let outcome = examine(&mut reader);
    if reader.finish().map_err(unreadable)? != package.object.digest() {
        store.discard(&package.object)?;
        return Err(FilesError::StoreDamaged { digest: package.object.digest() });
    }
    Ok(outcome)
}

enum Failure<E> {
    Visit(E),
    Package(PackageError),
}

impl<E> From<PackageError> for Failure<E> {
    fn from(error: PackageError) -> Self {
        Failure::Package(error)
    }
}

/// What a member of a package contains.
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
            path => module_file::name_of_path(path).map(Content::Module),
        }
    }
}

pub(crate) fn plain_module(member: &mut Member<'_>) -> Result<Vec<u8>, PackageError> {
    let compressed = member.read(MAX_MODULE)?;
    Ok(module_file::decompress(member.path, &compressed[..])?)
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
}
