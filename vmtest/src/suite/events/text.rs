//! Lines of output as text with gaps, which get names once the order is known.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use crate::suite::manifest::{FieldRule, Normalise};

/// A line: text, and gaps for names.
pub(super) type Pieces = Vec<Piece>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// A value of which only matters where it is seen again: its number in [`Names`].
    Value(usize),
}

/// The values that get names.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: BTreeMap<(String, String), usize>,
}

impl Names {
    fn number(&mut self, class: &str, value: String) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry((class.to_owned(), value)).or_insert(next)
    }

    /// The class of each value, by the value's number.
    pub(super) fn classes(&self) -> Vec<&str> {
        let mut classes = vec![""; self.numbers.len()];
        for ((class, _), number) in &self.numbers {
            classes[*number] = class;
        }
        classes
    }

    /// The lines, with names that are numbered as they come.
    pub(super) fn show<'a>(&self, lines: impl Iterator<Item = &'a Pieces>) -> String {
        let classes = self.classes();
        let mut given: Vec<Option<usize>> = vec![None; classes.len()];
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut text = String::new();
        for line in lines {
            for piece in line {
                match piece {
                    Piece::Text(part) => text.push_str(part),
                    Piece::Value(number) => {
                        let class = classes[*number];
                        let nth = *given[*number].get_or_insert_with(|| {
                            let count = counts.entry(class).or_default();
                            *count += 1;
                            *count
                        });
                        push_json(&mut text, &Value::String(name(class, nth)));
                    }
                }
            }
            text.push('\n');
        }
        text
    }
}

/// `<pid1>`. Where `pid1` is a class as well, its names are `<pid1#1>`: no two classes share a name.
fn name(class: &str, nth: usize) -> String {
    let ambiguous = class.ends_with(|c: char| c.is_ascii_digit() || c == '#');
    let separator = if ambiguous { "#" } else { "" };
    format!("<{class}{separator}{nth}>")
}

/// The text of an event. The error is a field with a value that can't get a name.
pub(super) fn of_event(
    event: &Value,
    rules: &Normalise,
    names: &mut Names,
) -> Result<Pieces, (String, String)> {
    let mut writer = Writer { rules, names, pieces: Vec::new(), text: String::new() };
    writer.value(event, "")?;
    writer.end_text();
    Ok(writer.pieces)
}

struct Writer<'a> {
    rules: &'a Normalise,
    names: &'a mut Names,
    pieces: Pieces,
    text: String,
}

impl Writer<'_> {
    /// Writes what is at `path`. Elements of a list have the path of the list.
    fn value(&mut self, value: &Value, path: &str) -> Result<(), (String, String)> {
        if let Value::Array(items) = value {
            self.text.push('[');
            for (index, item) in items.iter().enumerate() {
                self.text.push_str(if index == 0 { "" } else { ", " });
                self.value(item, path)?;
            }
            self.text.push(']');
            return Ok(());
        }
        if let Some(FieldRule::Alias { class }) = self.rules.fields.get(path)
            && !value.is_null()
        {
            if is_rounded(value) {
                return Err((path.to_owned(), value.to_string()));
            }
            self.end_text();
            self.pieces.push(Piece::Value(self.names.number(class, value.to_string())));
            return Ok(());
        }
        let Value::Object(object) = value else {
            push_json(&mut self.text, value);
            return Ok(());
        };
        let mut fields: Vec<(&String, &Value)> = object.iter().collect();
        fields.sort_by_key(|(name, _)| *name);
        self.text.push('{');
        let mut separator = "";
        for (name, value) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if self.rules.fields.get(&path) == Some(&FieldRule::Drop) {
                continue;
            }
            self.text.push_str(separator);
            separator = ", ";
            push_json(&mut self.text, &Value::String(name.clone()));
            self.text.push_str(": ");
            self.value(value, &path)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Text(std::mem::take(&mut self.text)));
        }
    }
}

/// Integers that don't fit into 64 bits are read as floating-point numbers.
fn is_rounded(value: &Value) -> bool {
    /// 2^63.
    const LARGE: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_none_or(|float| float.abs() >= LARGE)
        }
        Value::Array(items) => items.iter().any(is_rounded),
        Value::Object(object) => object.values().any(is_rounded),
        _ => false,
    }
}

fn push_json(text: &mut String, value: &Value) {
    // JSON leaves some control characters as they are: U+007F to U+009F.
    for character in value.to_string().chars() {
        match character.is_control() {
            true => drop(write!(text, "\\u{:04x}", u32::from(character))),
            false => text.push(character),
        }
    }
}

/// The text of a line that is no event.
pub(super) fn of_line(line: &[u8], rules: &Normalise) -> Pieces {
    let mut line = std::borrow::Cow::Borrowed(line);
    for replacement in &rules.replace {
        let replaced = replacement
            .pattern
            .regex()
            .replace_all(&line, replacement.with.as_bytes())
            .into_owned();
        line = replaced.into();
    }
    vec![Piece::Text(escaped(&line))]
}

fn escaped(line: &[u8]) -> String {
    let mut text = String::new();
    for chunk in line.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push('\t'),
                control if control.is_control() => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(control));
                }
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}
