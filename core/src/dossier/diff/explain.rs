//! Why a scenario may do otherwise on another kernel, in sentences.

use std::fmt;

use super::{Change, Difference, Moved, TracepointChange};
use crate::{
    dossier::{Dependencies, Dossier, SymbolState, dependencies_of_scenario},
    facts::Dependency,
    scenario::Scenario,
};

/// What changed from one kernel to another of all that a scenario depends on, one sentence each with its rank:
/// `` `vfs_create` takes the dentry as 2nd argument from 6.19, was 3rd``. What decides most comes
/// first. Empty if nothing did.
pub fn explain(old: &Dossier, new: &Dossier, scenario: &Scenario) -> Vec<(Rank, String)> {
    let difference = Difference::between(old, new);
    let span = Span { old: Release::of(&old.release), new: Release::of(&new.release) };
    let dependencies =
        &dependencies_of_scenario(old, scenario) | &dependencies_of_scenario(new, scenario);
    let concerns = |change: &&Change| concerns(change, &dependencies);
    let changes = difference.tracers.get(&scenario.tracer).into_iter().flatten();
    let mut ranked: Vec<_> = changes
        .filter(concerns)
        .flat_map(|change| ranked(change, &span, &dependencies))
        .chain(difference.general.iter().filter_map(|change| without_btf(change, &span)))
        .collect();
    ranked.sort_by_key(|&(rank, _)| rank);
    ranked
}

/// Sentences in the order in which they are worth reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A function or object came or went.
    Symbol,
    /// An argument is at another place.
    Argument,
    /// Like above, for one that the scenario's programs don't look into.
    OtherArgument,
    /// There is no type information.
    Types,
    /// A tracepoint came, went or changed.
    Tracepoint,
    /// A field came, went or moved.
    Field,
    /// A function is declared otherwise, and every argument is where it was.
    Prototype,
}

/// The sentences of a change, where arguments that point to what the scenario reads come first.
fn ranked(change: &Change, span: &Span<'_>, dependencies: &Dependencies) -> Vec<(Rank, String)> {
    let mut ranked = sentences(change, span);
    if let Change::Prototype { moved, new, .. } = change {
        for ((rank, _), Moved { parameter, .. }) in ranked.iter_mut().zip(moved) {
            let is_read = dependencies.iter().any(|dependency| match dependency {
                Dependency::Field(structure, _) => [',', ')']
                    .iter()
                    .any(|end| new.contains(&format!("struct {structure} *{parameter}{end}"))),
                _ => false,
            });
            if !is_read {
                *rank = Rank::OtherArgument;
            }
        }
    }
    ranked
}

fn concerns(change: &Change, dependencies: &Dependencies) -> bool {
    let depends = |dependency| dependencies.contains(&dependency);
    match change {
        // What follows from it is not why.
        Change::Plan { .. } | Change::Size { .. } | Change::Feature { .. } => false,
        Change::Symbol { symbol, .. } => depends(Dependency::Symbol(symbol.clone())),
        Change::Prototype { function, .. } => depends(Dependency::Prototype(function.clone())),
        Change::Field { field, .. } => field.split_once('.').is_some_and(|(structure, field)| {
            depends(Dependency::Field(structure.to_owned(), field.to_owned()))
        }),
        Change::Tracepoints { tracepoints, .. } => {
            tracepoints.iter().any(|name| depends(Dependency::Tracepoint(name.clone())))
        }
    }
}

