//! Resolves the name of a package to the packages that make up a kernel.
//!
//! Since RHEL 8 and Fedora 21 `kernel` is empty, and requires `kernel-core-uname-r` (the image) and
//! `kernel-modules-uname-r` in its own version; since Fedora 38 and RHEL 9 also
//! `kernel-modules-core-uname-r`. In Amazon Linux `kernel` contains everything.

use globset::Glob;

use super::primary::{Capability, Index, Package};
use crate::{
    catalog::lock::Role,
    repository::dependencies::{Dependencies, DependencyError},
};

/// The capability that a kernel package provides. Its version is what `uname -r` prints.
const UNAME: &str = "kernel-uname-r";

/// What a package contains, according to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `kernel`: everything, or nothing but dependencies.
    Whole,
    Image,
    Modules,
}

impl Part {
    fn of(name: &str) -> Option<Part> {
        // Drivers that are split off further, tools and headers: guests use none of them.
        const OTHERS: [&str; 12] = [
            "-extra",
            "-internal",
            "-partner",
            "-tools",
            "-libs",
            "-headers",
            "-devel",
            "-doc",
            "-debuginfo",
            "-matched",
            "-livepatch",
            "-macros",
        ];
        // Excludes names such as `kernelshark`.
        let is_kernel = name == "kernel" || name.starts_with("kernel-");
        if !is_kernel || OTHERS.iter().any(|other| name.contains(other)) {
            return None;
        }
        Some(match name {
            _ if name.contains("-modules") => Part::Modules,
            _ if name.ends_with("-core") => Part::Image,
            _ => Part::Whole,
        })
    }

    fn role(self) -> Role {
        match self {
            Part::Whole | Part::Image => Role::Image,
            Part::Modules => Role::Modules,
        }
    }
}

/// Finds the kernel that `package` names. A glob stands for the newest package that it matches.
pub(crate) fn resolve(
    index: &Index,
    package: &str,
) -> Result<Dependencies<Package>, DependencyError> {
    let mut walk = Walk { index, reached: Vec::new(), missing: Vec::new() };
    walk.reach(start(index, package)?);
    let Walk { mut reached, missing, .. } = walk;
    // A package that requires parts contains none itself.
    let is_split = reached.iter().any(|(part, _)| *part == Part::Image) || !missing.is_empty();
    reached.retain(|(part, _)| *part != Part::Whole || !is_split);
    let images = || reached.iter().filter(|(part, _)| part.role() == Role::Image);
    let image = match (images().next(), images().nth(1)) {
        (Some((_, image)), None) => *image,
        (None, _) => {
            return Err(DependencyError::NoImage { package: package.to_owned(), missing });
        }
        (Some(_), Some(_)) => {
            let images: Vec<_> = images().map(|(_, image)| image.name.as_str()).collect();
            let images = images.join(", ");
            return Err(DependencyError::SeveralImages { package: package.to_owned(), images });
        }
    };
    let mut packages: Vec<_> =
        reached.iter().map(|(part, package)| (part.role(), (*package).clone())).collect();
    packages.sort_by_key(|(role, _)| *role);
    Ok(Dependencies {
        release: uname(image),
        version: image.version.to_string(),
        packages,
        missing,
    })
}

/// What `uname -r` prints in the kernel of this image package.
fn uname(image: &Package) -> String {
    let provided = image.provides.iter().find(|capability| capability.name == UNAME);
    match provided.and_then(|capability| capability.version.as_ref()) {
        Some(version) => format!("{}-{}", version.version(), version.release()),
        None => {
            format!("{}-{}.{}", image.version.version(), image.version.release(), image.arch)
        }
    }
}

fn start<'a>(index: &'a Index, package: &str) -> Result<&'a Package, DependencyError> {
    let bad_glob = |_| DependencyError::BadGlob(package.to_owned());
    let glob = Glob::new(package).map_err(bad_glob)?.compile_matcher();
    // Among packages of the same version, the name decides, so that the choice is deterministic.
    index
        .packages()
        .filter(|candidate| candidate.name == package || Part::of(&candidate.name).is_some())
        .filter(|candidate| glob.is_match(&candidate.name))
        .max_by(|a, b| a.version.cmp(&b.version).then_with(|| a.name.cmp(&b.name)))
        .ok_or_else(|| DependencyError::NoPackage(package.to_owned()))
}

struct Walk<'a> {
    index: &'a Index,
    reached: Vec<(Part, &'a Package)>,
    missing: Vec<String>,
}

impl<'a> Walk<'a> {
    fn reach(&mut self, package: &'a Package) {
        let Some(part) = Part::of(&package.name) else {
            return;
        };
        if self.reached.iter().any(|(_, reached)| *reached == package) {
            return;
        }
        self.reached.push((part, package));
        for wanted in &package.requires {
            if is_part(wanted) {
                match self.index.provider(wanted) {
                    Some(provider) => self.reach(provider),
                    None => self.lacks(wanted),
                }
            }
        }
    }

    fn lacks(&mut self, wanted: &Capability) {
        let name = match &wanted.version {
            Some(version) => format!("{} = {version}", wanted.name),
            None => wanted.name.clone(),
        };
        if !self.missing.contains(&name) {
            self.missing.push(name);
        }
    }
}

