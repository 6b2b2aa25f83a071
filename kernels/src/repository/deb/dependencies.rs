//! Resolves the name of a package or metapackage to the packages that make up a kernel.
//!
//! Until 6.18 Debian put a kernel into one package, `linux-image-RELEASE`. Since 6.19 that package
//! is empty and depends on `linux-binary-RELEASE` (the image), `linux-base-RELEASE` (the
//! configuration) and `linux-modules-RELEASE`. Ubuntu splits off only the modules. Metapackages
//! such as `linux-image-cloud-amd64` depend on the newest of each.

use globset::GlobBuilder;

use super::index::{Dependency, Index, Package};
use crate::{
    catalog::lock::Role,
    repository::dependencies::{Dependencies, DependencyError},
};

/// What a package contains, according to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Image,
    Binary,
    Modules,
    Base,
}

/// The name suffixes of packages with debugging symbols.
const DEBUG: [&str; 2] = ["-dbg", "-dbgsym"];

impl Part {
    const PREFIXES: [(&str, Part); 6] = [
        ("linux-image-unsigned-", Part::Image),
        ("linux-image-", Part::Image),
        ("linux-binary-unsigned-", Part::Binary),
        ("linux-binary-", Part::Binary),
        ("linux-modules-", Part::Modules),
        ("linux-base-", Part::Base),
    ];

    /// The part, and the release or flavour that follows the prefix.
    fn of(name: &str) -> Option<(Part, &str)> {
        let (part, rest) = Part::PREFIXES
            .iter()
            .find_map(|(prefix, part)| Some((*part, name.strip_prefix(prefix)?)))?;
        // Drivers that Ubuntu splits off further, and debugging symbols: guests use neither.
        let is_useless = rest.starts_with("extra-") || DEBUG.iter().any(|end| rest.ends_with(end));
        // Later unsigned kernels of Debian have other prefixes instead of this suffix.
        let rest = rest.strip_suffix("-unsigned").unwrap_or(rest);
        (!is_useless).then_some((part, rest))
    }

    fn role(self) -> Role {
        match self {
            Part::Image | Part::Binary => Role::Image,
            Part::Modules => Role::Modules,
            Part::Base => Role::Config,
        }
    }
}

/// Finds the kernel that `package` names. A glob stands for the newest package that it matches.
pub(crate) fn resolve(
    index: &Index,
    package: &str,
) -> Result<Dependencies<Package>, DependencyError> {
    let mut walk = Walk { index, reached: Vec::new(), missing: Vec::new() };
    walk.reach(newest(index, package)?);
    let contents: Vec<_> = walk.reached.iter().filter(|node| node.is_content()).collect();
    let images: Vec<_> = contents.iter().filter(|node| node.part.role() == Role::Image).collect();
    let image = match images[..] {
        [image] => image,
        [] => {
            let package = package.to_owned();
            return Err(DependencyError::NoImage { package, missing: walk.missing });
        }
        _ => {
            let images: Vec<_> = images.iter().map(|node| node.package.name.as_str()).collect();
            let images = images.join(", ");
            return Err(DependencyError::SeveralImages { package: package.to_owned(), images });
        }
    };
    let mut packages: Vec<_> =
        contents.iter().map(|node| (node.part.role(), node.package.clone())).collect();
    packages.sort_by_key(|(role, _)| *role);
    packages.dedup_by_key(|(role, _)| *role);
    let release = Part::of(&image.package.name).map_or("", |(_, release)| release).to_owned();
    let version = image.package.version.to_string();
    Ok(Dependencies { release, version, packages, missing: walk.missing })
}

/// Finds the source of a kernel: a package `linux-source-VERSION`, or a metapackage that depends on
/// one. The kernel's `uname -r` starts with that version.
pub(crate) fn source(
    index: &Index,
    package: &str,
) -> Result<Dependencies<Package>, DependencyError> {
    const PREFIX: &str = "linux-source-";
    let mut found = newest(index, package)?;
    if let Some(below) = found.depends.iter().flatten().find(|name| name.name.starts_with(PREFIX)) {
        found = index.find(below).ok_or_else(|| DependencyError::NoPackage(below.name.clone()))?;
    }
    if !found.name.starts_with(PREFIX) {
        return Err(DependencyError::NoSource(package.to_owned()));
    }
    Ok(Dependencies {
        release: found.version.upstream().to_owned(),
        version: found.version.to_string(),
        packages: vec![(Role::Source, found.clone())],
        missing: Vec::new(),
    })
}

