//! The matrix that is part of the program, for use outside of a checkout.

use std::path::Path;

use crate::document::Document;

/// A matrix with its lock and keys. A project's own entries add to it, or replace entries of it.
#[derive(Clone, Debug)]
pub(crate) struct BuiltIn {
    pub(crate) matrix: Document,
    pub(crate) lock: Document,
    /// The armoured keys, by the path that the matrix gives them.
    pub(crate) keys: &'static [(&'static str, &'static str)],
}

/// Pairs of a key's path in the checkout and its text.
macro_rules! keys {
    ($($name:literal)*) => {
        &[$((
            concat!("kernels/keys/", $name, ".asc"),
            include_str!(concat!("../../keys/", $name, ".asc")),
        )),*]
    };
}

impl BuiltIn {
    /// The matrix of the checkout that this program was built from.
    pub(crate) fn of_this_program() -> Self {
        BuiltIn {
            matrix: Document::new("kernels.toml", include_str!("../../../kernels.toml")),
            lock: Document::new("kernels.lock", include_str!("../../../kernels.lock")),
            keys: keys! {
                "almalinux-8"
                "amazon-linux-2"
                "debian-8-archive"
                "debian-9-archive"
                "debian-10-archive"
                "debian-11-archive"
                "debian-11-security"
                "debian-12-archive"
                "debian-12-security"
                "debian-13-archive"
                "debian-13-security"
                "fedora-44"
                "ubuntu-2012-archive"
                "ubuntu-2018-archive"
            },
        }
    }

    /// The armoured key that the matrix knows by this path.
    pub(crate) fn key(&self, file: &Path) -> Option<&'static str> {
        self.keys.iter().find(|(path, _)| Path::new(path) == file).map(|(_, text)| *text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{lock::Lock, manifest::read_matrix},
        signature::Keyring,
    };

    #[test]
    fn it_needs_no_other_file() {
        let built_in = BuiltIn::of_this_program();
        let none = Path::new("/no/such/file");
        let matrix = read_matrix(Some(&built_in), none, none).unwrap();
        for (name, repository) in &matrix.repositories {
            for key in &repository.keys {
                assert!(key.built_in.is_some(), "name {} in {}", key.path.display(), file!());
            }
            Keyring::load(&repository.keys).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(Lock::parse(&built_in.lock).unwrap().get("debian-6.1").is_some());
        let on_this_machine = matrix.entries.iter().filter(|entry| !entry.source.is_locked());
        let ids: Vec<_> = on_this_machine.map(|entry| &entry.id).collect();
        assert_eq!(ids, Vec::<&String>::new(), "their files are not in the program");
    }
}
