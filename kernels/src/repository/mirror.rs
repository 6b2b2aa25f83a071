//! The mirrors of a repository, and the order in which they are tried.

use std::{env, path::Path};

use crate::{
    catalog::matrix::{Matrix, Repository},
    repository::{
        apt::{self, AptSource},
        snapshot::SnapshotUrl,
        yum,
    },
};

/// The mirrors configured on this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirrors {
    /// The URLs in `KERNLAB_MIRROR_<REPOSITORY>`, for each repository that has any.
    environment: Vec<(String, String)>,
    distributions: Vec<String>,
    apt: Vec<AptSource>,
    /// URLs of RPM repository directories.
    yum: Vec<String>,
}

impl Mirrors {
    /// Reads the environment, and the package manager's configuration below `root`.
    pub(crate) fn of_machine(matrix: &Matrix, root: &Path) -> Self {
        let mut environment = Vec::new();
        for name in matrix.repositories.keys() {
            let urls = env::var(variable(name)).unwrap_or_default();
            environment.extend(urls.split_whitespace().map(|url| (name.clone(), url.to_owned())));
        }
        Mirrors {
            environment,
            distributions: apt::distributions(root),
            apt: apt::sources(root),
            yum: yum::addresses(root),
        }
    }

    /// The mirrors of a repository. For its current state: those of the environment and the
    /// overlay, those that this machine is configured with if it runs the same distribution, the
    /// distribution's public ones, and then dated archives. For its state on a date: dated archives
    /// only.
    ///
    /// A URL of the environment or the overlay is that of a dated archive if it has a placeholder
    /// for the date.
    pub(crate) fn of(&self, matrix: &Matrix, name: &str, wanted: Wanted<'_>) -> Vec<Mirror> {
        let Some(repository) = matrix.repositories.get(name) else {
            return Vec::new();
        };
        let environment = self.environment.iter().filter(|(key, _)| key == name).map(|(_, u)| u);
        let overlay = matrix.mirrors.get(name).into_iter().flatten();
        let (mut live, mut archives) = (Vec::new(), Vec::new());
        for url in environment.chain(overlay) {
            match url.parse::<SnapshotUrl>() {
                Ok(archive) => archives.push(archive),
                Err(_) => live.push(url.clone()),
            }
        }
        archives.extend(repository.snapshot.clone());
        let date = match wanted {
            Wanted::Now { fallback } => {
                live.extend(self.configured(repository));
                live.extend(repository.public.iter().cloned());
                fallback
            }
            Wanted::At(date) => {
                live.clear();
                Some(date)
            }
        };
        let live = live.iter().map(|url| Mirror { url: trim(url), is_dated: false });
        let at = |date| archives.iter().map(move |archive: &SnapshotUrl| archive.at(date));
        let dated = date.into_iter().flat_map(at).map(|url| Mirror { url, is_dated: true });
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
            crate::address::is_http(&source.uri)
                && source.components.iter().any(|component| component == "main")
                && trim(&source.uri).rsplit('/').next() == Some(repository.archive.as_str())
        };
        let apt = self.apt.iter().filter(carries).map(|source| source.uri.clone());
        let yum = self.yum.iter().filter(|address| crate::address::is_http(address));
        let yum = yum.filter_map(|address| yum::mirror(address, &repository.archive));
        apt.chain(yum).collect()
    }
}

/// Which state of a repository is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// The current one; if no mirror has it, a dated archive of this date may be used.
    Now { fallback: Option<&'a str> },
    /// The one of this date, and no other.
    At(&'a str),
}

/// The URL of a mirror: `dists/...` and `pool/...` are relative to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) url: String,
    /// Whether it shows a past state of the repository, so that its content may be out of date.
    pub(crate) is_dated: bool,
}

impl Mirror {
    pub(crate) fn file(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }
}

/// The environment variable that names a mirror: `KERNLAB_MIRROR_DEBIAN_SECURITY` for
/// `debian-security`.
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
    use crate::catalog::matrix::Signs;

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

    fn now(date: &str) -> Wanted<'_> {
        Wanted::Now { fallback: Some(date) }
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
        let mirrors = machine("debian").of(&matrix, "debian", now("20260101T000000Z"));
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
        let mirrors = machine("fedora").of(&matrix(), "debian-security", now("20260101T000000Z"));
        assert_eq!(mirrors.len(), 2);
        assert!(mirrors[1].is_dated);
        let undated = Wanted::Now { fallback: None };
        assert_eq!(machine("fedora").of(&matrix(), "debian-security", undated), mirrors[..1]);
        assert!(machine("debian").of(&matrix(), "unknown", undated).is_empty());
    }

    #[test]
    fn a_date_is_looked_for_in_dated_archives_only() {
        let mut matrix = matrix();
        let overlay = [
            "http://overlay.example.org/debian",
            "http://overlay.example.org/archive/debian/{timestamp}/",
        ];
        matrix.mirrors.insert("debian".to_owned(), overlay.map(str::to_owned).to_vec());
        let urls = |wanted| -> Vec<_> {
            let mirrors = machine("debian").of(&matrix, "debian", wanted);
            mirrors.into_iter().map(|mirror| (mirror.url, mirror.is_dated)).collect()
        };
        let archives = [
            "http://overlay.example.org/archive/debian/20181101T000000Z",
            "https://snapshot.example.org/debian/20181101T000000Z",
        ];
        let archives = archives.map(|url| (url.to_owned(), true));
        assert_eq!(urls(Wanted::At("20181101T000000Z")), archives);
        // Without a pinned date, dated archives come last.
        let all = urls(now("20181101T000000Z"));
        assert_eq!(all[all.len() - 2..], archives);
        assert!(all[..all.len() - 2].iter().all(|(_, is_dated)| !is_dated));
    }

    #[test]
    fn a_variable_for_each_repository() {
        assert_eq!(variable("debian-security"), "KERNLAB_MIRROR_DEBIAN_SECURITY");
    }
}
