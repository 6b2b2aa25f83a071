//! What a soak tells in the end.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{round::Outcome, verdict::Judged, watch::Seen};

/// The whole result. It is also written as JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) seed: u64,
    /// The command that makes the same random decisions; a round's number is missing.
    pub(super) again: String,
    pub(super) seconds: u64,
    pub(super) rounds: u64,
    /// By kind of work.
    pub(super) work: BTreeMap<String, u64>,
    /// By kind of fault.
    pub(super) faults: BTreeMap<String, Counts>,
    /// In bytes: of the store before the first fault and at most, and of one run's directory.
    pub(super) store_before: u64,
    pub(super) store_most: u64,
    pub(super) run_most: u64,
    pub(super) watched: Option<Seen>,
    pub(super) errors: Vec<Error>,
}

/// What came of one kind of fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) rounds: u64,
    /// Rounds in which the fault reached what it was for.
    pub(super) struck: u64,
    pub(super) cells: u64,
    /// Cells with the verdict that they have without a fault.
    pub(super) right: u64,
    /// Cells whose verdict names the fault.
    pub(super) named: u64,
    /// Cells whose guest the host did not run.
    pub(super) starved: u64,
    /// Wrong verdicts, leftovers, and what grew.
    pub(super) wrong: u64,
}

/// Something that must not be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Error {
    /// The round, which the command and `--round` run again; 0 if it concerns no single one.
    pub(super) round: u64,
    pub(super) work: String,
    pub(super) fault: String,
    pub(super) what: String,
}

impl Summary {
    /// Adds a round.
    pub(super) fn note(&mut self, (round, work, fault): (u64, &str, &str), outcome: &Outcome) {
        let counts = self.faults.entry(fault.to_owned()).or_default();
        counts.rounds += 1;
        counts.struck += u64::from(outcome.struck);
        counts.cells += outcome.judged.len() as u64;
        counts.wrong += outcome.wrong.len() as u64;
        for judged in &outcome.judged {
            match judged {
                Judged::Right => counts.right += 1,
                Judged::NamesFault => counts.named += 1,
                Judged::Starved => counts.starved += 1,
                // It is among the things that are wrong.
                Judged::Wrong => {}
            }
        }
        self.run_most = self.run_most.max(outcome.runs_size);
        self.errors.extend(outcome.wrong.iter().map(|what| Error {
            round,
            work: work.to_owned(),
            fault: fault.to_owned(),
            what: what.clone(),
        }));
    }

    /// Adds something that is wrong and belongs to no round.
    pub(super) fn note_error(&mut self, what: String) {
        let (work, fault) = ("all".to_owned(), "none".to_owned());
        self.errors.push(Error { round: 0, work, fault, what });
    }

    /// The number of faults that reached a process.
    pub(super) fn kills(&self) -> u64 {
        let signals = self.faults.iter().filter(|(kind, _)| kind.starts_with("SIG"));
        signals.map(|(_, counts)| counts.struck).sum()
    }

    /// A table for people.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{:24} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>6}\n",
            "fault", "rounds", "struck", "cells", "right", "named", "starved", "wrong"
        );
        let mut all = Counts::default();
        for (kind, counts) in &self.faults {
            text.push_str(&row(kind, counts));
            all.rounds += counts.rounds;
            all.struck += counts.struck;
            all.cells += counts.cells;
            all.right += counts.right;
            all.named += counts.named;
            all.starved += counts.starved;
            all.wrong += counts.wrong;
        }
        text.push_str(&row("all", &all));
        let mebibytes = |bytes: u64| bytes >> 20;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "\nstore: {} MiB before the first fault, at most {} MiB; a run's directory: at most {} MiB",
            mebibytes(self.store_before),
            mebibytes(self.store_most),
            mebibytes(self.run_most),
        );
        if let Some(seen) = &self.watched {
            let _ = writeln!(
                text,
                "watched for {} s: {} cells; memory {} MiB after a minute, at most {} MiB; {} \
                 descriptors, at most {}",
                seen.seconds,
                seen.cells,
                mebibytes(seen.warm_memory),
                mebibytes(seen.most_memory),
                seen.warm_descriptors,
                seen.most_descriptors,
            );
        }
        let _ = write!(
            text,
            "\n{} rounds in {} s, {} errors (seed {})",
            self.rounds,
            self.seconds,
            self.errors.len(),
            self.seed
        );
        // Last, because that is what a log of CI shows.
        for Error { round, work, fault, what } in &self.errors {
            let _ = write!(text, "\n\nround {round}: {work}, {fault}:\n    {what}");
            // Round 0 is not one: what is wrong concerns no round, or all of them.
            let round = if *round == 0 { String::new() } else { format!(" --round {round}") };
            let _ = write!(text, "\n    again: {}{round}", self.again);
        }
        text
    }
}

fn row(kind: &str, counts: &Counts) -> String {
    let Counts { rounds, struck, cells, right, named, starved, wrong } = counts;
    format!(
        "{kind:24} {rounds:>6} {struck:>6} {cells:>6} {right:>6} {named:>6} {starved:>7} {wrong:>6}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_as_a_table() {
        let mut summary = Summary {
            seed: 7,
            again: "cargo xtask soak --seed 7".to_owned(),
            rounds: 3,
            store_before: 100 << 20,
            ..Summary::default()
        };
        let round = |judged: &[Judged], wrong: &[&str]| Outcome {
            struck: true,
            judged: judged.to_vec(),
            wrong: wrong.iter().map(|&it| it.to_owned()).collect(),
            runs_size: 1 << 20,
            ..Outcome::default()
        };
        let kill = "SIGKILL for QEMU";
        summary.note((1, "exec", "none"), &round(&[Judged::Right], &[]));
        summary.note((2, "exec", kill), &round(&[Judged::NamesFault], &[]));
        summary.note((3, "exec", kill), &round(&[Judged::Wrong], &["k/suite: pass"]));
        assert_eq!(summary.kills(), 2);
        insta::assert_snapshot!(summary.table());
    }
}
