//! The modules that a guest's devices need, in the order in which they load.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use object::{Object as _, ObjectSection as _};

use crate::image::{
    error::{FilesError, ModuleError},
    module_file::{decompress, name_of_path, normalise, parse_builtin},
    packaged::PackagedModules,
};
use crate::similar::similar;

/// The modules of one kernel.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    pub(crate) builtin: BTreeSet<String>,
    pub(crate) supply: Supply,
    /// Packages of the kernel that its archive does not have.
    pub(crate) missing: Vec<String>,
}

/// Where the modules are.
#[derive(Clone, Debug, Default)]
pub(crate) enum Supply {
    /// The kernel has none, or their location is unknown.
    #[default]
    None,
    /// A directory such as `/lib/modules/RELEASE`: paths by module name.
    Tree(BTreeMap<String, PathBuf>),
    /// The kernel's packages.
    Packages(PackagedModules),
}

/// The result for a list of wanted modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleSet {
    /// The modules to load, in this order.
    pub load: Vec<Module>,
    /// Wanted modules that are built into the kernel.
    pub builtin: Vec<String>,
    /// Wanted modules that the kernel does not have, according to its packages.
    pub absent: Vec<String>,
}

/// A module, ready for finit_module(2).
#[derive(Clone, PartialEq, Eq)]
pub struct Module {
    /// With underscores: `virtio_pci`.
    pub name: String,
    /// The uncompressed `.ko` file.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({}, {} bytes)", self.name, self.content.len())
    }
}

/// A module's content, and its dependencies that are not built in.
struct Read {
    content: Vec<u8>,
    depends: Vec<String>,
}

impl Modules {
    /// No modules are known for the kernel.
    pub(crate) fn unknown() -> Self {
        Modules::default()
    }

    /// The modules of a directory such as `/lib/modules/RELEASE`.
    pub(crate) fn of_tree(root: &Path) -> io::Result<Self> {
        let builtin = match fs::read_to_string(root.join("modules.builtin")) {
            Ok(text) => parse_builtin(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        let mut files = BTreeMap::new();
        // `build` and `source` are symbolic links to kernel trees.
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    dirs.push(entry.path());
                } else if let Some(name) = entry.file_name().to_str().and_then(name_of_path) {
                    files.insert(name, entry.path());
                }
            }
        }
        Ok(Modules { builtin, supply: Supply::Tree(files), missing: Vec::new() })
    }

    /// Finds modules and all their dependencies.
    pub fn find(&self, wanted: &[&str]) -> Result<ModuleSet, FilesError> {
        let mut set = ModuleSet::default();
        let mut roots = Vec::new();
        for name in wanted.iter().map(|name| normalise(name)) {
            if self.builtin.contains(&name) {
                set.builtin.push(name);
            } else if self.supply.has(&name) {
                roots.push(name);
            } else {
                set.absent.push(name);
            }
        }
        let mut found = self.read_closure(&roots)?;
        for name in load_order(&roots, &found) {
            if let Some(Read { content, .. }) = found.remove(&name) {
                set.load.push(Module { name, content });
            }
        }
        Ok(set)
    }

    /// Is it known which modules the kernel has?
    pub fn are_known(&self) -> bool {
        !matches!(self.supply, Supply::None) || !self.builtin.is_empty()
    }

    /// The modules of these names with all their dependencies, in the order in which they load.
    /// What is built in needs no loading. It is an error if the kernel lacks one.
    pub fn require(&self, names: &[&str]) -> Result<Vec<Module>, FilesError> {
        let set = self.find(names)?;
        let Some(name) = set.absent.into_iter().next() else { return Ok(set.load) };
        Err(match self.are_known() {
            false => ModuleError::NoneKnown { name },
            true => {
                let known = self.supply.names().chain(self.builtin.iter().cloned());
                let missing = self.missing.clone();
                ModuleError::Unknown { similar: similar(&name, known), name, missing }
            }
        }
        .into())
    }

    /// Reads modules and, round by round, their dependencies. Each round costs one pass over a
    /// package.
    fn read_closure(&self, roots: &[String]) -> Result<BTreeMap<String, Read>, FilesError> {
        let mut found = BTreeMap::new();
        let mut pending: BTreeSet<String> = roots.iter().cloned().collect();
        while !pending.is_empty() {
            let mut next = BTreeSet::new();
            for (name, content) in self.supply.read(&pending)? {
                let depends = depends(&name, &content)?;
                let depends: Vec<_> =
                    depends.into_iter().filter(|name| !self.builtin.contains(name)).collect();
                if let Some(dependency) = depends.iter().find(|name| !self.supply.has(name)) {
                    let dependency = dependency.clone();
                    return Err(ModuleError::MissingDependency { name, dependency }.into());
                }
                next.extend(depends.iter().cloned());
                found.insert(name, Read { content, depends });
            }
            pending = next.into_iter().filter(|name| !found.contains_key(name)).collect();
        }
        Ok(found)
    }
}

