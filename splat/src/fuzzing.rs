//! What must hold for all logs: compiled for tests and for fuzzing only. `fuzz/` has a target for it.

use crate::{clean::clean, excerpt, scan};

/// A log in any form. Returns whether a splat was found.
pub fn log(log: &[u8]) -> bool {
    let splats = scan(log);
    let cleaned = clean(log);
    assert_eq!(clean(cleaned.as_bytes()), cleaned, "cleaning twice changes a text");
    assert_eq!(
        cleaned.matches('\n').count(),
        log.iter().filter(|byte| **byte == b'\n').count(),
        "cleaning moves lines"
    );
    assert_eq!(scan(cleaned.as_ref()), splats, "a clean text has other splats");
    let lines = cleaned.lines().count().max(1);
    for splat in &splats {
        assert!((1..=lines).contains(&splat.line), "{splat:?} of {lines} lines");
        assert!((splat.line..=lines).contains(&splat.last_line), "{splat:?} of {lines} lines");
        assert!(!splat.title.trim().is_empty(), "{splat:?}");
        assert!(!splat.title.contains('\n') && splat.title.len() <= cleaned.len() + 64);
        assert!(splat.frame.as_ref().is_none_or(|frame| !frame.is_empty()));
        assert!(excerpt(&cleaned, splat).next().is_some());
    }
    assert!(splats.windows(2).all(|pair| pair[0].line <= pair[1].line), "{splats:?}");
    !splats.is_empty()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Which splats each has is in the case itself: `tests/cases.rs`.
    #[rstest]
    fn cases_keep_to_it(
        #[files("tests/cases/**/*.txt")]
        #[mode = bytes]
        case: &[u8],
    ) {
        log(case);
    }
}
