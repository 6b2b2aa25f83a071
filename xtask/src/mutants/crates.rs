//! Mutants of plan, decoder, normaliser and judge: cargo-mutants makes them, and the crates' tests notice
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Verdict;
use crate::invocation::Invocation;

/// What is broken in a package, and what notices.
struct Subject {
    package: &'static str,
    files: &'static [&'static str],
    /// The arguments of `cargo test`: tests that boot no kernel.
    tests: &'static [&'static str],
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        package: "kernlab-core",
        files: &[
            "core/src/arch.rs",
            "core/src/arch/**/*.rs",
            "core/src/attach.rs",
            "core/src/buffer.rs",
            "core/src/burst.rs",
            "core/src/decoder.rs",
            "core/src/discovery.rs",
            "core/src/discovery/**/*.rs",
            "core/src/elf.rs",
            "core/src/event.rs",
            "core/src/facts.rs",
            "core/src/live.rs",
            "core/src/losses.rs",
            "core/src/names.rs",
            "core/src/normalise.rs",
            "core/src/object_record.rs",
            "core/src/plan.rs",
            "core/src/record.rs",
            "core/src/scenario.rs",
            "core/src/section.rs",
            "core/src/socket.rs",
            "core/src/tracer.rs",
            "core/src/tracer/**/*.rs",
        ],
        tests: &[],
    },
    Subject {
        package: "kernlab-vmtest",
        files: &["vmtest/src/verdict/**/*.rs"],
        tests: &["--lib", "verdict"],
    },
];

/// What one mutant may take, with everything that depends on its crate to compile.
const TEST_SECONDS: &str = "900";
/// On one processor, with everything to compile, and many mutants.
const DEADLINE: Duration = Duration::from_secs(12 * 60 * 60);
const LIST_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// A mutant that cargo-mutants makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CrateMutant {
    pub(super) file: String,
    pub(super) line: usize,
    /// `FnValue`, `BinaryOperator`, ...
    pub(super) genre: String,
    /// What becomes of what: the name without file, line and column.
    pub(super) text: String,
    /// As cargo-mutants calls it.
    pub(super) name: String,
    package: String,
}

/// A copy of the repository, whose files are broken in their place.
pub(super) struct Tree {
    dir: PathBuf,
    output: PathBuf,
    build: PathBuf,
}

impl Tree {
    /// Copies what git has, as it is in the work tree.
    pub(super) fn copy(root: &Path, place: &Path) -> Result<Self> {
        let dir = place.join("tree");
        let listed = Invocation::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .dir(root)
            .read(LIST_DEADLINE)?;
        let files: BTreeSet<&str> =
            listed.lines().filter(|file| root.join(file).is_file()).collect();
        for file in &files {
            let (from, to) = (root.join(file), dir.join(file));
            let content = fs::read(&from).with_context(|| format!("failed to read {file}"))?;
            // What did not change need not be compiled again.
            if fs::read(&to).is_ok_and(|known| known == content) {
                continue;
            }
            fs::create_dir_all(to.parent().context("a file is in no directory")?)?;
            fs::copy(&from, &to).with_context(|| format!("failed to copy {file}"))?;
        }
        remove_others(&dir, &dir, &files)?;
        Ok(Tree { output: place.join("crates"), build: place.join("build"), dir })
    }

    fn cargo_mutants<'a>(
        &self,
        subject: &Subject,
        files: impl IntoIterator<Item = &'a str>,
    ) -> Invocation {
        // Directly: a cargo between us would not end it.
        Invocation::new("cargo-mutants")
            .args(["mutants", "--package", subject.package])
            .args(files.into_iter().flat_map(|file| ["--file", file]))
            .env("CARGO_TARGET_DIR", self.build.display().to_string())
            .env("CARGO_INCREMENTAL", "1")
            .dir(&self.dir)
    }

    /// Everything that cargo-mutants breaks.
    pub(super) fn mutants(&self) -> Result<Vec<CrateMutant>> {
        let mut all = Vec::new();
        for subject in &SUBJECTS {
            let files = subject.files.iter().copied();
            let listed = self.cargo_mutants(subject, files).args(["--list", "--json"]);
            let listed = listed.read(LIST_DEADLINE)?;
            all.extend(parse(&listed)?);
        }
        Ok(all)
    }

    /// Runs the tests with each of these mutants, as long as there is time.
    pub(super) fn judge(
        &self,
        sample: &[CrateMutant],
        limit: Option<Duration>,
    ) -> Result<Vec<(CrateMutant, Verdict)>> {
        let mut judged = Vec::new();
        let begun = std::time::Instant::now();
        for subject in &SUBJECTS {
            let of: Vec<_> = sample.iter().filter(|it| it.package == subject.package).collect();
            if of.is_empty() {
                continue;
            }
            let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            if left == Some(Duration::ZERO) {
                break;
            }
            let output = self.output.join(subject.package);
            if output.exists() {
                fs::remove_dir_all(&output)?;
            }
            fs::create_dir_all(&output)?;
            let names: Vec<_> = of.iter().map(|it| escaped(&it.name)).collect();
            // Only their files: 27.1 tries the fields that it leaves out whatever `--re` says.
            let files: BTreeSet<&str> = of.iter().map(|it| it.file.as_str()).collect();
            let ended = self
                .cargo_mutants(subject, files)
                .args(["--in-place", "--timeout", TEST_SECONDS, "--no-times", "--colors", "never"])
                .args(["--output".to_owned(), output.display().to_string()])
                .args(["--re".to_owned(), format!("^({})$", names.join("|"))])
                .args(["--"])
                .args(subject.tests.iter().copied())
                .read(left.unwrap_or(DEADLINE));
            // It exits with 2 if mutants survived; what it wrote tells more.
            let outcomes = fs::read_to_string(output.join("mutants.out/outcomes.json"));
            let Ok(outcomes) = outcomes else {
                return Err(ended.err().unwrap_or_else(|| anyhow::anyhow!("it wrote no outcome")))
                    .context("cargo-mutants failed");
            };
            let outcomes = verdicts(&outcomes).context("cargo-mutants' outcomes can't be read")?;
            judged.extend(
                of.into_iter().filter_map(|mutant| {
                    Some((mutant.clone(), outcomes.get(&mutant.name)?.clone()))
                }),
            );
        }
        Ok(judged)
    }
}

