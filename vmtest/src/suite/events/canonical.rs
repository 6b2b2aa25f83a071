//! An order of events that does not depend on the order in which they came.
//!
//! Sorting is easy where the values that get names are known; here only their equality is: the text
//! may not depend on whether a process was number 17 or 18. So values are told apart by what they
//! occur in: first by the events themselves, then by the values that occur beside them, until nothing
//! more can be told (colour refinement, as for isomorphism of graphs). Values that are still alike are
//! nearly always interchangeable. Where they might not be, each is tried as the first, and the one
//! with the least text wins.
//!
//! Values that are still alike and never occur together have nothing to do with each other: each
//! group of those that do is looked at on its own, and groups that look the same are interchangeable.
//!
//! This has limits: the trials have a budget, and structures are thinkable, large and regular, that
//! they do not tell apart. Then the text depends on the order in which events came, and the suite
//! fails now and then. It never passes because of it: the text is always a true one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Unit, text::Piece};

/// How many units all trials together may look at.
const BUDGET: usize = 100_000;

/// Brings units in an order that only depends on what is in them. `classes` has the class of each
/// value.
pub(super) fn order(units: Vec<Unit>, classes: &[&str]) -> Vec<Unit> {
    let graph = Graph::of(&units, classes);
    let mut budget = BUDGET;
    let colours = graph.tell_apart(ranks(classes), &mut budget);
    let mut ordered: Vec<_> = graph.signatures(&colours).into_iter().zip(units).collect();
    ordered.sort_by(|(left, _), (right, _)| left.cmp(right));
    ordered.into_iter().map(|(_, unit)| unit).collect()
}

/// Values of one colour can't be told apart.
type Colours = Vec<usize>;

/// A unit's text, and the colours of its values.
type Signature = (usize, Vec<usize>);

struct Graph {
    /// The rank of each unit's text without values, and the values in it.
    units: Vec<(usize, Vec<usize>)>,
    /// For each value, the units that it occurs in, and where in them.
    occurrences: Vec<Vec<(usize, Vec<usize>)>>,
}

impl Graph {
    fn of(units: &[Unit], classes: &[&str]) -> Self {
        let texts: Vec<String> = units.iter().map(|unit| masked(unit, classes)).collect();
        let values = units.iter().map(|unit| {
            let pieces = unit.iter().flatten();
            let values = pieces.filter_map(|piece| match piece {
                Piece::Value(value) => Some(*value),
                Piece::Text(_) => None,
            });
            values.collect::<Vec<_>>()
        });
        Graph::new(ranks(&texts).into_iter().zip(values).collect(), classes.len())
    }

    fn new(units: Vec<(usize, Vec<usize>)>, values: usize) -> Self {
        let mut occurrences = vec![Vec::new(); values];
        for (unit, (_, values)) in units.iter().enumerate() {
            let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (place, value) in values.iter().enumerate() {
                places.entry(*value).or_default().push(place);
            }
            for (value, places) in places {
                occurrences[value].push((unit, places));
            }
        }
        Graph { units, occurrences }
    }

    fn signatures(&self, colours: &Colours) -> Vec<Signature> {
        let colour = |value: &usize| colours[*value];
        self.units
            .iter()
            .map(|(text, values)| (*text, values.iter().map(colour).collect()))
            .collect()
    }

    /// Gives each value a colour of its own.
    fn tell_apart(&self, colours: Colours, budget: &mut usize) -> Colours {
        let mut colours = self.refine(colours);
        loop {
            let groups = self.tied_groups(&colours);
            match groups.as_slice() {
                [] => return colours,
                // Nothing can be looked at on its own any more.
                [group] if group.len() == colours.len() => {
                    colours = self.tell_one_apart(&colours, budget);
                }
                groups => return self.tell_groups_apart(&colours, groups, budget),
            }
        }
    }

    /// Values that share their colour with others, in groups of those that occur together, directly or
    /// by way of others in the group.
    fn tied_groups(&self, colours: &Colours) -> Vec<Vec<usize>> {
        let sizes = sizes(colours);
        let is_tied = |value: usize| sizes[&colours[value]] > 1;
        let mut seen = vec![false; colours.len()];
        let mut groups = Vec::new();
        for start in 0..colours.len() {
            if seen[start] || !is_tied(start) {
                continue;
            }
            seen[start] = true;
            let mut group = vec![start];
            let mut next = 0;
            while let Some(&value) = group.get(next) {
                next += 1;
                for (unit, _) in &self.occurrences[value] {
                    for &other in &self.units[*unit].1 {
                        if is_tied(other) && !std::mem::replace(&mut seen[other], true) {
                            group.push(other);
                        }
                    }
                }
            }
            groups.push(group);
        }
        groups
    }

