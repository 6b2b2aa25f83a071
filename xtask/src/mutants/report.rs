//! What mutants tell: a score, and the survivors.

use std::fmt::Write as _;

use kernlab_cli::Exit;
use serde::Serialize;

use super::{Verdict, explanations_file};

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// What chose the samples.
    pub(super) seed: u64,
    /// Programs, crates.
    pub(super) parts: Vec<Part>,
    /// Explanations of mutants that do not exist.
    pub(super) stale: Vec<String>,
}

/// Mutants of one kind.
#[derive(Debug, Default, Serialize)]
pub(super) struct Part {
    what: &'static str,
    /// How many there are, and how many were chosen.
    total: usize,
    chosen: usize,
    killed: usize,
    same_object: usize,
    does_not_build: usize,
    not_judged: Vec<String>,
    explained: Vec<Survivor>,
    survivors: Vec<Survivor>,
}

/// A mutant that nothing noticed.
#[derive(Debug, Serialize)]
struct Survivor {
    file: String,
    line: usize,
    rule: String,
    mutant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Part {
    pub(super) fn new(what: &'static str, total: usize, chosen: usize) -> Self {
        Part { what, total, chosen, ..Part::default() }
    }

    /// Notes what became of a mutant, with what explains it.
    pub(super) fn note(
        &mut self,
        file: &str,
        line: usize,
        rule: &str,
        mutant: &str,
        verdict: &Verdict,
        why: Option<&str>,
    ) {
        match verdict {
            Verdict::Killed(_) => self.killed += 1,
            Verdict::SameObject => self.same_object += 1,
            Verdict::DoesNotBuild(_) => self.does_not_build += 1,
            Verdict::NotJudged(said) if why.is_none() => {
                self.not_judged.push(format!("{file}:{line}: {mutant}: {said}"));
            }
            Verdict::NotJudged(_) | Verdict::Survived => {
                let (file, rule, mutant) = (file.to_owned(), rule.to_owned(), mutant.to_owned());
                let survivor = Survivor { file, line, rule, mutant, why: why.map(str::to_owned) };
                match why {
                    Some(_) => self.explained.push(survivor),
                    None => self.survivors.push(survivor),
                }
            }
        }
    }

    /// How many were noticed, of those that something could notice.
    fn score(&self) -> (usize, usize) {
        (self.killed, self.killed + self.survivors.len())
    }

    fn tried(&self) -> usize {
        let said = self.killed + self.same_object + self.does_not_build + self.not_judged.len();
        said + self.explained.len() + self.survivors.len()
    }

    fn text(&self, seed: u64) -> String {
        let (killed, of) = self.score();
        let percent = if of == 0 { 100.0 } else { 100.0 * killed as f64 / of as f64 };
        let Part { what, total, chosen, same_object, does_not_build, .. } = self;
        let tried = match (self.tried(), *chosen == *total) {
            (tried, true) if tried == *total => format!("all {total}"),
            (tried, _) if tried < *chosen => {
                format!("{tried} of {total}, chosen by seed {seed} ({chosen} were to be tried)")
            }
            (tried, _) => format!("a sample of {tried} of {total}, chosen by seed {seed}"),
        };
        let mut text = format!(
            "{what}: {killed} of {of} mutants noticed ({percent:.0} %); tried {tried}: {same_object} made no \
             difference to the compiler, {does_not_build} do not build, {} are explained, {} were not judged\n",
            self.explained.len(),
            self.not_judged.len()
        );
        for Survivor { file, line, rule, mutant, .. } in &self.survivors {
            let _ = writeln!(text, "  survived: {file}:{line}: {rule}: {mutant}");
        }
        for not_judged in &self.not_judged {
            let _ = writeln!(text, "  not judged: {not_judged}");
        }
        text
    }
}

impl Report {
    /// Whether every mutant that was tried is noticed or explained, and every explanation is of one that
    /// exists.
    pub(super) fn exit(&self) -> Exit {
        if !self.stale.is_empty() || self.parts.iter().any(|part| !part.survivors.is_empty()) {
            return Exit::Failure;
        }
        match self.parts.iter().all(|part| part.not_judged.is_empty()) {
            true => Exit::Success,
            false => Exit::Infrastructure,
        }
    }

    /// The whole, for a terminal.
    pub(super) fn text(&self) -> String {
        let mut text: String = self.parts.iter().map(|part| part.text(self.seed)).collect();
        let file = explanations_file();
        for stale in &self.stale {
            let _ =
                writeln!(text, "{} explains a mutant that does not exist: {stale}", file.display());
        }
        if self.parts.iter().any(|part| !part.survivors.is_empty()) {
            let _ = writeln!(
                text,
                "a survivor wants a scenario or a test that notices it, or an entry in {}",
                file.display()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(verdicts: &[Verdict], why: Option<&str>) -> Part {
        let mut part = Part::new("programs", 10, verdicts.len());
        for (line, verdict) in verdicts.iter().enumerate() {
            part.note("a.c", line + 1, "sign", "a => b", verdict, why);
        }
        part
    }

    fn report(part: Part) -> Report {
        Report { seed: 7, parts: vec![part], stale: vec![] }
    }

    #[test]
    fn a_score_is_of_what_something_could_notice() {
        let verdicts = [
            Verdict::Killed("a cell".to_owned()),
            Verdict::Killed("a cell".to_owned()),
            Verdict::Survived,
            Verdict::SameObject,
            Verdict::DoesNotBuild(String::new()),
            Verdict::NotJudged("no guest".to_owned()),
        ];
        let report = report(part(&verdicts, None));
        let text = report.text();
        let expected = "programs: 2 of 3 mutants noticed (67 %); tried a sample of 6 of 10, chosen by \
                        seed 7: 1 made no difference to the compiler, 1 do not build, 0 are explained, 1 \
                        were not judged\n  survived: a.c:3: sign: a => b\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("not judged: a.c:6: a => b: no guest"), "{text}");
        assert_eq!(report.exit(), Exit::Failure);
    }

    #[test]
    fn what_is_explained_is_well_and_what_is_stale_is_not() {
        let mut report = report(part(&[Verdict::Survived], Some("so")));
        assert_eq!(report.exit(), Exit::Success);
        assert!(report.text().contains(" 1 are explained"), "{}", report.text());
        report.stale.push("a.c: b => c".to_owned());
        assert_eq!(report.exit(), Exit::Failure);
        assert!(report.text().contains("explains a mutant that does not exist: a.c: b => c"));
    }

    #[test]
    fn what_was_not_judged_is_not_known() {
        let verdict = [Verdict::NotJudged("no guest".to_owned())];
        assert_eq!(report(part(&verdict, None)).exit(), Exit::Infrastructure);
        let explained = report(part(&verdict, Some("no kernel of the lab loads it")));
        assert_eq!(explained.exit(), Exit::Success);
    }

    #[test]
    fn a_run_that_was_cut_short_says_so() {
        let mut cut = part(&[Verdict::Survived], None);
        cut.chosen = 5;
        let text = report(cut).text();
        assert!(text.contains("tried 1 of 10, chosen by seed 7 (5 were to be tried)"), "{text}");
    }
}