pub(super) fn sentences(change: &Change, span: &Span<'_>) -> Vec<(Rank, String)> {
    let Span { old: before, new: after } = span;
    match change {
        Change::Symbol { symbol, old, new, .. } => {
            let sentence = match (old, new) {
                (SymbolState::Present, SymbolState::Absent) => {
                    format!("`{symbol}` is gone {span}, was there on {before}")
                }
                (SymbolState::Absent, SymbolState::Present) => format!("`{symbol}` is new {span}"),
                _ => format!("`{symbol}` {span}: {new}; on {before}: {old}"),
            };
            vec![(Rank::Symbol, sentence)]
        }
        Change::Prototype { function, moved, old, new } if moved.is_empty() => {
            vec![(Rank::Prototype, format!("`{function}` is `{new}` {span}, was `{old}`"))]
        }
        Change::Prototype { function, moved, .. } => {
            let sentence = |Moved { parameter, old, new }: &Moved| {
                let (new, old) = (ordinal(*new), ordinal(*old));
                format!("`{function}` takes the {parameter} as {new} argument {span}, was {old}")
            };
            moved.iter().map(|moved| (Rank::Argument, sentence(moved))).collect()
        }
        Change::Field { field, old, new } => {
            let sentence = match (old, new) {
                (Some(old), Some(new)) if (old.offset, old.bit) == (new.offset, new.bit) => {
                    format!("`{field}` is `{}` {span}, was `{}`", new.type_name, old.type_name)
                }
                (Some(old), Some(new)) => {
                    format!("`{field}` is at byte {} {span}, was at {}", new.offset, old.offset)
                }
                (Some(_), None) => format!("`{field}` is gone {span}, was there on {before}"),
                (None, Some(_)) => format!("`{field}` is new {span}"),
                (None, None) => return Vec::new(),
            };
            vec![(Rank::Field, sentence)]
        }
        Change::Tracepoints { tracepoints, change } => {
            let names = tracepoints.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            let names = names.join(", ");
            let sentence = match change {
                TracepointChange::Gone => {
                    format!("no tracepoint {names} {span}, was there on {before}")
                }
                TracepointChange::New => format!("tracepoint {names} is new {span}"),
                TracepointChange::Fields { .. } => {
                    format!("tracepoint {names} has other fields on {after} than on {before}")
                }
            };
            vec![(Rank::Tracepoint, sentence)]
        }
        Change::Plan { .. } | Change::Size { .. } | Change::Feature { .. } => Vec::new(),
    }
}

/// A kernel without type information concerns every tracer that plans with it.
fn without_btf(change: &Change, span: &Span<'_>) -> Option<(Rank, String)> {
    match change {
        Change::Feature { feature, new, .. } if feature == "BTF" && new == "no" => {
            Some((Rank::Types, format!("no BTF {span}, was there on {}", span.old)))
        }
        _ => None,
    }
}

fn ordinal(number: usize) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

/// From one kernel to another. Only of neighbouring releases can be told since when something is so.
pub(super) struct Span<'a> {
    pub(super) old: Release<'a>,
    pub(super) new: Release<'a>,
}

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.old.numbers, self.new.numbers) {
            (Some((major, old)), Some((same, new)))
                if major == same && old.checked_add(1) == Some(new) =>
            {
                "from"
            }
            _ => "on",
        };
        write!(f, "{word} {}", self.new)
    }
}

/// A release as people say it: `6.19` for `6.19.14+deb13-cloud-amd64`.
pub(super) struct Release<'a> {
    whole: &'a str,
    numbers: Option<(u32, u32)>,
}

impl<'a> Release<'a> {
    pub(super) fn of(whole: &'a str) -> Self {
        let mut numbers = whole.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let numbers = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
            _ => None,
        };
        Release { whole, numbers }
    }
}

impl fmt::Display for Release<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.numbers {
            Some((major, minor)) => write!(f, "{major}.{minor}"),
            None => f.write_str(self.whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("6.18.15+deb13", "6.19.14", "from 6.19")]
    #[case("6.12.1", "6.19.14", "on 6.19")]
    #[case("6.19", "6.18", "on 6.18")]
    #[case("mine", "6.18.0", "on 6.18")]
    #[case("4294967295.4294967294", "next", "on next")]
    fn since_when_is_said_of_neighbours_only(
        #[case] old: &str,
        #[case] new: &str,
        #[case] expected: &str,
    ) {
        let span = Span { old: Release::of(old), new: Release::of(new) };
        assert_eq!(span.to_string(), expected);
    }

    #[rstest]
    #[case(1, "1st")]
    #[case(2, "2nd")]
    #[case(3, "3rd")]
    #[case(4, "4th")]
    #[case(11, "11th")]
    #[case(12, "12th")]
    #[case(21, "21st")]
    fn arguments_are_counted(#[case] number: usize, #[case] expected: &str) {
        assert_eq!(ordinal(number), expected);
    }
}
