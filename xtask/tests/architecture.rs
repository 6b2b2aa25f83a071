//! ARCHITECTURE.md says where things are: that must stay true.

use std::{collections::BTreeSet, fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn every_path_exists() {
    let text = read("ARCHITECTURE.md");
    let is_path = |code: &&str| {
        let mut characters = code.chars();
        characters.next().is_some_and(|first| first.is_ascii_lowercase())
            && characters.all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c))
            // Others are relative to what the sentence is about.
            && code.split_once('/').is_some_and(|(first, _)| root().join(first).exists())
    };
    let paths: BTreeSet<_> = text.split('`').skip(1).step_by(2).filter(is_path).collect();
    assert!(paths.len() > 50, "{paths:?}");
    let missing: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_module_of_the_largest_crate_has_a_row() {
    let text = read("ARCHITECTURE.md");
    let (_, table) = text.split_once("\n### vmtest\n").unwrap();
    let (table, _) = table.split_once("\n### ").unwrap();
    let rows: BTreeSet<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(module, _)| module)
        .collect();
    let lib = read("vmtest/src/lib.rs");
    let modules = lib.lines().filter_map(|line| {
        line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')
    });
    // What must hold for all bytes is for tests.
    let modules: BTreeSet<_> = modules.filter(|module| *module != "fuzzing").collect();
    assert_eq!(rows, modules);
}
