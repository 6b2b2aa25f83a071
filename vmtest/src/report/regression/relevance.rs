//! Which of a kernel's changes a failing cell shows: they come first.

use kernlab_core::dossier::diff::Rank;

use super::{super::CellReport, fingerprint::tokens};

/// Shorter words are alike too often.
const WORD: usize = 4;

/// Puts those changes first that concern what the cell names, what its events lack, or what its
/// scenario is about; else keeps their order. What breaks nothing by itself stays behind all others.
pub(super) fn order(mut changes: Vec<(Rank, String)>, cell: &CellReport) -> Vec<String> {
    let message = words(&cell.message);
    let diff = cell.diff.as_deref().unwrap_or_default();
    let (lost, events) = (words(diff), events(diff));
    let scenario = words(cell.scenario.rsplit('/').next().unwrap_or_default());
    let scenario: Vec<_> = scenario.iter().flat_map(|word| word.split('_')).collect();
    changes.sort_by_cached_key(|(rank, change)| {
        let subject = change.split('`').nth(1).unwrap_or_default();
        let is_like = |words: &[&str]| {
            let mut parts = subject.split(['_', '.']);
            parts.any(|part| words.iter().any(|word| alike(part, word)))
        };
        let relevance = match () {
            () if message.contains(&subject) || lost.contains(&subject) => 0,
            () if is_like(&events) => 1,
            () if is_like(&scenario) => 2,
            () => 3,
        };
        (*rank == Rank::Prototype, relevance)
    });
    changes.into_iter().map(|(_, change)| change).collect()
}

/// The words of a text; none of them is empty.
fn words(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).collect()
}

/// The names of the events that a unified diff removes or adds: words that are no `key=value`.
fn events(diff: &str) -> Vec<&str> {
    let lines = diff.lines().filter(|line| {
        line.starts_with(['-', '+']) && !line.starts_with("--- ") && !line.starts_with("+++ ")
    });
    let tokens = lines.flat_map(|line| tokens(&line[1..]));
    tokens.filter_map(|(word, value)| value.is_none().then_some(word)).collect()
}

/// `unlink` and `unlinked`.
fn alike(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    short.len() >= WORD && long.starts_with(short)
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Outcome, Reason, Verdict};
    use rstest::rstest;

    use super::*;

    const LOST: &str =
        "--- expected\n+++ observed\n-pid=1 unlinked name=\"created\"\n+(no events)\n";

    #[rstest]
    #[case::what_the_diff_lacks("", LOST, "open_creat", "vfs_unlink")]
    #[case::what_the_message_names("no vfs_create", LOST, "failed_unlink", "vfs_create")]
    #[case::what_the_scenario_is_about("", "", "failed_unlink", "vfs_unlink")]
    #[case::nothing("", "", "other", "vfs_create")]
    fn what_matters_comes_first(
        #[case] message: &str,
        #[case] diff: &str,
        #[case] scenario: &str,
        #[case] first: &str,
    ) {
        let verdict = Verdict::because(Outcome::Fail, Reason::EventsDiffer, message);
        let mut cell =
            CellReport::of_verdict(&format!("k/masked/aya/filelife/{scenario}"), verdict);
        cell.diff = Some(diff.to_owned());
        let changes = ["vfs_create", "vfs_unlink", "vfs_create"];
        let changes = changes.map(|f| (Rank::Argument, format!("`{f}` moved")));
        let other = (Rank::Prototype, "`vfs_unlink` is `int vfs_unlink(int)`".to_owned());
        let ordered = order([std::slice::from_ref(&other), &changes[..]].concat(), &cell);
        assert_eq!(ordered[0], format!("`{first}` moved"));
        assert_eq!(ordered[3], other.1, "it breaks nothing by itself");
    }
}
