//! A tracer's output as text in which nothing varies from run to run, to be compared with a golden
//! snapshot.

mod canonical;
mod text;

use self::text::{Names, Pieces};
use super::{
    condition::{Line, Stream},
    manifest::{Lost, Order, Suite},
};
use crate::{console::shorten, diff};

/// Output that can't be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// The order is among events with the same value in a field that none has.
    #[error("the order is `per-{field}`, but none of the {events} events has the field `{field}`")]
    NoSuchField {
        /// The field.
        field: String,
        /// How many there are.
        events: usize,
    },
}

/// The text that is compared with the golden snapshot: one line per event or line that counts.
///
/// Events are JSON objects with sorted keys, without dropped fields, and with names such as `<pid1>`
/// for values whose field is an alias. Within a class of names, a value has one name, and no two
/// values share one. Names are numbered in the order of the text. If the order of events does not
/// matter, neither text nor names depend on it.
///
/// In other lines replacements are made. Then bytes that are no UTF-8 and control characters are
/// written as `\xff`, and a backslash as `\\`, so that different lines stay different.
pub fn normalise(stdout: &[u8], suite: &Suite) -> Result<String, EventsError> {
    let mut names = Names::default();
    let mut lines = Vec::new();
    for line in Line::all(stdout) {
        if suite.events.as_ref().is_some_and(|events| !events.holds(&line)) {
            continue;
        }
        let pieces = match &line.event {
            Some(_) => text::of_event(line.text, &suite.normalise, &mut names),
            None => text::of_line(line.text, &suite.normalise),
        };
        lines.push((line, pieces));
    }
    let units = units(lines, &suite.order)?;
    let ordered = match suite.order {
        Order::Strict => units,
        Order::PerField(_) | Order::Unordered => canonical::order(units, &names.classes()),
    };
    Ok(names.show(ordered.iter().flatten()))
}

/// Lines whose order among each other matters.
type Unit = Vec<Pieces>;

fn units(lines: Vec<(Line<'_>, Pieces)>, order: &Order) -> Result<Vec<Unit>, EventsError> {
    let field = match order {
        Order::Strict => return Ok(vec![lines.into_iter().map(|(_, pieces)| pieces).collect()]),
        Order::Unordered => return Ok(lines.into_iter().map(|(_, pieces)| vec![pieces]).collect()),
        Order::PerField(field) => field,
    };
    let path: Vec<String> = field.split('.').map(str::to_owned).collect();
    let events = lines.iter().filter(|(line, _)| line.event.is_some()).count();
    // Lines without the field are one unit.
    let mut units: Vec<(Option<String>, Unit)> = Vec::new();
    for (line, pieces) in lines {
        let value = line.event.as_ref().and_then(|_| text::field(line.text, &path));
        match units.iter_mut().find(|(other, _)| *other == value) {
            Some((_, unit)) => unit.push(pieces),
            None => units.push((value, vec![pieces])),
        }
    }
    if events > 0 && units.iter().all(|(value, _)| value.is_none()) {
        return Err(EventsError::NoSuchField { field: field.clone(), events });
    }
    Ok(units.into_iter().map(|(_, unit)| unit).collect())
}

/// The number of events that a tracer says it lost: the sum of the pattern's group over all matches.
/// What is too large counts as more than any limit allows.
///
/// The error is a match whose group is no number.
pub fn lost(stdout: &[u8], stderr: &[u8], lost: &Lost) -> Result<u64, NotANumber> {
    let output = match lost.stream {
        Stream::Stdout => stdout,
        Stream::Stderr => stderr,
    };
    let mut sum = 0_u64;
    for groups in lost.pattern.regex().captures_iter(output) {
        let group = groups.get(1).map(|group| group.as_bytes()).unwrap_or_default();
        if group.is_empty() || !group.iter().all(u8::is_ascii_digit) {
            let text = |bytes: &[u8]| shorten(&String::from_utf8_lossy(bytes));
            return Err(NotANumber { matched: text(&groups[0]), group: text(group) });
        }
        let number = std::str::from_utf8(group).ok().and_then(|number| number.parse().ok());
        sum = sum.saturating_add(number.unwrap_or(u64::MAX));
    }
    Ok(sum)
}

/// A pattern for lost events took something else for their number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pattern of `lost` matches `{matched}`, where its group is `{group}`, which is not a number: \
     write the group as `(\\d+)`"
)]
pub struct NotANumber {
    /// What the whole pattern matched.
    matched: String,
    /// What its group matched.
    group: String,
}

/// How two texts differ; none if they are equal.
pub fn diff(expected: &str, observed: &str) -> Option<String> {
    (expected != observed).then(|| diff::unified(expected, observed, ("expected", "observed")))
}

#[cfg(test)]
mod tests;
