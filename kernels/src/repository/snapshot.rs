//! Dated archives: the state of a repository on a date.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Deserializer, de};

use crate::address::is_http;

/// The placeholder for the date in the URL of a dated archive.
const HOLE: &str = "{timestamp}";

/// The date format of dated archives: `20261121T001241Z`.
const FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// A date that an entry pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotDate(Timestamp);

impl SnapshotDate {
    pub fn time(self) -> Timestamp {
        self.0
    }
}

impl From<Timestamp> for SnapshotDate {
    fn from(time: Timestamp) -> Self {
        SnapshotDate(time)
    }
}

impl FromStr for SnapshotDate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = DateTime::strptime(FORMAT, text).and_then(|time| time.to_zoned(TimeZone::UTC));
        let date = time.map(|time| SnapshotDate(time.timestamp()));
        // The parser accepts more than this format, so the date must print back to the same text.
        date.ok().filter(|date| date.to_string() == text).ok_or_else(|| {
            format!("{text:?} is not a date of a dated archive such as \"20181101T000000Z\"")
        })
    }
}

impl fmt::Display for SnapshotDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime(FORMAT))
    }
}

impl<'de> Deserialize<'de> for SnapshotDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The URL of a dated archive, with a placeholder for the date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotUrl(String);

impl SnapshotUrl {
    /// The URL of the archive's state at a date such as `20261121T001241Z`.
    pub fn at(&self, timestamp: &str) -> String {
        self.0.replace(HOLE, timestamp)
    }
}

impl FromStr for SnapshotUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !is_http(text) || !text.contains(HOLE) {
            return Err(format!("expected an http or https address with {HOLE} in it"));
        }
        Ok(SnapshotUrl(text.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn an_address_needs_a_hole_for_the_date() {
        let url: SnapshotUrl = "https://snapshot.example.org/debian/{timestamp}/".parse().unwrap();
        assert_eq!(
            url.at("20260101T000000Z"),
            "https://snapshot.example.org/debian/20260101T000000Z"
        );
        assert!("https://snapshot.example.org/debian".parse::<SnapshotUrl>().is_err());
    }

    #[test]
    fn a_date_is_written_as_it_was_read() {
        let date: SnapshotDate = "20181101T063015Z".parse().unwrap();
        assert_eq!(date.time(), "2018-11-01T06:30:15Z".parse().unwrap());
        assert_eq!(date.to_string(), "20181101T063015Z");
    }

    #[rstest]
    #[case("20181101")]
    #[case("2018-11-01T00:00:00Z")]
    #[case("20181301T000000Z")]
    #[case("20181101T000000")]
    #[case("20181101T0000Z")]
    #[case(" 20181101T000000Z")]
    #[case("../../etc")]
    fn other_text_is_no_date(#[case] text: &str) {
        assert!(text.parse::<SnapshotDate>().unwrap_err().contains("not a date"));
    }
}
