//! Conditions on one event or one line: `comm == "victim" and (ret >= 0 or not fd == 3)`.

mod value;

use std::fmt;

use serde_json::Value;

use self::value::{Literal, literal};
pub use super::expression::SyntaxError;
use super::{
    expression::{Expression, Operator, Token, Tokens},
    pattern::Pattern,
};

/// A boolean expression over one event or line.
///
/// A field is named as in the JSON of the event, with dots for nested ones and numbers for elements
/// of lists: `args.fd`, `stack.0`. `line` and `stdout` are the line as the tracer printed it; a field
/// with such a name is written with a dot before it: `.line`. A comparison with a field that an event
/// does not have is false, whatever the operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    text: String,
    expression: Expression<Comparison>,
}

/// A subject, an operator and a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub(super) subject: Subject,
    operator: Operator,
    value: Operand,
    /// Where it begins, in bytes.
    pub(super) offset: usize,
}

/// What a comparison is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// The raw line; which stream it is from.
    Line(Stream),
    /// A field, by the names on the way to it.
    Field(Vec<String>),
}

/// One of a program's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Pattern(Pattern),
    Literal(Literal),
}

/// A line of output, with the event that it holds if it is a JSON object.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// The line without its end.
    pub text: &'a [u8],
    /// The event.
    pub event: Option<Value>,
}

fn begins_event(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{")
}

impl<'a> Line<'a> {
    /// Reads a line.
    pub fn new(text: &'a [u8]) -> Self {
        let event = begins_event(text).then(|| serde_json::from_slice(text).ok()).flatten();
        Line { text, event }
    }

    /// Whether the line begins with `{` and is not valid JSON.
    pub(super) fn is_broken_event(&self) -> bool {
        self.event.is_none() && begins_event(self.text)
    }

    /// All lines of an output. An end of line at its end begins no further one.
    pub fn all(output: &'a [u8]) -> impl Iterator<Item = Line<'a>> {
        let lines = output.split_inclusive(|&byte| byte == b'\n');
        lines.map(|line| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            Line::new(line.strip_suffix(b"\r").unwrap_or(line))
        })
    }

    /// The field of the event at the end of a path.
    pub(super) fn field(&self, path: &[String]) -> Option<&Value> {
        path.iter().try_fold(self.event.as_ref()?, |value, name| match value {
            Value::Object(object) => object.get(name),
            Value::Array(list) => list.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl Condition {
    /// Whether the condition is about a field of events.
    pub(super) fn has_fields(&self) -> bool {
        !self.fields().is_empty()
    }

    /// Reads a condition on lines of standard output.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let expression = Expression::parse(text, comparison)?;
        for comparison in expression.atoms() {
            if comparison.subject == Subject::Line(Stream::Stderr) {
                let message = "events are on stdout, so `stderr` can only be counted by `assert`; \
                               a field of this name is written `.stderr`";
                return Err(SyntaxError::new(text, comparison.offset, message));
            }
        }
        Ok(Condition { text: text.to_owned(), expression })
    }

    /// Reads a condition that something else follows, and the stream that it is about.
    pub(super) fn read(tokens: &mut Tokens<'_>) -> Result<(Self, Stream), SyntaxError> {
        let start = tokens.offset();
        let expression = Expression::read(tokens, &mut comparison)?;
        let streams = |subject: &Subject| match subject {
            Subject::Line(stream) => *stream,
            Subject::Field(_) => Stream::Stdout,
        };
        let atoms = expression.atoms();
        let stream = atoms.first().map_or(Stream::Stdout, |first| streams(&first.subject));
        if let Some(other) = atoms.iter().find(|atom| streams(&atom.subject) != stream) {
            let message = "a line is either of stdout, as all fields are, or of stderr";
            return Err(SyntaxError::new(tokens.text(), other.offset, message));
        }
        let text = tokens.text()[start..tokens.end_of_last()].to_owned();
        Ok((Condition { text, expression }, stream))
    }

    /// Whether a line fulfils the condition.
    pub fn holds(&self, line: &Line<'_>) -> bool {
        self.expression.holds(&|comparison| comparison.holds(line))
    }

    /// The fields that it compares, by the names on the way to them.
    pub(super) fn fields(&self) -> Vec<&[String]> {
        let subjects = self.expression.atoms().into_iter().map(|atom| &atom.subject);
        subjects
            .filter_map(|subject| match subject {
                Subject::Field(path) => Some(path.as_slice()),
                Subject::Line(_) => None,
            })
            .collect()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn comparison(tokens: &mut Tokens<'_>) -> Result<Comparison, SyntaxError> {
    let offset = tokens.offset();
    let Some(Token::Name(name)) = tokens.next_if(|token| matches!(token, Token::Name(_))) else {
        return Err(tokens.unexpected("a field, `line`, `not` or `(`"));
    };
    let subject = match name.as_str() {
        "line" | "stdout" => Subject::Line(Stream::Stdout),
        "stderr" => Subject::Line(Stream::Stderr),
        field => Subject::Field(path(field)),
    };
    if let Subject::Field(path) = &subject
        && path.iter().any(String::is_empty)
    {
        let message =
            format!("`{name}` is not a field: expected names with single dots between them");
        return Err(SyntaxError::new(tokens.text(), offset, message));
    }
    let operator = tokens.next_if(|token| matches!(token, Token::Operator(_)));
    let Some(Token::Operator(operator)) = operator else {
        return Err(tokens.unexpected(&format!("an operator such as `==` after `{name}`")));
    };
    let value = match operator {
        Operator::Matches => Operand::Pattern(pattern(tokens)?),
        _ => Operand::Literal(literal(tokens)?),
    };
    Ok(Comparison { subject, operator, value, offset })
}

/// The names on the way to a field. A dot before them only says that it is a field.
fn path(field: &str) -> Vec<String> {
    field.strip_prefix('.').unwrap_or(field).split('.').map(str::to_owned).collect()
}

fn pattern(tokens: &mut Tokens<'_>) -> Result<Pattern, SyntaxError> {
    let offset = tokens.offset();
    let Some(Token::Text(source)) = tokens.next_if(|token| matches!(token, Token::Text(_))) else {
        return Err(tokens.unexpected("a regular expression in quotes after `~`"));
    };
    Pattern::new(&source).map_err(|message| SyntaxError::new(tokens.text(), offset, message))
}

impl Comparison {
    fn holds(&self, line: &Line<'_>) -> bool {
        match (&self.subject, &self.value) {
            (Subject::Line(_), Operand::Pattern(pattern)) => pattern.is_match(line.text),
            (Subject::Line(_), Operand::Literal(literal)) => {
                literal.compares_with_line(line.text, self.operator)
            }
            (Subject::Field(path), operand) => match (line.field(path), operand) {
                (None, _) => false,
                (Some(Value::String(text)), Operand::Pattern(pattern)) => {
                    pattern.is_match(text.as_bytes())
                }
                // Numbers and lists match as they are written.
                (Some(other), Operand::Pattern(pattern)) => {
                    pattern.is_match(other.to_string().as_bytes())
                }
                (Some(value), Operand::Literal(literal)) => {
                    literal.compares_with(value, self.operator)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests;
