//! The right spelling of a word that is almost one of the known ones.

/// Below this, two words have little to do with each other.
const SIMILAR: f64 = 0.75;

/// The known word that is most like `word`.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|known| (similarity(word, known), known));
    let similar = scored.filter(|(score, _)| *score >= SIMILAR);
    similar.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}

/// One slip of the keyboard is always similar, however short the word.
fn similarity(word: &str, known: &str) -> f64 {
    match strsim::osa_distance(word, known) {
        0 | 1 => 1.0,
        _ => strsim::jaro_winkler(word, known),
    }
}

/// `` unknown key `rnu`: did you mean `run`? ``, or what else is known where nothing is similar.
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(right) => format!("unknown {what} `{word}`: did you mean `{right}`?"),
        None => format!("unknown {what} `{word}`: expected {}", one_of(known)),
    }
}

/// `` `a`, `b` or `c` ``.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("rnu", "unknown key `rnu`: did you mean `run`?")]
    #[case("golden", "unknown key `golden`: expected `run`, `workload` or `ready`")]
    fn the_nearest_spelling_is_named(#[case] word: &str, #[case] expected: &str) {
        assert_eq!(unknown("key", word, &["run", "workload", "ready"]), expected);
    }

    #[test]
    fn a_list_reads_like_a_sentence() {
        assert_eq!(one_of(&[]), "nothing");
        assert_eq!(one_of(&["a"]), "`a`");
        assert_eq!(one_of(&["a", "b"]), "`a` or `b`");
    }
}
