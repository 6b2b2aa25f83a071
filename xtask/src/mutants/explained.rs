//! `mutants.toml`: mutants that nothing notices, each with the reason why nothing has to.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// The file, below the repository.
pub(super) const FILE: &str = "mutants.toml";
/// Where the mutants are that the rules of this command make; all others are those of cargo-mutants.
const PROGRAMS: &str = "backends/";

/// All explanations.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explanations {
    #[serde(default, rename = "survivor")]
    survivors: Vec<Survivor>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Survivor {
    /// Below the repository.
    file: String,
    /// As the list of survivors has it.
    mutant: String,
    /// Why nothing has to notice it.
    why: String,
}

impl Explanations {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not valid", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let read: Explanations = toml::from_str(text)?;
        let mut seen = BTreeSet::new();
        for Survivor { file, mutant, why } in &read.survivors {
            if why.trim().is_empty() {
                bail!("{file}: {mutant}: it gives no reason");
            }
            if !seen.insert((file, mutant)) {
                bail!("{file}: {mutant}: it is explained twice");
            }
        }
        Ok(read)
    }

    /// Why nothing notices the mutant, if that is explained.
    pub(super) fn why(&self, file: &str, mutant: &str) -> Option<&str> {
        let of = |it: &&Survivor| it.file == file && it.mutant == mutant;
        self.survivors.iter().find(of).map(|it| it.why.as_str())
    }

    /// The explanations of mutants of programs that do not exist.
    pub(super) fn stale_of_programs<'a>(
        &self,
        all: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Vec<String> {
        self.stale(all, |file| file.starts_with(PROGRAMS))
    }

    /// The explanations of mutants of crates that do not exist.
    pub(super) fn stale_of_crates<'a>(
        &self,
        all: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Vec<String> {
        self.stale(all, |file| !file.starts_with(PROGRAMS))
    }

    fn stale<'a>(
        &self,
        all: impl Iterator<Item = (&'a str, &'a str)>,
        concerns: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let all: BTreeSet<(&str, &str)> = all.collect();
        self.survivors
            .iter()
            .filter(|it| concerns(&it.file) && !all.contains(&(&it.file, &it.mutant)))
            .map(|it| format!("{}: {}", it.file, it.mutant))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mutants::programs, workspace};

    const ONE: &str = "[[survivor]]\nfile = \"backends/a.c\"\nmutant = \"a => b\"\nwhy = \"so\"\n";

    #[test]
    fn an_explanation_is_of_a_mutant_that_exists() {
        let read = Explanations::parse(ONE).unwrap();
        assert_eq!(read.why("backends/a.c", "a => b"), Some("so"));
        assert_eq!(read.why("backends/b.c", "a => b"), None);
        let there = [("backends/a.c", "a => b")];
        assert!(read.stale_of_programs(there.into_iter()).is_empty());
        assert_eq!(read.stale_of_programs([].into_iter()), ["backends/a.c: a => b"]);
        assert!(read.stale_of_crates([].into_iter()).is_empty(), "it is no mutant of a crate");
    }

    #[test]
    fn an_explanation_says_why_and_says_it_once() {
        let empty = Explanations::parse(&ONE.replace("\"so\"", "\" \"")).unwrap_err();
        assert_eq!(empty.to_string(), "backends/a.c: a => b: it gives no reason");
        let twice = Explanations::parse(&[ONE, ONE].concat()).unwrap_err();
        assert_eq!(twice.to_string(), "backends/a.c: a => b: it is explained twice");
    }

    /// What explains a line that was changed since explains nothing.
    #[test]
    fn the_mutants_of_programs_that_are_explained_exist() {
        let root = workspace::root();
        let read = Explanations::read(&root.join(FILE)).unwrap();
        let all = programs::all(&root).unwrap();
        let named = all.iter().map(|of| (of.file.as_str(), of.mutant.name.as_str()));
        let stale = read.stale_of_programs(named);
        assert!(stale.is_empty(), "{FILE} explains mutants that do not exist: {stale:#?}");
    }
}
