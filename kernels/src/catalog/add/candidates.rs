//! Which sources may have the kernel that a user asks for.

use crate::address::is_http;
use std::{convert::Infallible, fmt, path::PathBuf, str::FromStr};

use crate::catalog::{
    lock::LockedKernel,
    matrix::{DebSource, Entry, Matrix, Release, RpmSource, Source},
};

/// A kernel as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// An image on this machine.
    Image(PathBuf),
    /// A package, archive or image at a URL.
    Url(String),
    /// The newest kernel of a release: `6.16`.
    Release(Release),
    /// A package of one of the matrix's repositories, or a glob of package names.
    Package(String),
}

impl FromStr for Request {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let path = PathBuf::from(text);
        Ok(if is_http(text) {
            Request::Url(text.to_owned())
        } else if let Ok(release) = text.parse() {
            Request::Release(release)
        } else if text.contains('/') || path.is_file() {
            Request::Image(path)
        } else {
            Request::Package(text.to_owned())
        })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Image(path) => write!(f, "the image {}", path.display()),
            Request::Url(url) => write!(f, "a kernel at {url}"),
            Request::Release(release) => write!(f, "a kernel of release {release}"),
            Request::Package(package) => write!(f, "a package {package}"),
        }
    }
}

impl Request {
    /// Whether this locked kernel satisfies the request.
    pub(super) fn is_met_by(&self, locked: &LockedKernel) -> bool {
        match self {
            Request::Release(release) => {
                locked.series().is_some_and(|series| series.is_within(release))
            }
            _ => true,
        }
    }
}

/// The sources to query, in groups. The newest kernel of the first group that has any is used.
///
/// All suites that the matrix names are queried. For a release, the small flavour for virtual
/// machines comes first, because it boots fastest.
pub(super) fn sources(matrix: &Matrix, request: &Request) -> Vec<Vec<Source>> {
    let patterns = match request {
        Request::Package(package) => vec![package.clone()],
        Request::Release(release) => vec![
            format!("linux-image-{release}[.-]*-cloud-amd64"),
            // A plain release such as `6.16.3+deb13-amd64`, without a flavour.
            format!("linux-image-{release}[.-]*[0-9]-amd64"),
            format!("linux-image-{release}[.-]*-generic"),
            "kernel".to_owned(),
        ],
        Request::Image(_) | Request::Url(_) => Vec::new(),
    };
    let places = places(matrix);
    patterns
        .into_iter()
        .map(|pattern| {
            let fits = |source: &&Source| match source {
                Source::Deb(_) => !pattern.starts_with("kernel"),
                _ => !pattern.starts_with("linux-image"),
            };
            let sources = places.iter().filter(fits).map(|place| with_package(place, &pattern));
            sources.collect()
        })
        .filter(|group: &Vec<_>| !group.is_empty())
        .collect()
}

fn with_package(place: &Source, package: &str) -> Source {
    let package = package.to_owned();
    match place.clone() {
        Source::Deb(deb) => Source::Deb(DebSource { package, ..deb }),
        Source::Rpm(rpm) => Source::Rpm(RpmSource { package, ..rpm }),
        other => other,
    }
}

