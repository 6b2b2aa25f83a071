//! What a workload says that it did: the oracle beside the golden snapshot.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::event::Event;

/// Printed by a workload, as JSON, after it did its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Names for everything that differs from run to run.
    pub names: Names,
    /// What a tracer must have reported, each thread's deeds in order.
    pub did: Vec<Event>,
}

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
}

/// Names for values, one to one within each class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(BTreeMap<NameClass, BTreeMap<u64, String>>);

/// Two values share a name, or one value has two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameClash {
    /// One value, two names.
    #[error("{class} {value} is called {first:?} and {second:?}")]
    TwoNames {
        /// Of what kind.
        class: NameClass,
        /// The value.
        value: u64,
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
        first: u64,
        /// The value that was to have it as well.
        second: u64,
    },
}

impl Names {
    /// Calls `value` by `name` in reports.
    pub fn add(&mut self, class: NameClass, value: u64, name: &str) -> Result<(), NameClash> {
        let names = self.0.entry(class).or_default();
        if let Some((&first, _)) =
            names.iter().find(|&(&other, known)| known == name && other != value)
        {
            return Err(NameClash::TwoValues {
                class,
                name: name.to_owned(),
                first,
                second: value,
            });
        }
        match names.insert(value, name.to_owned()) {
            Some(first) if first != name => {
                Err(NameClash::TwoNames { class, value, first, second: name.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Fails where the mapping, which may come from outside, is not one to one.
    pub fn check(&self) -> Result<(), NameClash> {
        let mut checked = Names::default();
        for (&class, names) in &self.0 {
            for (&value, name) in names {
                checked.add(class, value, name)?;
            }
        }
        Ok(())
    }

    /// `<name>`, or the bare number of a value without one: that never equals a snapshot by chance,
    /// which has names wherever values vary.
    pub fn show(&self, class: NameClass, value: u64) -> String {
        match self.0.get(&class).and_then(|names| names.get(&value)) {
            Some(name) => format!("<{name}>"),
            None if class == NameClass::Address => format!("{value:#x}"),
            None => value.to_string(),
        }
    }
}

impl fmt::Display for NameClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameClass::Task => "task",
            NameClass::Cookie => "cookie",
            NameClass::Address => "address",
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
        let names: Names = serde_json::from_str(r#"{"task": {"1": "a", "2": "a"}}"#).unwrap();
        assert!(matches!(names.check(), Err(NameClash::TwoValues { .. })));
    }
}
