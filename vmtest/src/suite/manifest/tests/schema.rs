//! `docs/kernlab.schema.json` and the parser describe one format.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};

use super::{super::read::TABLES, EXAMPLE};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../../../docs/kernlab.schema.json")).unwrap()
}

/// What the schema has against a file.
fn violations(text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is one");
    let file = json_of(toml::from_str(text).unwrap());
    validator
        .iter_errors(&file)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// As editors show a TOML file to a schema: dates are texts.
fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::Datetime(date) => json!(date.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json_of).collect(),
        toml::Value::Table(table) => {
            table.into_iter().map(|(key, value)| (key, json_of(value))).collect()
        }
        other => serde_json::to_value(other).unwrap(),
    }
}

/// All objects with properties, by the keys on the way to them.
fn tables(schema: &Value, key: &str, found: &mut Vec<(String, BTreeSet<String>)>) {
    let schema = schema.get("items").unwrap_or(schema);
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    assert_eq!(schema["additionalProperties"], json!(false), "{key}");
    found.push((key.to_owned(), properties.keys().cloned().collect()));
    for (name, property) in properties {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        tables(property, &key, found);
    }
}

#[test]
fn schema_and_parser_know_the_same_keys() {
    let mut described = Vec::new();
    tables(&schema(), "", &mut described);
    described.sort();
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let mut read: Vec<_> =
        TABLES.iter().map(|(key, known)| ((*key).to_owned(), keys(known))).collect();
    read.sort();
    assert_eq!(described, read);
}

#[test]
fn the_example_matches_the_schema() {
    assert_eq!(violations(EXAMPLE), [""; 0]);
}

/// The schema has fewer rules than the parser, but those of tables are the same.
#[rstest]
#[case("run = 'a'\nrnu = 'a'")]
#[case("")]
#[case("run = 'a'\nobject = 'b'")]
#[case("run = []")]
#[case("cargo-test = { packages = 'a' }")]
#[case("cargo-test = { args = 3 }")]
#[case("run = 'a'\ncargo-test = {}")]
#[case("run = ''")]
#[case("run = 'a'\nready = {}")]
#[case("run = 'a'\nlost = { max = 3 }")]
#[case("run = 'a'\nguest = { cpus = 0 }")]
#[case("run = 'a'\nguest = { memory = '512MB' }")]
#[case("run = 'a'\nbtf = ['embeded']")]
#[case("run = 'a'\norder = 'sorted'")]
#[case("run = 'a'\ncollect = ['out']")]
#[case("run = 'a'\nnormalise = { pid = 'aliased' }")]
#[case("run = 'a'\nexpect = [{ when = 'btf', outcome = 'fail' }]")]
fn what_the_parser_refuses_violates_the_schema(#[case] text: &str) {
    let text = format!("[[suite]]\nname = \"s\"\n{text}\n");
    super::read(&text).unwrap_err();
    assert_ne!(violations(&text), [""; 0]);
}