/// Removes files that are in no list, from an earlier copy.
fn remove_others(root: &Path, dir: &Path, files: &BTreeSet<&str>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, files)?;
            continue;
        }
        let name = path.strip_prefix(root)?.to_str().context("a path is not in UTF-8")?;
        if !files.contains(name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    package: String,
    file: String,
    genre: String,
    span: Span,
}

#[derive(Deserialize)]
struct Span {
    start: Place,
}

#[derive(Deserialize)]
struct Place {
    line: usize,
}

/// Reads the list of mutants.
fn parse(json: &str) -> Result<Vec<CrateMutant>> {
    let listed: Vec<Listed> =
        serde_json::from_str(json).context("cargo-mutants' list can't be read")?;
    let mut named: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mutant = |Listed { name, package, file, genre, span }: Listed| {
        // `FILE:LINE:COLUMN: TEXT`
        let mut text = name.split_once(": ").map_or(&*name, |(_, text)| text).to_owned();
        let count = named.entry((file.clone(), text.clone())).or_default();
        *count += 1;
        if *count > 1 {
            text = format!("{text} ({count})");
        }
        CrateMutant { file, line: span.start.line, genre, text, name, package }
    };
    Ok(listed.into_iter().map(mutant).collect())
}

#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: serde_json::Value,
    summary: String,
}

/// The verdicts, by the mutant's name.
fn verdicts(json: &str) -> Result<BTreeMap<String, Verdict>> {
    let Outcomes { outcomes } = serde_json::from_str(json)?;
    let verdict = |Outcome { scenario, summary }: Outcome| {
        let name = scenario["Mutant"]["name"].as_str()?.to_owned();
        let verdict = match summary.as_str() {
            "CaughtMutant" => Verdict::Killed("a test".to_owned()),
            "Timeout" => Verdict::Killed("a test that does not end".to_owned()),
            "MissedMutant" => Verdict::Survived,
            "Unviable" => Verdict::DoesNotBuild(String::new()),
            other => Verdict::NotJudged(other.to_owned()),
        };
        Some((name, verdict))
    };
    Ok(outcomes.into_iter().filter_map(verdict).collect())
}

/// A text as a regular expression that matches nothing else. `\<` and `\>` would be the edges of words.
fn escaped(text: &str) -> String {
    let escaped = |c: char| r"\.+*?()|[]{}^$".contains(c).then_some('\\').into_iter().chain([c]);
    text.chars().flat_map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_equal_texts_have_numbers() {
        let one = r#"{"name": "a/b.rs:3:5: replace f -> bool with true", "package": "p",
                      "file": "a/b.rs", "genre": "FnValue", "function": null,
                      "span": {"start": {"line": 3, "column": 5}, "end": {"line": 4, "column": 1}}}"#;
        let list = format!("[{one},{}]", one.replace(":3:", ":9:"));
        let all = parse(&list).unwrap();
        assert_eq!(all[0].text, "replace f -> bool with true");
        assert_eq!(all[1].text, "replace f -> bool with true (2)");
        assert_eq!((all[0].line, all[0].genre.as_str()), (3, "FnValue"));
        assert!(parse("{}").is_err());
    }

    #[test]
    fn outcomes_are_verdicts() {
        let outcome = |name: &str, summary: &str| {
            format!(r#"{{"scenario": {{"Mutant": {{"name": "{name}"}}}}, "summary": "{summary}"}}"#)
        };
        let json = format!(
            r#"{{"outcomes": [{{"scenario": "Baseline", "summary": "Success"}}, {}, {}, {}]}}"#,
            outcome("a", "CaughtMutant"),
            outcome("b", "MissedMutant"),
            outcome("c", "Unviable")
        );
        let verdicts = verdicts(&json).unwrap();
        assert_eq!(verdicts.len(), 3);
        assert_eq!(verdicts["a"], Verdict::Killed("a test".to_owned()));
        assert_eq!(verdicts["b"], Verdict::Survived);
        assert_eq!(verdicts["c"], Verdict::DoesNotBuild(String::new()));
    }

    #[test]
    fn a_name_matches_only_itself() {
        assert_eq!(escaped("a/b.rs:3:5: f -> (x)"), r"a/b\.rs:3:5: f -> \(x\)");
    }
}
