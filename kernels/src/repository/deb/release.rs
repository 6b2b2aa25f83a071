//! The release file of a suite, which the repository's key signs.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

use super::control;
use crate::{
    compression::Compression, digest::IndexDigest, repository::snapshot::SnapshotDate,
    signature::AsOf,
};

/// How far the clocks of this machine and of a repository may differ.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// The fields of a release file that are used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Release {
    pub(crate) date: Timestamp,
    valid_until: Option<Timestamp>,
    /// Whether the mirror serves files under their digest too, so that they stay consistent during
    /// an update of the mirror.
    pub(crate) by_hash: bool,
    files: Vec<IndexFile>,
}

/// A file whose size and digest the release file states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexFile {
    /// Relative to `dists/SUITE/`, or to the directory of a flat repository.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) digest: IndexDigest,
}

/// A release file that can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// A field is absent or malformed.
    #[error("the release file has no usable field {0:?}")]
    Field(&'static str),
    /// The release file describes a different suite.
    #[error("the release file is for suite {found:?}, not {expected:?}")]
    OtherSuite { found: String, expected: String },
    /// The release file's own expiry date has passed.
    #[error(
        "the release file expired on {0}: the mirror is stale, or this machine's clock is wrong"
    )]
    Expired(Timestamp),
    /// The release file is dated in the future.
    #[error("the release file is dated {0}, which is in the future: this machine's clock is slow")]
    FromTheFuture(Timestamp),
    /// On the pinned date, the release file did not exist yet or had already expired.
    #[error("the release file, dated {found}, was not valid on {date}")]
    OtherDate {
        /// The date of the release file.
        found: Timestamp,
        date: Timestamp,
    },
    /// The suite has no index for the component and architecture.
    #[error("the suite has no index for component {component:?} and architecture {arch:?}")]
    NoIndex { component: String, arch: &'static str },
}

impl Release {
    pub(crate) fn parse(text: &str, suite: &str) -> Result<Self, ReleaseError> {
        let stanza = control::stanzas(text).next().ok_or(ReleaseError::Field("Suite"))?;
        let names: Vec<_> =
            ["Suite", "Codename"].into_iter().filter_map(|field| stanza.get(field)).collect();
        // The suite `buster/updates` calls itself `buster`. A flat repository has no name.
        let short = suite.split_once('/').map_or(suite, |(name, _)| name);
        if !is_flat(suite) && !names.iter().any(|name| name == suite || name == short) {
            let found = names.join("/");
            return Err(ReleaseError::OtherSuite { found, expected: suite.to_owned() });
        }
        let date = stanza.get("Date").and_then(|text| parse_date(&text));
        let valid_until = match stanza.get("Valid-Until") {
            None => None,
            Some(text) => Some(parse_date(&text).ok_or(ReleaseError::Field("Valid-Until"))?),
        };
        let lists = ["SHA256", "SHA512"].into_iter().map(|kind| (kind, stanza.get(kind)));
        let list = lists.filter_map(|(kind, list)| Some((kind, list?))).next();
        let (kind, files) = list.ok_or(ReleaseError::Field("SHA256"))?;
        let lines = files.lines().filter(|line| !line.trim().is_empty());
        let files = lines.map(|line| parse_file(kind, line));
        Ok(Release {
            date: date.ok_or(ReleaseError::Field("Date"))?,
            valid_until,
            by_hash: stanza.get("Acquire-By-Hash").as_deref() == Some("yes"),
            files: files.collect::<Option<_>>().ok_or(ReleaseError::Field(kind))?,
        })
    }

    /// Checks that it had not expired and was not dated in the future at that time.
    pub(crate) fn check_date(&self, as_of: AsOf) -> Result<(), ReleaseError> {
        let (AsOf::Now(time) | AsOf::Kept(time)) = as_of;
        let is_of_the_future = self.date > time + CLOCK_TOLERANCE;
        let expired = self.valid_until.filter(|until| *until < time);
        match (as_of, expired) {
            (AsOf::Kept(date), expired) if is_of_the_future || expired.is_some() => {
                Err(ReleaseError::OtherDate { found: self.date, date })
            }
            (AsOf::Now(_), _) if is_of_the_future => Err(ReleaseError::FromTheFuture(self.date)),
            (AsOf::Now(_), Some(until)) => Err(ReleaseError::Expired(until)),
            _ => Ok(()),
        }
    }