/// Every suite and directory that an entry uses, each once and without a pinned date: the newest
/// kernel is never in the dated archive of a past date.
fn places(matrix: &Matrix) -> Vec<Source> {
    let mut places: Vec<Source> = Vec::new();
    for entry in &matrix.entries {
        let is_place = match &entry.source {
            Source::Deb(deb) => deb.snapshot.is_none(),
            source => matches!(source, Source::Rpm(_)),
        };
        if !is_place {
            continue;
        }
        let place = with_package(&entry.source, "");
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// An id in the style of the existing ones: `debian-6.16`, with `-rt` or `-generic` for a flavour.
/// If that id is taken, the id contains the complete release.
pub(super) fn id(
    entry: &Entry,
    uname: &str,
    matrix: &Matrix,
    is_taken: impl Fn(&str) -> bool,
) -> String {
    let distribution = |name: &str| {
        let repository = matrix.repositories.get(name);
        repository.map_or_else(|| name.to_owned(), |repository| repository.distribution.clone())
    };
    let (family, package) = match &entry.source {
        Source::Deb(deb) => (distribution(&deb.repository), deb.package.as_str()),
        Source::Rpm(rpm) => (distribution(&rpm.repository), rpm.package.as_str()),
        Source::Url(_) => ("url".to_owned(), ""),
        _ => ("local".to_owned(), ""),
    };
    let flavour = match &entry.source {
        _ if package.contains("-rt") => "-rt",
        Source::Deb(_) if !["cloud", "virtual", "kvm"].iter().any(|f| package.contains(f)) => {
            "-generic"
        }
        _ => "",
    };
    let series = Release::of_uname(uname).map_or_else(|| "unknown".to_owned(), |r| r.to_string());
    let short = format!("{family}-{series}{flavour}");
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._+-".contains(c);
    let uname = uname.to_lowercase();
    let whole: String = uname.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let long = format!("{family}-{whole}");
    let numbered = (2..).map(|number| format!("{long}-{number}"));
    let mut all = [short, long.clone()].into_iter().chain(numbered);
    all.find(|id| !is_taken(id)).unwrap_or(long)
}

/// The numbers in a release, for finding the newer of two.
pub(super) fn numbers(release: &str) -> Vec<u64> {
    release
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(u64::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::blank, *};
    use crate::catalog::matrix::{Origin, RpmDir};

    fn deb(suite: &str, package: &str) -> Source {
        Source::Deb(DebSource {
            repository: "debian".to_owned(),
            suite: suite.to_owned(),
            component: "main".to_owned(),
            package: package.to_owned(),
            snapshot: None,
        })
    }

    fn dated(suite: &str) -> Source {
        let Source::Deb(source) = deb(suite, "p") else { unreachable!() };
        let snapshot = Some("20181101T000000Z".parse().unwrap());
        Source::Deb(DebSource { snapshot, ..source })
    }

    fn matrix() -> Matrix {
        let rpm = Source::Rpm(RpmSource {
            repository: "alma".to_owned(),
            dir: RpmDir::Path("8/os".to_owned()),
            package: "kernel".to_owned(),
        });
        let sources =
            [deb("old", "p"), dated("older"), deb("new", "p"), deb("new", "q"), rpm, Source::Host];
        let entries = sources.map(|source| blank(source, Origin::Shared)).into();
        Matrix { entries, ..Matrix::default() }
    }

    #[rstest]
    #[case("https://example.org/a.deb", Request::Url("https://example.org/a.deb".into()))]
    #[case("6.16", Request::Release("6.16".parse().unwrap()))]
    #[case("./bzImage", Request::Image("./bzImage".into()))]
    #[case("linux-image-6.16.3-amd64", Request::Package("linux-image-6.16.3-amd64".into()))]
    fn words_are_understood(#[case] text: &str, #[case] expected: Request) {
        assert_eq!(text.parse(), Ok(expected));
    }

    #[test]
    fn every_suite_is_asked_once_for_a_package() {
        let request = Request::Package("linux-image-6.16.3-amd64".to_owned());
        let groups = sources(&matrix(), &request);
        let package = "linux-image-6.16.3-amd64";
        assert_eq!(groups, [vec![deb("old", package), deb("new", package)]]);
    }

    #[test]
    fn a_release_is_looked_for_in_all_repositories_small_flavours_first() {
        let groups = sources(&matrix(), &Request::Release("6.16".parse().unwrap()));
        let shown: Vec<Vec<String>> =
            groups.iter().map(|group| group.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(shown.len(), 4);
        assert_eq!(shown[0][1], "deb debian new main linux-image-6.16[.-]*-cloud-amd64");
        assert_eq!(shown[3], ["rpm alma 8/os kernel"]);
    }

    #[rstest]
    #[case("linux-image-6.16[.-]*-cloud-amd64", &[], "debian-6.16")]
    #[case("linux-image-amd64", &[], "debian-6.16-generic")]
    #[case("linux-image-rt-amd64", &[], "debian-6.16-rt")]
    #[case("linux-image-cloud-amd64", &["debian-6.16"], "debian-6.16.3+deb13-cloud-amd64")]
    #[case(
        "linux-image-cloud-amd64",
        &["debian-6.16", "debian-6.16.3+deb13-cloud-amd64"],
        "debian-6.16.3+deb13-cloud-amd64-2"
    )]
    fn an_id_is_like_the_others(
        #[case] package: &str,
        #[case] taken: &[&str],
        #[case] expected: &str,
    ) {
        let entry = blank(deb("new", package), Origin::Shared);
        let found = id(&entry, "6.16.3+deb13-cloud-amd64", &matrix(), |id| taken.contains(&id));
        assert_eq!(found, expected);
    }

    #[test]
    fn ten_is_newer_than_nine() {
        assert!(numbers("6.12.10-1") > numbers("6.12.9-3"));
        assert!(numbers("7.3.4+deb13-cloud-amd64") > numbers("6.19.14"));
    }
}
