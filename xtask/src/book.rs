//! `cargo xtask book`: the documentation as a book, with links that lead somewhere.

mod links;
mod pages;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use kernlab_cli::Exit;

use crate::{
    invocation::Invocation,
    workflows::{self, ENVIRONMENT},
    workspace,
};

/// Where the pages are gathered, as `book.toml` says.
const SOURCE: &str = "target/book/src";
/// Where the book is built, as `book.toml` says.
const BOOK: &str = "target/book/html";
/// The table of contents: its links are relative to its own directory, as those of all pages are.
const CONTENTS: &str = "docs/SUMMARY.md";
const DEADLINE: Duration = Duration::from_secs(120);

/// Build the documentation as a book with mdBook, in `target/book/html`, and check its links.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: &Args) -> Result<Exit> {
    let root = workspace::root();
    let Some(mdbook) = workflows::find("mdbook") else {
        eprintln!("error: no mdbook in {ENVIRONMENT} or on the path: run `cargo xtask setup`");
        return Ok(Exit::Infrastructure);
    };
    let absent = gather(&root)?;
    Invocation::new(mdbook).args(["build", "."]).dir(&root).run(DEADLINE)?;
    let faults = links::faults(&root.join(BOOK))?;
    for fault in absent.iter().chain(&faults) {
        eprintln!("error: {fault}");
    }
    if !absent.is_empty() || !faults.is_empty() {
        return Ok(Exit::Failure);
    }
    println!("{}", root.join(BOOK).join("index.html").display());
    Ok(Exit::Success)
}

/// Copies the pages that the table of contents names, and what they link, to where mdBook reads them.
/// Returns pages of `docs` that are in no chapter.
fn gather(root: &Path) -> Result<Vec<String>> {
    let source = root.join(SOURCE);
    if source.exists() {
        fs::remove_dir_all(&source).context("failed to empty the book's directory")?;
    }
    let contents = read(&root.join(CONTENTS))?;
    let chapters = pages::links(&contents, CONTENTS);
    let mut wanted = chapters.clone();
    for chapter in &chapters {
        wanted.extend(pages::links(&read(&root.join(chapter))?, chapter));
    }
    wanted.sort();
    wanted.dedup();
    for path in &wanted {
        copy(&root.join(path), &source.join(path))?;
    }
    for chapter in &chapters {
        let page = pages::with_index(&read(&root.join(chapter))?);
        write(&source.join(pages::with_index(chapter)), &page)?;
    }
    let contents = pages::with_index(&pages::moved_up(&contents, CONTENTS));
    write(&source.join("SUMMARY.md"), &contents)?;
    let docs = fs::read_dir(root.join("docs")).context("failed to read docs")?;
    let mut names: Vec<_> = docs
        .filter_map(|entry| Some(format!("docs/{}", entry.ok()?.file_name().to_str()?)))
        .filter(|name| name.ends_with(".md") && name != CONTENTS && !chapters.contains(name))
        .map(|name| format!("{name} is in no chapter: add it to {CONTENTS}"))
        .collect();
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// Copies a file, or a directory with the files in it. A link to nothing is told by the check of links.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("failed to copy {}", from.display());
    if from.is_dir() {
        for entry in fs::read_dir(from).with_context(failed)? {
            let path = entry.with_context(failed)?.path();
            if path.is_file() {
                copy(&path, &to.join(path.file_name().unwrap_or_default()))?;
            }
        }
    } else if from.is_file() {
        let dir = to.parent().map(PathBuf::from).unwrap_or_default();
        fs::create_dir_all(dir).with_context(failed)?;
        fs::copy(from, to).with_context(failed)?;
    }
    Ok(())
}