    /// The package index in the best compression available. A flat repository has no component, and
    /// one index for all architectures.
    pub(crate) fn index(
        &self,
        component: &str,
        arch: &'static str,
    ) -> Result<(&IndexFile, Compression), ReleaseError> {
        [Compression::Xz, Compression::Zstd, Compression::Gzip, Compression::None]
            .into_iter()
            .find_map(|compression| {
                let dir = match component {
                    "" => String::new(),
                    component => format!("{component}/binary-{arch}/"),
                };
                let path = format!("{dir}Packages{}", compression.suffix());
                let file = self.files.iter().find(|file| file.path == path)?;
                Some((file, compression))
            })
            .ok_or_else(|| ReleaseError::NoIndex { component: component.to_owned(), arch })
    }

    /// A time at which a dated archive certainly contains what this release file describes:
    /// snapshots are taken several times a day, and nothing leaves a repository within a day.
    pub(crate) fn snapshot(&self) -> String {
        SnapshotDate::from(self.date + SignedDuration::from_hours(24)).to_string()
    }
}

impl IndexFile {
    /// Its path by digest: `main/binary-amd64/by-hash/SHA256/...`.
    pub(crate) fn path_by_hash(&self) -> String {
        let dir = self.path.rsplit_once('/').map_or(0, |(dir, _)| dir.len() + 1);
        format!("{}by-hash/{}/{}", &self.path[..dir], self.digest.kind(), self.digest)
    }
}

/// Whether a suite is a directory with an index in it instead of a suite in `dists/`. As in apt, a
/// slash at its end marks a directory.
pub(crate) fn is_flat(suite: &str) -> bool {
    suite.ends_with('/')
}

fn parse_file(kind: &str, line: &str) -> Option<IndexFile> {
    let mut words = line.split_whitespace();
    let digest = IndexDigest::parse(kind, words.next()?)?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?;
    Some(IndexFile { path: path.strip_prefix("./").unwrap_or(path).to_owned(), size, digest })
}

