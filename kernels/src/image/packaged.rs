//! Modules that are still in packages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    digest::Digest,
    image::{
        error::FilesError,
        members::{Content, VERSION, for_each_member, plain_module},
    },
    repository::fetch::StoredPackage,
    store::{Store, write_read_only},
};

/// The modules of an unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct PackagedModules {
    pub(crate) all: BTreeSet<String>,
    pub(crate) kept: BTreeSet<String>,
    pub(crate) dir: PathBuf,
    pub(crate) release: String,
    pub(crate) packages: Vec<StoredPackage>,
    pub(crate) store: Store,
}

impl PackagedModules {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all.contains(name)
    }

    pub(crate) fn read(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Vec<u8>>, FilesError> {
        let (kept, others): (BTreeSet<_>, BTreeSet<_>) =
            names.iter().cloned().partition(|name| self.kept.contains(name));
        let mut contents = read_modules(&self.dir, &kept)?;
        if !others.is_empty() {
            contents.extend(read_modules(&self.extract(&others)?, &others)?);
        }
        Ok(contents)
    }

    /// Extracts modules from the packages into a separate artifact.
    fn extract(&self, names: &BTreeSet<String>) -> Result<PathBuf, FilesError> {
        let list: Vec<_> = names.iter().map(String::as_str).collect();
        let key = self.packages.iter().map(|package| package.object.digest().to_string());
        let key: Vec<_> = [format!("modules {VERSION} {}", self.release), list.join(" ")]
            .into_iter()
            .chain(key)
            .collect();
        let key = Digest::of(key.join("\n").as_bytes()).to_string();
        let whole = |path: &Path| {
            names.iter().all(|name| path.join(format!("{name}.ko")).is_file()).then_some(())
        };
        let (path, ()) = self.store.artifact(&key, whole, |scratch| {
            for package in &self.packages {
                for_each_member(&self.store, package, |member| {
                    match Content::of(member.path, &self.release) {
                        Some(Content::Module(name)) if names.contains(&name) => {
                            let content = plain_module(member).map_err(|source| {
                                FilesError::Package { file: package.file.clone(), source }
                            })?;
                            let path = scratch.join(format!("{name}.ko"));
                            write_read_only(&path, &content).map_err(FilesError::from)
                        }
                        _ => Ok(()),
                    }
                })?;
            }
            Ok::<_, FilesError>(())
        })?;
        Ok(path)
    }
}

fn read_modules(
    dir: &Path,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<u8>>, FilesError> {
    let read = |name: &String| {
        let path = dir.join(format!("{name}.ko"));
        match fs::read(&path) {
            Ok(content) => Ok((name.clone(), content)),
            Err(source) => Err(FilesError::Read { path, source }),
        }
    };
    names.iter().map(read).collect()
}