    /// Looks at each group on its own. What they have in common with others is in the signatures of
    /// their units, which take the place of texts.
    fn tell_groups_apart(
        &self,
        colours: &Colours,
        groups: &[Vec<usize>],
        budget: &mut usize,
    ) -> Colours {
        let texts = ranks(&self.signatures(colours));
        let mut solved: Vec<_> = groups
            .iter()
            .map(|group| {
                let number: BTreeMap<usize, usize> = group.iter().copied().zip(0..).collect();
                let occurrences = group.iter().flat_map(|&value| &self.occurrences[value]);
                let units: BTreeSet<usize> = occurrences.map(|(unit, _)| *unit).collect();
                let units = units.into_iter().map(|unit| {
                    let values = self.units[unit].1.iter();
                    (texts[unit], values.filter_map(|value| number.get(value).copied()).collect())
                });
                let graph = Graph::new(units.collect(), group.len());
                let colours: Vec<usize> = group.iter().map(|&value| colours[value]).collect();
                let colours = graph.tell_apart(ranks(&colours), budget);
                let mut signatures = graph.signatures(&colours);
                signatures.sort();
                (signatures, colours, group)
            })
            .collect();
        solved.sort();
        let mut keys: Vec<_> = colours.iter().map(|&colour| (colour, 0, 0)).collect();
        for (position, (_, inner, group)) in solved.iter().enumerate() {
            for (&value, &colour) in group.iter().zip(inner) {
                keys[value] = (colours[value], position, colour);
            }
        }
        ranks(&keys)
    }

    /// Makes one of the values that can't be told apart the first of its colour.
    fn tell_one_apart(&self, colours: &Colours, budget: &mut usize) -> Colours {
        let sizes = sizes(colours);
        let first = colours.iter().filter(|colour| sizes[colour] > 1).min();
        let alike: Vec<usize> =
            (0..colours.len()).filter(|&value| Some(&colours[value]) == first).collect();
        let cost = self.units.len().max(1);
        let trials = match cost.saturating_mul(alike.len()) {
            all if all <= *budget / 2 => alike.len(),
            _ => 1,
        };
        let Some(left) = budget.checked_sub(cost.saturating_mul(trials)) else {
            let keys: Vec<_> = colours.iter().zip(0..).collect();
            return ranks(&keys);
        };
        *budget = left;
        let tried = alike[..trials].iter().map(|&first| {
            let keys: Vec<_> =
                (0..colours.len()).map(|value| (colours[value], value != first)).collect();
            let colours = self.refine(ranks(&keys));
            let mut signatures = self.signatures(&colours);
            signatures.sort();
            (signatures, colours)
        });
        let best = tried.min_by(|(left, _), (right, _)| left.cmp(right));
        best.map_or_else(|| colours.clone(), |(_, best)| best)
    }

    /// Tells values apart by what they occur in, as long as that tells more.
    fn refine(&self, mut colours: Colours) -> Colours {
        let mut known = sizes(&colours).len();
        loop {
            let signatures = ranks(&self.signatures(&colours));
            let keys: Vec<_> = (0..colours.len())
                .map(|value| {
                    let mut occurrences: Vec<_> = self.occurrences[value]
                        .iter()
                        .map(|(unit, places)| (signatures[*unit], places))
                        .collect();
                    occurrences.sort();
                    (colours[value], occurrences)
                })
                .collect();
            colours = ranks(&keys);
            let now = sizes(&colours).len();
            if now == known {
                return colours;
            }
            known = now;
        }
    }
}

fn sizes(colours: &Colours) -> BTreeMap<usize, usize> {
    let mut sizes = BTreeMap::new();
    for colour in colours {
        *sizes.entry(*colour).or_default() += 1;
    }
    sizes
}

/// For each key, how many different ones are less.
fn ranks<K: Ord>(keys: &[K]) -> Vec<usize> {
    let mut sorted: Vec<&K> = keys.iter().collect();
    sorted.sort();
    sorted.dedup();
    keys.iter().map(|key| sorted.partition_point(|other| *other < key)).collect()
}

/// A unit's text with classes instead of values. A line's end separates lines, and NUL, which no line
/// has, values from text.
fn masked(unit: &Unit, classes: &[&str]) -> String {
    let mut text = String::new();
    for line in unit {
        for piece in line {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Value(value) => {
                    text.push('\0');
                    text.push_str(classes[*value]);
                    text.push('\0');
                }
            }
        }
        text.push('\n');
    }
    text
}
