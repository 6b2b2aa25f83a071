//! Lines of output as text with gaps, which get names once the order is known.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use serde_json::{Value, value::RawValue};

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
                        push_json(&mut text, &Value::String(name(class, nth)).to_string());
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

/// The text of a line that holds an event. It is written as JSON again, from the line itself: a [`Value`] rounds
/// integers of more than 64 bits.
pub(super) fn of_event(line: &[u8], rules: &Normalise, names: &mut Names) -> Pieces {
    let Ok(event) = serde_json::from_slice(line) else {
        return of_line(line, rules);
    };
    let mut writer = Writer { rules, names, pieces: Vec::new(), text: String::new() };
    writer.value(event, "");
    writer.end_text();
    writer.pieces
}

/// The field of an event at the end of a path, in the one way in which it is displayed.
pub(super) fn field(line: &[u8], path: &[String]) -> Option<String> {
    let event: &RawValue = serde_json::from_slice(line).ok()?;
    let field = path.iter().try_fold(event, |value, name| match Node::of(value) {
        Node::Object(fields) => fields.get(name).copied(),
        Node::List(items) => items.get(name.parse::<usize>().ok()?).copied(),
        Node::Other(_) => None,
    });
    field.map(|value| Node::of(value).to_string())
}

struct Writer<'a> {
    rules: &'a Normalise,
    names: &'a mut Names,
    pieces: Pieces,
    text: String,
}

impl Writer<'_> {
    /// Writes what is at `path`. Elements of a list have the path of the list.
    fn value(&mut self, value: &RawValue, path: &str) {
        let node = Node::of(value);
        if let Node::List(items) = node {
            self.text.push('[');
            for (index, item) in items.into_iter().enumerate() {
                self.text.push_str(if index == 0 { "" } else { ", " });
                self.value(item, path);
            }
            self.text.push(']');
            return;
        }
        if let Some(FieldRule::Alias { class }) = self.rules.fields.get(path)
            && value.get() != "null"
        {
            self.end_text();
            self.pieces.push(Piece::Value(self.names.number(class, node.to_string())));
            return;
        }
        let Node::Object(fields) = node else {
            push_json(&mut self.text, &node.to_string());
            return;
        };
        self.text.push('{');
        let mut separator = "";
        for (name, value) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if self.rules.fields.get(&path) == Some(&FieldRule::Drop) {
                continue;
            }
            self.text.push_str(separator);
            separator = ", ";
            push_json(&mut self.text, &Value::String(name).to_string());
            self.text.push_str(": ");
            self.value(value, &path);
        }
        self.text.push('}');
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Text(std::mem::take(&mut self.text)));
        }
    }
}

/// A JSON value, one level of it. It is displayed in one way, however it was written.
enum Node<'a> {
    List(Vec<&'a RawValue>),
    Object(BTreeMap<String, &'a RawValue>),
    Other(String),
}

impl<'a> Node<'a> {
    fn of(value: &'a RawValue) -> Self {
        let text = value.get();
        let node = match text.as_bytes() {
            [b'[', ..] => serde_json::from_str(text).map(Node::List),
            [b'{', ..] => serde_json::from_str(text).map(Node::Object),
            _ => serde_json::from_str(text).map(|value: Value| match value {
                Value::Number(number) if number.is_f64() && is_integer(text) => {
                    Node::Other(text.to_owned())
                }
                value => Node::Other(value.to_string()),
            }),
        };
        node.unwrap_or_else(|_| Node::Other(text.to_owned()))
    }
}

/// Is the number written without a fraction and an exponent? -0 is none: it differs from 0.
fn is_integer(number: &str) -> bool {
    !number.contains(['.', 'e', 'E']) && number != "-0"
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Other(text) => f.write_str(text),
            Node::List(items) => {
                let items: Vec<_> = items.iter().map(|item| Node::of(item).to_string()).collect();
                write!(f, "[{}]", items.join(","))
            }
            Node::Object(fields) => {
                let field = |(name, value): (&String, &&RawValue)| {
                    format!("{}:{}", Value::from(name.as_str()), Node::of(value))
                };
                write!(f, "{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
            }
        }
    }
}

fn push_json(text: &mut String, json: &str) {
    // JSON leaves some control characters as they are: U+007F to U+009F.
    for character in json.chars() {
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