/// The package of this name, or the newest package that a glob matches.
pub(crate) fn newest<'a>(index: &'a Index, package: &str) -> Result<&'a Package, DependencyError> {
    let none = || DependencyError::NoPackage(package.to_owned());
    if !package.contains(['*', '?', '[', '{']) {
        let wanted = Dependency { name: package.to_owned(), version: None };
        return index.find(&wanted).ok_or_else(none);
    }
    // With empty alternates, `{cloud-,}` matches a flavour or none.
    let glob = GlobBuilder::new(package).empty_alternates(true).build();
    let glob = glob.map_err(|_| DependencyError::BadGlob(package.to_owned()))?.compile_matcher();
    let is_wanted =
        |name: &str| glob.is_match(name) && !DEBUG.iter().any(|end| name.ends_with(end));
    let matching = index.packages().filter(|package| is_wanted(&package.name));
    // Among packages of the same version, the name decides, so that the choice is deterministic.
    matching
        .max_by(|a, b| a.version.cmp(&b.version).then_with(|| a.name.cmp(&b.name)))
        .ok_or_else(none)
}

struct Node<'a> {
    package: &'a Package,
    part: Part,
    below: Vec<Part>,
}

impl Node<'_> {
    /// Whether it contains files. A package that depends on another package of the same part is a
    /// metapackage, and so is an image package that depends on a binary package.
    fn is_content(&self) -> bool {
        !self.below.iter().any(|part| part.role() == self.part.role())
    }
}

struct Walk<'a> {
    index: &'a Index,
    reached: Vec<Node<'a>>,
    missing: Vec<String>,
}

impl<'a> Walk<'a> {
    fn reach(&mut self, package: &'a Package) {
        let Some((part, _)) = Part::of(&package.name) else {
            return;
        };
        if self.reached.iter().any(|node| node.package == package) {
            return;
        }
        let at = self.reached.len();
        self.reached.push(Node { package, part, below: Vec::new() });
        for clause in &package.depends {
            let parts: Vec<_> = clause
                .iter()
                .filter_map(|wanted| Some((wanted, Part::of(&wanted.name)?.0)))
                .collect();
            let Some((first, part)) = parts.first() else {
                continue;
            };
            self.reached[at].below.push(*part);
            match parts.iter().find_map(|(wanted, _)| self.find(wanted)) {
                Some(package) => self.reach(package),
                None if self.missing.contains(&first.name) => {}
                None => self.missing.push(first.name.clone()),
            }
        }
    }