/// Parses `Fri, 20 Nov 2026 02:11:10 UTC`, or another spelling of UTC.
fn parse_date(text: &str) -> Option<Timestamp> {
    let zones = ["UTC", "GMT", "Z", "+0000"];
    let text = zones.iter().find_map(|zone| text.strip_suffix(zone))?.trim_end();
    let text = text.split_once(',').map_or(text, |(_weekday, date)| date).trim();
    let time = DateTime::strptime("%d %b %Y %H:%M:%S", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text() -> String {
        format!(
            "Suite: oldstable-security\nCodename: bookworm-security\nDate: Fri, 20 Nov 2026 \
             00:12:41 UTC\nValid-Until: Fri, 27 Nov 2026 00:12:41 UTC\nAcquire-By-Hash: \
             yes\nMD5Sum:\n 0 0 x\nSHA256:\n {EMPTY}  9 main/binary-amd64/Packages\n {EMPTY} 4 \
             main/binary-amd64/Packages.gz\n {EMPTY} 3 main/binary-amd64/Packages.xz\n"
        )
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("oldstable-security")]
    #[case("bookworm-security")]
    fn a_release_is_read_by_suite_or_codename(#[case] suite: &str) {
        let release = Release::parse(&text(), suite).unwrap();
        assert_eq!(release.date, time("2026-11-20T00:12:41Z"));
        assert!(release.by_hash);
        assert_eq!(release.snapshot(), "20261121T001241Z");
        let (file, compression) = release.index("main", "amd64").unwrap();
        assert_eq!((file.size, compression), (3, Compression::Xz));
        assert_eq!(file.path_by_hash(), format!("main/binary-amd64/by-hash/SHA256/{EMPTY}"));
        let error = release.index("contrib", "amd64").unwrap_err();
        assert!(matches!(error, ReleaseError::NoIndex { .. }), "{error:?}");
    }

    #[rstest]
    #[case("2026-11-20T01:00:00Z", true)]
    #[case("2026-11-19T01:00:00Z", true)]
    #[case("2026-11-18T00:00:00Z", false)]
    #[case("2026-11-27T00:00:00Z", true)]
    #[case("2026-11-28T00:00:00Z", false)]
    fn dates_are_checked(#[case] time: &str, #[case] good: bool) {
        let release = Release::parse(&text(), "bookworm-security").unwrap();
        let now = release.check_date(AsOf::Now(self::time(time)));
        assert_eq!(now.is_ok(), good, "{now:?}");
        // The pinned date counts, however long ago it was.
        let then = release.check_date(AsOf::Kept(self::time(time)));
        let expected = ReleaseError::OtherDate { found: release.date, date: self::time(time) };
        assert_eq!(then, if good { Ok(()) } else { Err(expected) });
    }

    #[test]
    fn a_suite_without_an_expiry_does_not_expire() {
        let text = text().replace("Valid-Until", "Was-Valid-Until");
        let release = Release::parse(&text, "bookworm-security").unwrap();
        assert_eq!(release.check_date(AsOf::Now(time("2030-01-01T00:00:00Z"))), Ok(()));
    }

    #[test]
    fn a_suite_of_the_security_archive_of_old_has_a_shorter_name() {
        let text = text().replace("bookworm-security", "buster");
        assert!(Release::parse(&text, "buster/updates").is_ok());
        assert!(Release::parse(&text, "stretch/updates").is_err());
    }

    #[test]
    fn a_flat_repository_has_neither_names_nor_components() {
        // As `apt-ftparchive release .` writes it.
        let text = format!(
            "Date: Sat, 15 Aug 2026 18:54:37 +0000\nSHA256:\n {EMPTY}            10142 \
             Packages\n {EMPTY}             3406 ./Packages.gz\n {EMPTY} 38 Release\n"
        );
        let release = Release::parse(&text, "./").unwrap();
        assert_eq!(release.date, time("2026-08-15T18:54:37Z"));
        let (file, compression) = release.index("", "amd64").unwrap();
        assert_eq!((&*file.path, compression), ("Packages.gz", Compression::Gzip));
        assert_eq!(file.path_by_hash(), format!("by-hash/SHA256/{EMPTY}"));
        assert!(Release::parse(&text, "stable").is_err());
    }

    #[test]
    fn an_index_may_be_described_by_its_sha_512_alone() {
        let digest = EMPTY.repeat(2);
        let text = text().replace("SHA256:", "SHA512:").replace(EMPTY, &digest);
        let release = Release::parse(&text, "bookworm-security").unwrap();
        let (file, _) = release.index("main", "amd64").unwrap();
        assert_eq!(file.path_by_hash(), format!("main/binary-amd64/by-hash/SHA512/{digest}"));
    }

    #[rstest]
    #[case("Thu, 01 Nov 2018 08:07:00 UTC")]
    #[case("Thu, 01 Nov 2018 08:07:00 GMT")]
    #[case("Thu, 01 Nov 2018 08:07:00 Z")]
    #[case("Thu,  1 Nov 2018  8:07:00 +0000")]
    fn dates_are_read(#[case] text: &str) {
        assert_eq!(parse_date(text), Some(time("2018-11-01T08:07:00Z")));
    }

    #[rstest]
    #[case("20 Nov", "20 Now", ReleaseError::Field("Date"))]
    #[case("27 Nov", "27 Now", ReleaseError::Field("Valid-Until"))]
    #[case("SHA256:", "SHA1:", ReleaseError::Field("SHA256"))]
    #[case("SHA256:", "SHA512:", ReleaseError::Field("SHA512"))]
    #[case(" 9 main", " nine main", ReleaseError::Field("SHA256"))]
    fn a_malformed_release_is_refused(
        #[case] from: &str,
        #[case] to: &str,
        #[case] expected: ReleaseError,
    ) {
        let error = Release::parse(&text().replace(from, to), "bookworm-security").unwrap_err();
        assert_eq!(error, expected);
    }

    #[test]
    fn another_suite_is_refused() {
        let error = Release::parse(&text(), "bookworm").unwrap_err();
        assert!(matches!(error, ReleaseError::OtherSuite { .. }), "{error:?}");
    }
}
