//! `docs/kernlab-toml.md` has every key that the parser knows, and no other.

use std::collections::{BTreeMap, BTreeSet};

use super::super::read::TABLES;

const PAGE: &str = include_str!("../../../../../docs/kernlab-toml.md");

/// What is between the first two backquotes of a line.
fn quoted(line: &str) -> Option<&str> {
    line.split('`').nth(1)
}

/// The keys in the tables of the page, by the key in the heading above them. A heading of the third
/// level divides the keys of one table.
fn described() -> BTreeMap<String, BTreeSet<String>> {
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut table = None;
    for line in PAGE.lines() {
        if line.starts_with("## ") {
            table = quoted(line).map(|heading| match heading {
                "kernlab.toml" => "",
                heading => heading.trim_start_matches('[').trim_end_matches(']'),
            });
        } else if let (Some(table), true) = (table, line.starts_with("| `")) {
            let keys = described.entry(table.to_owned()).or_default();
            let key = quoted(line).expect("it begins with one");
            assert!(keys.insert(key.to_owned()), "`{key}` of `{table}` is there twice");
        }
    }
    described
}

#[test]
fn the_reference_has_every_key() {
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let read: BTreeMap<String, BTreeSet<String>> =
        TABLES.iter().map(|(table, known)| ((*table).to_owned(), keys(known))).collect();
    assert_eq!(described(), read);
}
