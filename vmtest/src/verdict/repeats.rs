//! Combines the attempts at a cell into one verdict.

use kernlab_core::outcome::{Outcome, Reason, Severity, Verdict};

use crate::report::{AttemptReport, CellReport};

/// Combines the attempts at one cell, of which there is at least one.
///
/// Attempts that disagree make a cell flaky, which is a failure however many passed. An
/// inconclusive attempt does not disagree with the others, but a cell with one does not pass.
pub(crate) fn combine(mut attempts: Vec<CellReport>) -> CellReport {
    if attempts.len() == 1 {
        return attempts.remove(0);
    }
    let reports: Vec<_> = attempts.iter().map(attempt).collect();
    let is_conclusive = |cell: &CellReport| cell.outcome.severity() != Severity::Inconclusive;
    let mut verdicts = attempts.iter().filter(|cell| is_conclusive(cell)).map(verdict);
    let first = verdicts.next();
    let agree = verdicts.all(|verdict| Some(verdict) == first);
    // The worst attempt has the most useful evidence; among equals, the first.
    let worst = (0..attempts.len()).rev().max_by_key(|&index| attempts[index].outcome.severity());
    let mut allowed: Vec<_> = attempts.iter().flat_map(|cell| cell.allowed.clone()).collect();
    allowed.sort();
    allowed.dedup();
    let mut remarks: Vec<_> = attempts.iter().flat_map(|cell| cell.remarks.clone()).collect();
    remarks.sort();
    remarks.dedup();
    let mut cell = attempts.swap_remove(worst.unwrap_or(0));
    cell.allowed = allowed;
    cell.remarks = remarks;
    if !agree {
        let message = format!("{}; the worst: {}", summary(&reports), cell.message);
        cell.set_verdict(Verdict::because(Outcome::Flaky, Reason::VerdictsDiffer, message));
    }
    cell.duration_ms =
        reports.iter().map(|attempt| attempt.duration_ms).fold(0, u64::saturating_add);
    cell.attempts = reports;
    cell
}

fn attempt(cell: &CellReport) -> AttemptReport {
    AttemptReport {
        outcome: cell.outcome,
        reason: cell.reason,
        message: cell.message.clone(),
        duration_ms: cell.duration_ms,
        evidence: cell.evidence.clone(),
    }
}

fn verdict(cell: &CellReport) -> (Outcome, Option<Reason>) {
    (cell.outcome, cell.reason)
}

/// `attempts 1, 2, 4: pass; attempt 3: fail (events-differ)`.
fn summary(attempts: &[AttemptReport]) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (number, attempt) in (1..).zip(attempts) {
        let number: u32 = number;
        let verdict = attempt.outcome.described(attempt.reason);
        match groups.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, numbers)) => numbers.push(number.to_string()),
            None => groups.push((verdict, vec![number.to_string()])),
        }
    }
    let describe = |(verdict, numbers): &(String, Vec<String>)| {
        let word = if numbers.len() == 1 { "attempt" } else { "attempts" };
        format!("{word} {}: {verdict}", numbers.join(", "))
    };
    groups.iter().map(describe).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::report::AllowedSplat;

    const ID: &str = "k/masked/aya/t/s";

    fn cell(outcome: Outcome, reason: Option<Reason>, number: usize) -> CellReport {
        let message = format!("message of {number}");
        let mut cell = CellReport::of_verdict(ID, Verdict { outcome, reason, message });
        cell.duration_ms = 10;
        cell.evidence = format!("cells/{ID}#{number}");
        cell
    }

    /// `p` passes, `f` and `d` fail for different reasons, `u` is unsupported, `i` is inconclusive.
    fn combined(attempts: &str) -> CellReport {
        let attempt = |(index, letter)| match letter {
            'p' => cell(Outcome::Pass, None, index + 1),
            'f' => cell(Outcome::Fail, Some(Reason::EventsDiffer), index + 1),
            'd' => cell(Outcome::Fail, Some(Reason::TracerDied), index + 1),
            'u' => cell(Outcome::Unsupported, Some(Reason::MissingSymbol), index + 1),
            _ => cell(Outcome::Infra, Some(Reason::BootTimeout), index + 1),
        };
        combine(attempts.chars().enumerate().map(attempt).collect())
    }

    #[rstest]
    #[case::once("p", Outcome::Pass, None)]
    #[case::always("ppp", Outcome::Pass, None)]
    #[case::never("fff", Outcome::Fail, Some(Reason::EventsDiffer))]
    #[case::unsupported("uu", Outcome::Unsupported, Some(Reason::MissingSymbol))]
    #[case::once_not("pppppfpp", Outcome::Flaky, Some(Reason::VerdictsDiffer))]
    #[case::for_other_reasons("fd", Outcome::Flaky, Some(Reason::VerdictsDiffer))]
    #[case::sometimes_unsupported("pup", Outcome::Flaky, Some(Reason::VerdictsDiffer))]
    #[case::nothing_can_be_said_of_one("pip", Outcome::Infra, Some(Reason::BootTimeout))]
    #[case::of_one_and_others_differ("pif", Outcome::Flaky, Some(Reason::VerdictsDiffer))]
    #[case::of_one_and_others_fail("fif", Outcome::Fail, Some(Reason::EventsDiffer))]
    #[case::of_none("ii", Outcome::Infra, Some(Reason::BootTimeout))]
    fn verdicts(#[case] attempts: &str, #[case] outcome: Outcome, #[case] reason: Option<Reason>) {
        let cell = combined(attempts);
        assert_eq!((cell.outcome, cell.reason), (outcome, reason));
        assert_eq!(cell.id(), ID);
        assert_eq!(cell.duration_ms, 10 * attempts.len() as u64);
        let expected = if attempts.len() == 1 { 0 } else { attempts.len() };
        assert_eq!(cell.attempts.len(), expected);
    }

    #[test]
    fn what_any_attempt_showed_is_kept() {
        let splat = |title: &str| AllowedSplat {
            title: title.to_owned(),
            reason: "known".to_owned(),
            link: "https://example.org".to_owned(),
        };
        let attempts = ["b", "a", "b"].map(|word| CellReport {
            allowed: vec![splat(word)],
            remarks: vec![word.to_owned()],
            ..cell(Outcome::Pass, None, 1)
        });
        let cell = combine(attempts.into());
        assert_eq!(cell.allowed, [splat("a"), splat("b")]);
        assert_eq!(cell.remarks, ["a", "b"]);
    }

    #[test]
    fn a_flaky_cell_says_which_attempts_differ_and_has_the_evidence_of_the_worst() {
        let cell = combined("ppfpf");
        assert_eq!(
            cell.message,
            "attempts 1, 2, 4: pass; attempts 3, 5: fail (events-differ); the worst: message of 3"
        );
        assert_eq!(cell.evidence, format!("cells/{ID}#3"));
        assert_eq!(cell.attempts[4].evidence, format!("cells/{ID}#5"));
        assert!(cell.repro_command().ends_with(" --repeat 5"), "{}", cell.repro_command());
    }
}
