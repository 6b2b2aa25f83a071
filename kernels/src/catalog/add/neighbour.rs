//! Which existing kernel a new one is compared with.

use crate::catalog::{
    Kernels, State,
    matrix::{Entry, Release, Source},
};

/// Roughly how many minor releases a major one has: 4.20 was followed by 5.0, 5.19 by 6.0, 6.19 by
/// 7.0.
const MINORS: u32 = 20;

/// The distance between two releases, in minor releases.
fn distance(one: &Release, other: &Release) -> u32 {
    let place = |release: &Release| {
        let numbers = release.numbers();
        let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
        number(0).saturating_mul(MINORS).saturating_add(number(1))
    };
    place(one).abs_diff(place(other))
}

/// The kernel of the matrix most similar to this one, among those that are available: by release,
/// then by repository, then by flavour.
pub fn nearest<'a>(kernels: &'a Kernels, entry: &Entry) -> Option<&'a Entry> {
    let release = entry.release.as_ref()?;
    let others = kernels.matrix().entries.iter().filter(|other| {
        other.id != entry.id && !matches!(kernels.state(other), State::Unresolved | State::Unbuilt)
    });
    others
        .filter_map(|other| Some((distance(release, other.release.as_ref()?), other)))
        .min_by_key(|(distance, other)| {
            (*distance, !same_repository(entry, other), !same_flavour(entry, other))
        })
        .map(|(_, other)| other)
}

fn same_repository(one: &Entry, other: &Entry) -> bool {
    match (&one.source, &other.source) {
        (Source::Deb(one), Source::Deb(other)) => one.repository == other.repository,
        (Source::Rpm(one), Source::Rpm(other)) => one.repository == other.repository,
        _ => false,
    }
}

fn same_flavour(one: &Entry, other: &Entry) -> bool {
    let flavour = |entry: &Entry| match &entry.source {
        Source::Deb(deb) => ["cloud", "-rt", "generic", "virtual"]
            .into_iter()
            .find(|flavour| deb.package.contains(flavour)),
        _ => None,
    };
    flavour(one) == flavour(other)
}

/// A default for the entry's `why`: where its release lies among the others.
pub(super) fn why(kernels: &Kernels, entry: &Entry) -> String {
    let Some(release) = &entry.release else { return "added on request".to_owned() };
    let mut others: Vec<&Release> =
        kernels.matrix().entries.iter().filter_map(|other| other.release.as_ref()).collect();
    others.sort();
    let below = others.iter().rev().find(|other| **other < release);
    let above = others.iter().find(|other| **other > release);
    match (below, above) {
        _ if others.contains(&release) => format!("another {release}"),
        (Some(below), Some(above)) => format!("between {below} and {above}"),
        (Some(below), None) => format!("newer than {below}"),
        (None, Some(above)) => format!("older than {above}"),
        (None, None) => format!("a {release}"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("6.16", "6.12", 4)]
    #[case("6.16", "6.19", 3)]
    #[case("7.0", "6.19", 1)]
    #[case("5.4", "4.18", 6)]
    fn releases_are_counted(#[case] one: Release, #[case] other: Release, #[case] expected: u32) {
        assert_eq!(distance(&one, &other), expected);
        assert_eq!(distance(&other, &one), expected);
    }
}
