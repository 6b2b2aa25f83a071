//! docs/your-own-tracer.md is true: its files are written and its commands are run in the order of
//! the page, and print what it shows.
//!
//! The words after the language of a block say what happens with it:
//!
//! | block | is |
//! |---|---|
//! | `console` | commands after `$ `, each with what it prints on standard output; `...` stands for any lines |
//! | `console fails` | the same; the last command fails |
//! | `console elsewhere` | not run: other tests do that, or it can't be done here |
//! | `toml FILE`, `sh FILE` | a file, which commands after it find |
//! | `toml` | suites that are not run: they can be read |
//! | `text` | shown by a command above, or an illustration |
//!
//! Numbers that vary are not compared: seconds, releases of kernels, names of runs.

mod page;
mod reader;

use std::{fs, path::Path};

use kernlab_vmtest::suite::manifest::{FILE_NAME, Project};
use page::{Block, Page};
use reader::Reader;

/// The checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn page() -> Page {
    Page::read(&fs::read_to_string(root().join("docs/your-own-tracer.md")).unwrap())
}

#[test]
fn all_suites_can_be_read() {
    let blocks = page().blocks;
    let suites: Vec<_> = blocks.iter().filter(|block| block.language == "toml").collect();
    assert!(suites.len() > 3, "{blocks:?}");
    for Block { line, text, .. } in suites {
        let read = Project::parse(Path::new(FILE_NAME), text);
        read.unwrap_or_else(|error| panic!("the suite in line {line} of the page: {error}"));
    }
}

#[test]
fn every_block_is_understood() {
    for block in page().blocks {
        let words: Vec<_> = block.words.iter().map(String::as_str).collect();
        match (block.language.as_str(), words.as_slice()) {
            ("console", [] | ["fails" | "elsewhere"]) | ("toml" | "text", []) => {}
            ("toml" | "sh" | "bpftrace", [_file]) => {}
            other => panic!("line {}: {other:?}", block.line),
        }
    }
}

#[test]
fn the_page_shows_the_example() {
    let example = root().join("fixtures/own-tracer");
    for file in [FILE_NAME, "opens.sh", "opens.bt"] {
        let shown = page().blocks.into_iter().find(|block| block.words == [file]);
        let shown = shown.unwrap_or_else(|| panic!("the page has no {file}"));
        let text = fs::read_to_string(example.join(file)).unwrap();
        assert_eq!(shown.text, text, "line {}: {file} is another one", shown.line);
    }
}

/// Boots three kernels, and runs a dozen cells.
#[test]
fn a_reader_gets_what_the_page_shows() {
    let mut reader = Reader::new(root());
    for block in page().blocks {
        match (block.language.as_str(), block.words.as_slice()) {
            ("console", words) if words != ["elsewhere"] => reader.session(&block),
            (_, [file]) if block.language != "console" => reader.write(file, &block.text),
            _ => {}
        }
    }
}