    /// Debian builds an unsigned twin of each binary package, which works just as well.
    fn find(&self, wanted: &Dependency) -> Option<&'a Package> {
        self.index.find(wanted).or_else(|| {
            let release = wanted.name.strip_prefix("linux-binary-")?;
            let name = format!("linux-binary-unsigned-{release}");
            self.index.find(&Dependency { name, version: wanted.version.clone() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::repository::{self, Package};

    fn package(name: &'static str, version: &'static str, depends: &'static str) -> Package {
        Package { name, version, depends, content: name.into() }
    }

    fn resolve_in(
        packages: &[Package],
        wanted: &str,
    ) -> Result<Dependencies<super::Package>, DependencyError> {
        resolve(&Index::parse(&repository::index(packages)).unwrap(), wanted)
    }

    /// `role package`, in order.
    fn roles(dependencies: &Dependencies<super::Package>) -> Vec<String> {
        let role = |(role, package): &(Role, super::Package)| format!("{role:?} {}", package.name);
        dependencies.packages.iter().map(role).collect()
    }

    #[test]
    fn until_6_18_one_package_holds_everything() {
        let packages = [
            package(
                "linux-image-cloud-amd64",
                "6.1.192-2",
                "linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)",
            ),
            package("linux-image-6.1.0-55-cloud-amd64", "6.1.192-1", ""),
            package(
                "linux-image-6.1.0-56-cloud-amd64",
                "6.1.192-2",
                "kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool",
            ),
            package("linux-base", "4.12", ""),
        ];
        let dependencies = resolve_in(&packages, "linux-image-cloud-amd64").unwrap();
        assert_eq!(dependencies.release, "6.1.0-56-cloud-amd64");
        assert_eq!(dependencies.version, "6.1.192-2");
        assert_eq!(roles(&dependencies), ["Image linux-image-6.1.0-56-cloud-amd64"]);
        assert!(dependencies.missing.is_empty());
    }

    #[test]
    fn since_6_19_image_configuration_and_modules_are_apart() {
        const V: &str = "7.3.4-1~bpo13+1";
        let packages = [
            package(
                "linux-image-cloud-amd64",
                V,
                "linux-base-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-image-7.3.4+deb13-cloud-amd64 \
                 (= 7.3.4-1~bpo13+1), linux-modules-cloud-amd64 (= 7.3.4-1~bpo13+1)",
            ),
            package("linux-base-cloud-amd64", V, "linux-base-7.3.4+deb13-cloud-amd64"),
            package("linux-modules-cloud-amd64", V, "linux-modules-7.3.4+deb13-cloud-amd64"),
            package(
                "linux-image-7.3.4+deb13-cloud-amd64",
                V,
                "dracut | initramfs-tools, linux-base-7.3.4+deb13-cloud-amd64, \
                 linux-binary-7.3.4+deb13-cloud-amd64, linux-modules-7.3.4+deb13-cloud-amd64",
            ),
            package(
                "linux-binary-7.3.4+deb13-cloud-amd64",
                V,
                "linux-base-7.3.4+deb13-cloud-amd64",
            ),
            package("linux-base-7.3.4+deb13-cloud-amd64", V, ""),
            package(
                "linux-modules-7.3.4+deb13-cloud-amd64",
                V,
                "kmod, linux-base-7.3.4+deb13-cloud-amd64",
            ),
        ];
        let dependencies = resolve_in(&packages, "linux-image-cloud-amd64").unwrap();
        assert_eq!(dependencies.release, "7.3.4+deb13-cloud-amd64");
        assert_eq!(
            roles(&dependencies),
            [
                "Image linux-binary-7.3.4+deb13-cloud-amd64",
                "Config linux-base-7.3.4+deb13-cloud-amd64",
                "Modules linux-modules-7.3.4+deb13-cloud-amd64",
            ]
        );
    }

    #[test]
    fn what_the_index_lacks_is_named() {
        let image = package(
            "linux-image-6.19.14+deb13-amd64",
            "6.19.14-1",
            "linux-base-6.19.14+deb13-amd64, linux-binary-6.19.14+deb13-amd64, \
             linux-modules-6.19.14+deb13-amd64",
        );
        let error = resolve_in(&[image], "linux-image-6.19.14+deb13-amd64").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"linux-image-6.19.14+deb13-amd64\" depends on no kernel image: the index lacks \
             linux-base-6.19.14+deb13-amd64, linux-binary-6.19.14+deb13-amd64, \
             linux-modules-6.19.14+deb13-amd64"
        );
    }

    #[test]
    fn an_unsigned_binary_serves_where_the_signed_one_is_missing() {
        let packages = [
            package("linux-image-7.3.4-rt", "7.3.4-1", "linux-binary-7.3.4-rt (= 7.3.4-1)"),
            package("linux-binary-unsigned-7.3.4-rt", "7.3.4-1", ""),
        ];
        let dependencies = resolve_in(&packages, "linux-image-7.3.4-rt").unwrap();
        assert_eq!(dependencies.release, "7.3.4-rt");
        assert_eq!(roles(&dependencies), ["Image linux-binary-unsigned-7.3.4-rt"]);
    }

    #[test]
    fn ubuntu_splits_off_the_modules() {
        let packages = [
            package("linux-image-virtual", "5.4.0.216.208", "linux-image-5.4.0-216-generic"),
            package(
                "linux-image-5.4.0-216-generic",
                "5.4.0-216.236",
                "kmod, linux-base (>= 4.5), linux-modules-5.4.0-216-generic",
            ),
            package("linux-modules-5.4.0-216-generic", "5.4.0-216.236", ""),
            package("linux-modules-extra-5.4.0-216-generic", "5.4.0-216.236", ""),
        ];
        let dependencies = resolve_in(&packages, "linux-image-virtual").unwrap();
        assert_eq!(
            (&*dependencies.release, &*dependencies.version),
            ("5.4.0-216-generic", "5.4.0-216.236")
        );
        assert_eq!(
            roles(&dependencies),
            ["Image linux-image-5.4.0-216-generic", "Modules linux-modules-5.4.0-216-generic"]
        );
    }

    #[test]
    fn a_glob_means_the_newest() {
        let packages = [
            package("linux-image-6.19.8-cloud-amd64", "6.19.8-1", ""),
            package("linux-image-6.19.14-cloud-amd64", "6.19.14-1", ""),
            package("linux-image-6.19.14-rt-amd64", "6.19.14-1", ""),
            package("linux-image-7.0.1-cloud-amd64", "7.0.1-1", ""),
        ];
        let dependencies = resolve_in(&packages, "linux-image-6.19.*-cloud-amd64").unwrap();
        assert_eq!(dependencies.release, "6.19.14-cloud-amd64");
        for (wanted, expected) in [
            ("linux-image-6.20.*", "there is no package \"linux-image-6.20.*\" in the index"),
            ("linux-image-absent", "there is no package \"linux-image-absent\" in the index"),
            ("linux-image-[", "\"linux-image-[\" is not a glob of package names"),
        ] {
            assert_eq!(resolve_in(&packages, wanted).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_glob_never_means_debugging_symbols() {
        let packages = [
            package("linux-image-4.18.0-2-cloud-amd64", "4.18.10-2", ""),
            package("linux-image-4.18.0-3-amd64", "4.18.20-2", ""),
            package("linux-image-4.18.0-3-amd64-dbg", "4.18.20-2", ""),
            package("linux-image-4.18.0-3-cloud-amd64", "4.18.20-2", ""),
            package("linux-image-4.18.0-3-rt-amd64", "4.18.20-2", ""),
        ];
        for (wanted, expected) in [
            ("linux-image-4.18.*", "4.18.0-3-rt-amd64"),
            ("linux-image-4.18.0-3-amd64*", "4.18.0-3-amd64"),
            // The flavour for virtual machines, if there is one.
            ("linux-image-4.18.0-[0-9]-{cloud-,}amd64", "4.18.0-3-cloud-amd64"),
        ] {
            assert_eq!(resolve_in(&packages, wanted).unwrap().release, expected);
        }
        let packages = &packages[..3];
        let dependencies = resolve_in(packages, "linux-image-4.18.0-[0-9]-{cloud-,}amd64").unwrap();
        assert_eq!(dependencies.release, "4.18.0-3-amd64");
        let error = resolve_in(packages, "linux-image-4.18.0-3-amd64-dbg").unwrap_err();
        assert!(matches!(error, DependencyError::NoImage { .. }), "{error:?}");
    }

    #[test]
    fn a_package_that_is_not_signed_has_the_release_of_the_one_that_is() {
        let package = package("linux-image-5.5.0-0.bpo.2-amd64-unsigned", "5.5.17-1~bpo10+1", "");
        let dependencies = resolve_in(&[package], "linux-image-5.5.*-amd64-unsigned").unwrap();
        assert_eq!(dependencies.release, "5.5.0-0.bpo.2-amd64");
    }

    #[test]
    fn a_source_is_found_by_its_name_or_through_its_metapackage() {
        let packages = [
            package("linux-source", "5.10.262-1", "linux-source-5.10 (= 5.10.262-1)"),
            package("linux-source-5.10", "5.10.257-1", "binutils, xz-utils"),
            package("linux-source-5.10", "5.10.262-1", "binutils, xz-utils"),
            package("linux-doc-5.10", "5.10.262-1", ""),
        ];
        let index = Index::parse(&repository::index(&packages)).unwrap();
        for wanted in ["linux-source", "linux-source-5.10", "linux-source-5.*"] {
            let dependencies = source(&index, wanted).unwrap();
            assert_eq!(
                (&*dependencies.release, &*dependencies.version),
                ("5.10.262", "5.10.262-1")
            );
            assert_eq!(roles(&dependencies), ["Source linux-source-5.10"]);
        }
        let error = source(&index, "linux-doc-5.10").unwrap_err();
        assert_eq!(error, DependencyError::NoSource("linux-doc-5.10".to_owned()));
    }

    #[test]
    fn several_images_are_refused() {
        let packages = [
            package("linux-image-all", "1", "linux-image-a, linux-image-b"),
            package("linux-image-a", "1", ""),
            package("linux-image-b", "1", ""),
        ];
        let error = resolve_in(&packages, "linux-image-all").unwrap_err().to_string();
        assert!(error.ends_with("several kernel images: linux-image-a, linux-image-b"), "{error}");
    }

    #[test]
    fn a_circle_ends() {
        let packages = [
            package("linux-image-a", "1", "linux-image-b"),
            package("linux-image-b", "1", "linux-image-a"),
        ];
        let error = resolve_in(&packages, "linux-image-a").unwrap_err();
        assert!(matches!(error, DependencyError::NoImage { .. }), "{error:?}");
    }
}
