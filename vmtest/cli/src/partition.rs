//! Splits a run across several machines.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One of several parts of a run: every Nth of its cells, or of whatever else it consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Partition {
    /// Counted from 1.
    part: usize,
    /// How many parts there are.
    of: usize,
}

impl Partition {
    /// What is in this part. Everything is in exactly one.
    pub fn of<T>(self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.part - 1).step_by(self.of).collect()
    }
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(part, of)| {
                Some(Partition { part: part.parse().ok()?, of: of.parse().ok()? })
            })
            .filter(|partition| (1..=partition.of).contains(&partition.part));
        parsed.ok_or_else(|| {
            format!("{text:?} is not a part of a run: expected PART/OF, for example 1/4 to 4/4")
        })
    }
}

impl TryFrom<String> for Partition {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.to_string()
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_one_part() {
        let parts = ["1/2", "2/2"].map(|part| part.parse::<Partition>().unwrap());
        assert_eq!(parts.map(|part| part.of(vec![1, 2, 3, 4, 5])), [vec![1, 3, 5], vec![2, 4]]);
        assert_eq!(parts[1].to_string(), "2/2");
    }

    #[test]
    fn no_part_is_told_so() {
        for text in ["2", "0/2", "3/2", "1/0", "a/b"] {
            assert!(text.parse::<Partition>().unwrap_err().contains("expected PART/OF"), "{text}");
        }
    }
}
