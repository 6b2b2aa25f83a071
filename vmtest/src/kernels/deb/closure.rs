//! From the name of a package or metapackage to the packages that make up a kernel.
//!
//! Until 6.18 Debian put a kernel into one package, `linux-image-RELEASE`. Since 6.19 that one is
//! empty and depends on `linux-binary-RELEASE` (the image), `linux-base-RELEASE` (the
//! configuration) and `linux-modules-RELEASE`; Ubuntu splits off only the modules. Metapackages
//! such as `linux-image-cloud-amd64` depend on the newest of each.

use globset::Glob;

use super::index::{Dependency, Index, Package};
use crate::kernels::lock::Role;

/// The packages of one kernel.
#[derive(Debug, PartialEq)]
pub(crate) struct Closure {
    /// What `uname -r` prints in it.
    pub(crate) release: String,
    /// The version of the package with the image.
    pub(crate) version: String,
    /// At most one for each role, the image first.
    pub(crate) packages: Vec<(Role, Package)>,
    /// Packages that should belong to it and are not in the index.
    pub(crate) missing: Vec<String>,
}

/// A kernel that an index does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClosureError {
    /// No such package.
    #[error("there is no package {0:?} in the index")]
    NoPackage(String),
    /// A pattern that is not one.
    #[error("{0:?} is not a glob of package names")]
    BadGlob(String),
    /// Nothing with an image is reached.
    #[error("{package:?} leads to no kernel image{}", lacking(.missing))]
    NoImage {
        /// Where the search began.
        package: String,
        /// What it depends on and the index lacks.
        missing: Vec<String>,
    },
    /// More than one image is reached.
    #[error("{package:?} leads to several kernel images: {images}")]
    SeveralImages {
        /// Where the search began.
        package: String,
        /// Their packages.
        images: String,
    },
}

fn lacking(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(": the index lacks {}", names.join(", ")),
    }
}

/// What a package's name says about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Image,
    Binary,
    Modules,
    Base,
}

impl Part {
    const PREFIXES: [(&str, Part); 6] = [
        ("linux-image-unsigned-", Part::Image),
        ("linux-image-", Part::Image),
        ("linux-binary-unsigned-", Part::Binary),
        ("linux-binary-", Part::Binary),
        ("linux-modules-", Part::Modules),
        ("linux-base-", Part::Base),
    ];

    /// The part, and the release or flavour behind the prefix.
    fn of(name: &str) -> Option<(Part, &str)> {
        let (part, rest) = Part::PREFIXES
            .iter()
            .find_map(|(prefix, part)| Some((*part, name.strip_prefix(prefix)?)))?;
        // Drivers that Ubuntu splits off further: none that a guest has a use for.
        (!rest.starts_with("extra-")).then_some((part, rest))
    }

    fn role(self) -> Role {
        match self {
            Part::Image | Part::Binary => Role::Image,
            Part::Modules => Role::Modules,
            Part::Base => Role::Config,
        }
    }
}

/// Finds the kernel that `package` names; a glob means the newest package that it matches.
pub(crate) fn resolve(index: &Index, package: &str) -> Result<Closure, ClosureError> {
    let mut walk = Walk { index, reached: Vec::new(), missing: Vec::new() };
    walk.reach(start(index, package)?);
    let contents: Vec<_> = walk.reached.iter().filter(|node| node.is_content()).collect();
    let images: Vec<_> = contents.iter().filter(|node| node.part.role() == Role::Image).collect();
    let image = match images[..] {
        [image] => image,
        [] => {
            let package = package.to_owned();
            return Err(ClosureError::NoImage { package, missing: walk.missing });
        }
        _ => {
            let images: Vec<_> = images.iter().map(|node| node.package.name.as_str()).collect();
            let images = images.join(", ");
            return Err(ClosureError::SeveralImages { package: package.to_owned(), images });
        }
    };
    let mut packages: Vec<_> =
        contents.iter().map(|node| (node.part.role(), node.package.clone())).collect();
    packages.sort_by_key(|(role, _)| *role);
    packages.dedup_by_key(|(role, _)| *role);
    let release = Part::of(&image.package.name).map_or("", |(_, release)| release).to_owned();
    let version = image.package.version.to_string();
    Ok(Closure { release, version, packages, missing: walk.missing })
}

fn start<'a>(index: &'a Index, package: &str) -> Result<&'a Package, ClosureError> {
    let none = || ClosureError::NoPackage(package.to_owned());
    if !package.contains(['*', '?', '[', '{']) {
        let wanted = Dependency { name: package.to_owned(), version: None };
        return index.find(&wanted).ok_or_else(none);
    }
    let glob = Glob::new(package).map_err(|_| ClosureError::BadGlob(package.to_owned()))?;
    let glob = glob.compile_matcher();
    let matching = index.packages().filter(|package| glob.is_match(&package.name));
    // The name decides between packages of one version, so that the choice is always the same.
    matching
        .max_by(|a, b| a.version.cmp(&b.version).then_with(|| a.name.cmp(&b.name)))
        .ok_or_else(none)
}

struct Node<'a> {
    package: &'a Package,
    part: Part,
    /// The parts that it depends on.
    below: Vec<Part>,
}

impl Node<'_> {
    /// Whether it holds files itself: a package that depends on another of its part is a
    /// metapackage, and so is an image package that depends on a binary one.
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

    /// Debian builds an unsigned twin of each binary package, which serves as well.
    fn find(&self, wanted: &Dependency) -> Option<&'a Package> {
        self.index.find(wanted).or_else(|| {
            let release = wanted.name.strip_prefix("linux-binary-")?;
            let name = format!("linux-binary-unsigned-{release}");
            self.index.find(&Dependency { name, version: wanted.version.clone() })
        })
    }
}