impl Supply {
    fn has(&self, name: &str) -> bool {
        match self {
            Supply::None => false,
            Supply::Tree(files) => files.contains_key(name),
            Supply::Packages(packages) => packages.has(name),
        }
    }

    /// The names of all modules that are not built in.
    fn names(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match self {
            Supply::None => Box::new(std::iter::empty()),
            Supply::Tree(files) => Box::new(files.keys().cloned()),
            Supply::Packages(packages) => Box::new(packages.all.iter().cloned()),
        }
    }

    /// Reads existing modules, uncompressed.
    fn read(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Vec<u8>>, FilesError> {
        let files = match self {
            Supply::None => return Ok(BTreeMap::new()),
            Supply::Packages(packages) => return packages.read(names),
            Supply::Tree(files) => files,
        };
        let wanted = files.iter().filter(|(name, _)| names.contains(*name));
        wanted
            .map(|(name, path)| {
                let content = fs::File::open(path)
                    .and_then(|file| decompress(&path.to_string_lossy(), file))
                    .map_err(|source| ModuleError::Read { name: name.clone(), source })?;
                Ok((name.clone(), content))
            })
            .collect()
    }
}

/// The dependencies of a module: the `depends=` of its `.modinfo`, which modpost(1) writes.
pub(crate) fn depends(name: &str, content: &[u8]) -> Result<Vec<String>, ModuleError> {
    let not_a_module = || ModuleError::NotAModule { name: name.to_owned() };
    let elf = object::File::parse(content).map_err(|_| not_a_module())?;
    let section = elf.section_by_name(".modinfo").ok_or_else(not_a_module)?;
    let info = section.data().map_err(|_| not_a_module())?;
    let depends = info.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"depends="));
    let depends = String::from_utf8_lossy(depends.unwrap_or_default()).into_owned();
    Ok(depends.split(',').filter(|name| !name.is_empty()).map(normalise).collect())
}