/// Whether a requirement is for another part of the same kernel: only those require an exact
/// version.
fn is_part(wanted: &Capability) -> bool {
    wanted.version.is_some() && Part::of(wanted.name.trim_end_matches("-uname-r")).is_some()
}

#[cfg(test)]
mod tests {
    use super::{super::primary::tests::document, *};

    type Described<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str]);

    fn resolve_in(
        packages: &[Described<'_>],
        wanted: &str,
    ) -> Result<Dependencies<Package>, DependencyError> {
        let index = Index::parse(document(packages).as_bytes(), "x86_64").unwrap();
        resolve(&index, wanted)
    }

    /// `role package`, in order.
    fn roles(dependencies: &Dependencies<Package>) -> Vec<String> {
        let role = |(role, package): &(Role, Package)| format!("{role:?} {}", package.name);
        dependencies.packages.iter().map(role).collect()
    }

    const V: &str = "4.18.0-553.el8_10";
    const KERNEL: Described<'_> = (
        "kernel",
        V,
        &["kernel = 4.18.0-553.el8_10"],
        &[
            "kernel-core-uname-r = 4.18.0-553.el8_10.x86_64",
            "kernel-modules-uname-r = 4.18.0-553.el8_10.x86_64",
        ],
    );
    const CORE: Described<'_> = (
        "kernel-core",
        V,
        &[
            "kernel-core-uname-r = 4.18.0-553.el8_10.x86_64",
            "kernel-uname-r = 4.18.0-553.el8_10.x86_64",
        ],
        &["linux-firmware", "/bin/sh"],
    );
    const MODULES: Described<'_> = (
        "kernel-modules",
        V,
        &["kernel-modules-uname-r = 4.18.0-553.el8_10.x86_64"],
        &["kernel-core-uname-r = 4.18.0-553.el8_10.x86_64", "kernel-tools-libs = 4.18.0-1"],
    );

    #[test]
    fn the_kernel_of_rhel_8_is_split() {
        let older = ("kernel", "4.18.0-80.el8", &[][..], &[][..]);
        for wanted in ["kernel", "kernel-modules"] {
            let dependencies = resolve_in(&[older, KERNEL, CORE, MODULES], wanted).unwrap();
            assert_eq!(dependencies.release, "4.18.0-553.el8_10.x86_64");
            assert_eq!(dependencies.version, V);
            assert_eq!(roles(&dependencies), ["Image kernel-core", "Modules kernel-modules"]);
            assert!(dependencies.missing.is_empty());
        }
    }

    #[test]
    fn a_part_that_the_repository_lacks_is_named() {
        let dependencies = resolve_in(&[KERNEL, CORE], "kernel").unwrap();
        assert_eq!(roles(&dependencies), ["Image kernel-core"]);
        assert_eq!(dependencies.missing, ["kernel-modules-uname-r = 4.18.0-553.el8_10.x86_64"]);
        let error = resolve_in(&[KERNEL, MODULES], "kernel").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"kernel\" depends on no kernel image: the index lacks kernel-core-uname-r = \
             4.18.0-553.el8_10.x86_64"
        );
    }

    #[test]
    fn the_kernel_of_amazon_linux_is_whole() {
        let kernel = ("kernel", "5.10.245-241.976.amzn2", &[][..], &["coreutils", "dracut"][..]);
        let dependencies = resolve_in(&[kernel], "kernel").unwrap();
        assert_eq!(dependencies.release, "5.10.245-241.976.amzn2.x86_64");
        assert_eq!(roles(&dependencies), ["Image kernel"]);
    }

    #[test]
    fn a_glob_means_the_newest() {
        let of = |version| ("kernel-core", version, &[][..], &[][..]);
        let packages = [of("6.12.9-200.fc44"), of("6.12.10-200.fc44"), of("6.12.10-100.fc44")];
        assert_eq!(resolve_in(&packages, "kernel-c*").unwrap().version, "6.12.10-200.fc44");
        for (wanted, expected) in [
            ("kernel-x*", "there is no package \"kernel-x*\" in the index"),
            ("kernel-[", "\"kernel-[\" is not a glob of package names"),
        ] {
            assert_eq!(resolve_in(&packages, wanted).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_glob_means_a_part_of_a_kernel() {
        let of = |name| (name, V, &[][..], &[][..]);
        // With an epoch, one of them would be the newest.
        let others = ["kernelshark", "kernel-srpm-macros", "kernel-debuginfo", "kernel-devel"];
        let packages: Vec<_> = others.into_iter().map(of).chain([KERNEL, CORE, MODULES]).collect();
        assert_eq!(roles(&resolve_in(&packages, "kernel*").unwrap())[0], "Image kernel-core");
        let error = resolve_in(&packages, "kernel-devel").unwrap_err();
        assert!(matches!(error, DependencyError::NoImage { .. }), "{error:?}");
    }

    #[test]
    fn several_images_are_refused() {
        let kernel = ("kernel", V, &[][..], &["kernel-a-core = 1-1", "kernel-b-core = 1-1"][..]);
        let of = |name| (name, "1-1", &[][..], &[][..]);
        let error = resolve_in(&[kernel, of("kernel-a-core"), of("kernel-b-core")], "kernel");
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("several kernel images: kernel-a-core, kernel-b-core"), "{error}");
    }
}
