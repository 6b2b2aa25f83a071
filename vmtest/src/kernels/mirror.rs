//! At which addresses the files of a repository are looked for, in which order.

use std::{env, path::Path};

use super::{
    apt::{self, AptSource},
    matrix::{Matrix, Repository},
    yum,
};

/// What this machine knows of mirrors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirrors {
    /// The value of `KERNLAB_MIRROR_<REPOSITORY>` for each repository that has one.
    environment: Vec<(String, String)>,
    distributions: Vec<String>,
    apt: Vec<AptSource>,
    /// Addresses of folders of repositories.
    yum: Vec<String>,
}

impl Mirrors {
    /// Reads the environment and the package configuration below `root`.
    pub(crate) fn of_machine(matrix: &Matrix, root: &Path) -> Self {
        let named = matrix.repositories.keys().filter_map(|name| {
            Some((name.clone(), env::var(variable(name)).ok().filter(|url| !url.is_empty())?))
        });
        Mirrors {
            environment: named.collect(),
            distributions: apt::distributions(root),
            apt: apt::sources(root),
            yum: yum::addresses(root),
        }
    }

    /// The addresses of a repository: the environment's and the overlay's, the machine's own where
    /// it is of the same distribution, the distribution's public ones, the dated snapshot archive.
    pub(crate) fn of(&self, matrix: &Matrix, name: &str, snapshot: Option<&str>) -> Vec<Mirror> {
        let Some(repository) = matrix.repositories.get(name) else {
            return Vec::new();
        };
        let environment = self.environment.iter().filter(|(key, _)| key == name).map(|(_, u)| u);
        let overlay = matrix.mirrors.get(name).into_iter().flatten();
        let live = environment.chain(overlay).cloned().chain(self.configured(repository));
        let live = live.chain(repository.public.iter().cloned());
        let live = live.map(|url| Mirror { url: trim(&url), is_dated: false });
        let dated = repository.snapshot.as_ref().zip(snapshot).map(|(url, time)| url.at(time));
        let dated = dated.map(|url| Mirror { url, is_dated: true });
        let mut mirrors = Vec::<Mirror>::new();
        for mirror in live.chain(dated) {
            if !mirrors.contains(&mirror) {
                mirrors.push(mirror);
            }
        }
        mirrors
    }

    fn configured(&self, repository: &Repository) -> Vec<String> {
        if !self.distributions.contains(&repository.distribution) {
            return Vec::new();
        }
        let carries = |source: &&AptSource| {
            super::matrix::is_http(&source.uri)
                && source.components.iter().any(|component| component == "main")
                && trim(&source.uri).rsplit('/').next() == Some(repository.archive.as_str())
        };
        let apt = self.apt.iter().filter(carries).map(|source| source.uri.clone());
        let yum = self.yum.iter().filter(|address| super::matrix::is_http(address));
        let yum = yum.filter_map(|address| yum::mirror(address, &repository.archive));
        apt.chain(yum).collect()
    }
}

/// One address of a repository: `dists/...` and `pool/...` are below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) url: String,
    /// Whether it shows the repository as it was once, so that what it says may be out of date.
    pub(crate) is_dated: bool,
}

impl Mirror {
    pub(crate) fn file(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }
}

/// The variable that names a mirror: `KERNLAB_MIRROR_DEBIAN_SECURITY` for `debian-security`.
pub(crate) fn variable(repository: &str) -> String {
    let name = repository.to_uppercase();
    format!("KERNLAB_MIRROR_{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

fn trim(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matrix::Signs;

    fn matrix() -> Matrix {
        let repository = |archive: &str| Repository {
            distribution: "debian".to_owned(),
            archive: archive.to_owned(),
            snapshot: format!("https://snapshot.example.org/{archive}/{{timestamp}}").parse().ok(),
            public: vec!["https://public.example.org/debian/".to_owned()],
            signs: Signs::Index,
            keys: Vec::new(),
        };
        let mut matrix = Matrix::default();
        for name in ["debian", "debian-security"] {
            matrix.repositories.insert(name.to_owned(), repository(name));
        }
        matrix
    }

    fn apt(uri: &str, component: &str) -> AptSource {
        AptSource { uri: uri.to_owned(), components: vec![component.to_owned()] }
    }

    fn machine(distribution: &str) -> Mirrors {
        Mirrors {
            environment: vec![(
                "debian".to_owned(),
                "http://environment.example.org/d/".to_owned(),
            )],
            distributions: vec![distribution.to_owned()],
            apt: vec![
                apt("http://mirror.example.org/debian/", "main"),
                apt("http://mirror.example.org/debian", "main"),
                apt("http://mirror.example.org/debian-security", "main"),
                apt("https://tools.example.org/linux/debian", "stable"),
                apt("file:/srv/debian", "main"),
            ],
            yum: vec![
                "https://rpm.example.org/debian/$releasever/os".to_owned(),
                "file:/srv/debian/os".to_owned(),
            ],
        }
    }

    #[test]
    fn the_order_is_environment_overlay_machine_public_snapshot() {
        let mut matrix = matrix();
        let overlay = vec!["http://overlay.example.org/debian".to_owned()];
        matrix.mirrors.insert("debian".to_owned(), overlay);
        let mirrors = machine("debian").of(&matrix, "debian", Some("20260101T000000Z"));
        let urls: Vec<_> = mirrors.iter().map(|mirror| mirror.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "http://environment.example.org/d",
                "http://overlay.example.org/debian",
                "http://mirror.example.org/debian",
                "https://rpm.example.org/debian",
                "https://public.example.org/debian",
                "https://snapshot.example.org/debian/20260101T000000Z",
            ]
        );
        assert!(mirrors[5].is_dated && !mirrors[4].is_dated);
    }

    #[test]
    fn the_machines_mirrors_serve_only_its_own_distribution() {
        let mirrors = machine("fedora").of(&matrix(), "debian-security", Some("20260101T000000Z"));
        assert_eq!(mirrors.len(), 2);
        assert!(mirrors[1].is_dated);
        let undated = machine("fedora").of(&matrix(), "debian-security", None);
        assert_eq!(undated, mirrors[..1]);
        assert!(machine("debian").of(&matrix(), "unknown", None).is_empty());
    }

    #[test]
    fn a_variable_for_each_repository() {
        assert_eq!(variable("debian-security"), "KERNLAB_MIRROR_DEBIAN_SECURITY");
    }
}