/// Orders modules after their dependencies, and otherwise in the order of the roots.
fn load_order(roots: &[String], found: &BTreeMap<String, Read>) -> Vec<String> {
    fn visit(
        name: &str,
        found: &BTreeMap<String, Read>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        for dependency in found.get(name).into_iter().flat_map(|module| &module.depends) {
            visit(dependency, found, seen, order);
        }
        order.push(name.to_owned());
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for root in roots {
        visit(root, found, &mut seen, &mut order);
    }
    order
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        compression::Compression,
        error_chain::chain,
        test_support::{archive::compress, image::module},
    };

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Modules) {
        let root = tempfile::tempdir().unwrap();
        for (path, depends) in files {
            let compression = Compression::of_name(path);
            let path = root.path().join("kernel").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, compress(compression, &module("", depends))).unwrap();
        }
        fs::write(root.path().join("modules.builtin"), "kernel/lib/crc.ko\nkernel/a/u-v.ko\n")
            .unwrap();
        // As depmod(8) and a kernel source leave them.
        fs::write(root.path().join("modules.dep"), "").unwrap();
        std::os::unix::fs::symlink("/nowhere", root.path().join("build")).unwrap();
        let modules = Modules::of_tree(root.path()).unwrap();
        (root, modules)
    }

    const VIRTIO: &[(&str, &str)] = &[
        ("drivers/virtio/virtio.ko", ""),
        ("drivers/virtio/virtio_ring.ko.xz", "crc"),
        ("drivers/virtio/virtio-pci.ko.zst", "virtio,virtio-pci-modern-dev,virtio_ring"),
        ("drivers/virtio/virtio_pci_modern_dev.ko.gz", ""),
        ("drivers/char/virtio_console.ko", "virtio_ring,virtio"),
    ];

    #[test]
    fn modules_come_after_what_they_need() {
        let (_root, modules) = tree(VIRTIO);
        let set = modules.find(&["virtio_pci", "virtio-console", "u_v", "virtio_mmio"]).unwrap();
        let names: Vec<_> = set.load.iter().map(|module| module.name.as_str()).collect();
        let expected =
            ["virtio", "virtio_pci_modern_dev", "virtio_ring", "virtio_pci", "virtio_console"];
        assert_eq!(names, expected);
        assert!(set.load.iter().all(|module| module.content.starts_with(b"\x7fELF")));
        assert_eq!(set.builtin, ["u_v"]);
        assert_eq!(set.absent, ["virtio_mmio"]);
    }

    #[test]
    fn a_kernel_of_unknown_modules_has_none() {
        let set = Modules::unknown().find(&["virtio_pci"]).unwrap();
        assert_eq!(set.absent, ["virtio_pci"]);
        assert!(set.load.is_empty());
    }

    #[test]
    fn a_required_module_is_loaded_built_in_or_an_error() {
        let (_root, modules) = tree(VIRTIO);
        let load = modules.require(&["virtio-ring", "u-v"]).unwrap();
        let names: Vec<_> = load.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["virtio_ring"]);
        let message = |modules: &Modules, name| chain(&modules.require(&[name]).unwrap_err());
        let error = message(&modules, "virtio_consol");
        let expected = "the kernel has no module virtio_consol, and it is not built in; \
                        similar names: virtio_console";
        assert!(error.contains(expected), "{error}");
        let error = message(&modules, "btrfs");
        assert!(
            error.ends_with("the kernel has no module btrfs, and it is not built in"),
            "{error}"
        );
        let error =
            message(&Modules { missing: vec!["modules-6.19".to_owned()], ..modules }, "btrfs");
        assert!(error.contains("has no modules-6.19, which the archive lacked"), "{error}");
        let error = message(&Modules::unknown(), "btrfs");
        assert!(error.contains("nothing is known about the modules of this kernel"), "{error}");
    }

    #[test]
    fn a_missing_dependency_is_an_error() {
        let (_root, modules) = tree(&[("a.ko", "b")]);
        let error = modules.find(&["a"]).unwrap_err();
        let FilesError::Module(ModuleError::MissingDependency { name, dependency }) = error else {
            panic!("{error:?}");
        };
        assert_eq!((name.as_str(), dependency.as_str()), ("a", "b"));
    }

    #[rstest]
    #[case::text(b"not a module")]
    #[case::empty(b"")]
    fn other_files_are_refused(#[case] content: &[u8]) {
        let error = depends("a", content).unwrap_err();
        assert!(error.to_string().contains("has no .modinfo section"), "{error}");
    }

    #[test]
    fn a_damaged_file_names_the_module() {
        let (root, modules) = tree(VIRTIO);
        let path = root.path().join("kernel/drivers/virtio/virtio_ring.ko.xz");
        fs::write(path, "not xz").unwrap();
        let error = modules.find(&["virtio_ring"]).unwrap_err();
        assert!(
            matches!(&error, FilesError::Module(ModuleError::Read { name, .. }) if name == "virtio_ring"),
            "{error:?}"
        );
    }

    #[test]
    fn a_circle_ends() {
        let module = |(name, depends): (&str, &str)| {
            let depends = vec![depends.to_owned()];
            (name.to_owned(), Read { content: Vec::new(), depends })
        };
        let found = [("a", "b"), ("b", "a")].map(module).into();
        assert_eq!(load_order(&["a".to_owned()], &found), ["b", "a"]);
    }

    #[rstest]
    #[case("kernel/drivers/virtio/virtio-pci.ko.xz", Some("virtio_pci"))]
    #[case("virtio.ko", Some("virtio"))]
    #[case("modules.dep", None)]
    #[case("kernel/a.ko.bz2", None)]
    #[case("kernel/a.ko.sig", None)]
    fn names(#[case] path: &str, #[case] name: Option<&str>) {
        assert_eq!(name_of_path(path).as_deref(), name);
    }
}
