//! Names that a user may have meant.

use std::collections::BTreeSet;

/// How similar a name must be for a suggestion, from 0 to 1.
const SIMILAR: f64 = 0.7;
/// How many names are suggested.
const SUGGESTIONS: usize = 3;

/// The known names that are similar to `name`, the most similar first.
pub(crate) fn similar(name: &str, known: impl IntoIterator<Item = String>) -> Vec<String> {
    let known: BTreeSet<_> = known.into_iter().collect();
    let mut scored: Vec<_> = known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, &known), known))
        .filter(|(score, _)| *score >= SIMILAR)
        .collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.into_iter().map(|(_, name)| name).take(SUGGESTIONS).collect()
}
