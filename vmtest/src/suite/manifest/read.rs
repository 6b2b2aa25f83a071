//! From the text of `kernlab.toml` to a [`Project`].

mod field;
mod guest;
mod matching;
mod suite;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use kernlab_kernels::{Document, DocumentError};

use self::field::{Field, Table};
use super::{CargoSuite, FieldRule, Project, Subject};
use crate::suite::payload::absolute;

/// The keys of each table, by the table's own key.
#[cfg(test)]
pub(super) const TABLES: &[(&str, &[&str])] = &[
    ("", PROJECT),
    ("suite", suite::SUITE),
    ("suite.ready", suite::READY),
    ("suite.stop", suite::STOP),
    ("suite.cargo-test", suite::CARGO),
    ("suite.insns", suite::INSTRUCTIONS),
    ("suite.guest", guest::GUEST),
    ("suite.lost", matching::LOST),
    ("suite.replace", matching::REPLACE),
    ("suite.expect", matching::EXPECT),
];

const PROJECT: &[&str] = &["kernels", "build", "root", "normalise", "suite"];

pub(super) fn project(path: &Path, text: &str) -> Result<Project, DocumentError> {
    let document = Document::new(path, text);
    let mut table = Table::of_file(&document, text, PROJECT)?;
    let kernels = table.read("kernels", |field| {
        let whole = field.clone();
        match field.texts()? {
            kernels if kernels.is_empty() => {
                Err(whole.invalid("expected at least one kernel, such as \"default\""))
            }
            kernels => Ok(kernels),
        }
    })?;
    let build = table.read("build", |field| field.text())?;
    let root = table.read("root", Field::text)?.map(PathBuf::from);
    let fields: BTreeMap<String, FieldRule> =
        matching::field_rules(table.take("normalise"), BTreeMap::new())?;
    let mut names = Vec::new();
    let described = table.need("suite", |field| {
        field.list("`[[suite]]` tables", |field| suite::suite(field, &fields, &mut names))
    })?;
    if described.is_empty() {
        return Err(table.invalid("expected at least one [[suite]]"));
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    let (mut suites, mut cargo) = (Vec::new(), Vec::new());
    for (mut template, tests) in described {
        if template.root.is_none() && matches!(template.subject, Subject::Run(_)) {
            template.root.clone_from(&root);
        }
        let golden = template.golden.as_ref();
        if golden.is_some_and(|golden| absolute(&dir.join(golden)) == absolute(path)) {
            let name = &template.name;
            let message = format!("the golden snapshot of the suite {name:?} can't be this file");
            return Err(table.invalid(message));
        }
        match tests {
            Some(tests) => cargo.push(CargoSuite { template, tests }),
            None => suites.push(template),
        }
    }
    Ok(Project {
        path: path.to_owned(),
        kernels: kernels.unwrap_or_else(|| vec!["default".to_owned()]),
        build,
        suites,
        cargo,
    })
}
