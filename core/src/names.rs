//! Names for values that differ from run to run.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

/// A kind of value that differs from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameClass {
    /// Process and thread ids: one number space.
    Task,
    /// Rename cookies.
    Cookie,
    /// Addresses in user space.
    Address,
    /// Ports of the internet's protocols.
    Port,
    /// Lifetimes of files, in nanoseconds.
    Lifetime,
}

/// Names for values, one to one within each class.
///
/// A value that the workload can't know exactly, such as a duration between two points in the
/// kernel, is named by the range that it must be in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(BTreeMap<NameClass, Vec<Named>>);

/// A range of values with one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    #[serde(flatten)]
    values: Range,
    name: String,
}

/// Values from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    first: u64,
    last: u64,
}

/// Two values share a name, or one value has two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameClash {
    /// One value, two names.
    #[error("{class} {value} is called {first:?} and {second:?}")]
    TwoNames {
        /// Of what kind.
        class: NameClass,
        /// The value, or the range that shares some with one of another name.
        value: Range,
        /// The name it had.
        first: String,
        /// The name it was to have as well.
        second: String,
    },
    /// One name, two values.
    #[error("{class} {first} and {second} are both called {name:?}")]
    TwoValues {
        /// Of what kind.
        class: NameClass,
        /// The name.
        name: String,
        /// The value that had it.
        first: Range,
        /// The value that was to have it as well.
        second: Range,
    },
}

impl Names {
    /// Calls `value` by `name` in reports.
    pub fn add(&mut self, class: NameClass, value: u64, name: &str) -> Result<(), NameClash> {
        self.add_range(class, value..=value, name)
    }

    /// Calls whatever is in `values` by `name` in reports.
    pub fn add_range(
        &mut self,
        class: NameClass,
        values: RangeInclusive<u64>,
        name: &str,
    ) -> Result<(), NameClash> {
        let values = Range { first: *values.start(), last: *values.end() };
        let names = self.0.entry(class).or_default();
        for known in names.iter() {
            if known.name == name {
                if known.values == values {
                    return Ok(());
                }
                let name = name.to_owned();
                return Err(NameClash::TwoValues {
                    class,
                    name,
                    first: known.values,
                    second: values,
                });
            }
            if known.values.overlaps(values) {
                let (first, second) = (known.name.clone(), name.to_owned());
                return Err(NameClash::TwoNames { class, value: values, first, second });
            }
        }
        names.push(Named { values, name: name.to_owned() });
        Ok(())
    }

    /// Fails where the mapping, which may come from outside, is not one to one.
    pub fn check(&self) -> Result<(), NameClash> {
        let mut checked = Names::default();
        for (&class, names) in &self.0 {
            for Named { values, name } in names {
                checked.add_range(class, values.first..=values.last, name)?;
            }
        }
        Ok(())
    }

    /// `<name>`, or the bare number of a value without one: that never equals a snapshot by chance,
    /// which has names wherever values vary.
    pub fn show(&self, class: NameClass, value: u64) -> String {
        let mut names = self.0.get(&class).into_iter().flatten();
        match names.find(|named| named.values.contains(value)) {
            Some(named) => format!("<{}>", named.name),
            None if class == NameClass::Address => format!("{value:#x}"),
            None => value.to_string(),
        }
    }
}

impl Range {
    fn contains(self, value: u64) -> bool {
        (self.first..=self.last).contains(&value)
    }

    fn overlaps(self, other: Range) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => self.first.fmt(f),
            false => write!(f, "{} to {}", self.first, self.last),
        }
    }
}

impl fmt::Display for NameClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameClass::Task => "task",
            NameClass::Cookie => "cookie",
            NameClass::Address => "address",
            NameClass::Port => "port",
            NameClass::Lifetime => "lifetime",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_to_one() {
        let mut names = Names::default();
        names.add(NameClass::Task, 7, "worker").unwrap();
        names.add(NameClass::Task, 7, "worker").unwrap();
        names.add(NameClass::Cookie, 7, "c1").unwrap();
        assert_eq!(names.show(NameClass::Task, 7), "<worker>");
        assert_eq!(names.show(NameClass::Task, 8), "8");
        assert_eq!(
            names.add(NameClass::Task, 8, "worker").unwrap_err().to_string(),
            "task 7 and 8 are both called \"worker\""
        );
        assert_eq!(
            names.add(NameClass::Task, 7, "boss").unwrap_err().to_string(),
            "task 7 is called \"worker\" and \"boss\""
        );
    }

    #[test]
    fn a_mapping_from_outside_is_checked() {
        let names = r#"{"task": [
            {"first": 1, "last": 1, "name": "a"},
            {"first": 2, "last": 2, "name": "a"}
        ]}"#;
        let names: Names = serde_json::from_str(names).unwrap();
        assert!(matches!(names.check(), Err(NameClash::TwoValues { .. })));
    }

    #[test]
    fn a_range_has_one_name_and_shares_no_value() {
        let mut names = Names::default();
        names.add_range(NameClass::Lifetime, 10..=19, "first").unwrap();
        names.add_range(NameClass::Lifetime, 20..=29, "second").unwrap();
        let shown = [9, 10, 19, 20, 30].map(|value| names.show(NameClass::Lifetime, value));
        assert_eq!(shown, ["9", "<first>", "<first>", "<second>", "30"]);
        assert_eq!(
            names.add_range(NameClass::Lifetime, 29..=40, "third").unwrap_err().to_string(),
            "lifetime 29 to 40 is called \"second\" and \"third\""
        );
        let back: Names = serde_json::from_str(&serde_json::to_string(&names).unwrap()).unwrap();
        assert_eq!(back, names);
    }
}
