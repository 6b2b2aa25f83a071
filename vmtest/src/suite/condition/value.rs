//! Values in conditions, and how they compare with those in events.

use std::cmp::Ordering;

use serde_json::Value;

use crate::suite::expression::{Operator, SyntaxError, Token, Tokens};

/// A value as a condition has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Number(Number),
    Boolean(bool),
    Null,
}

/// Integers of 64 bits, with and without a sign, are exact. Larger ones of events are floating-point numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

/// Reads a value.
pub(super) fn literal(tokens: &mut Tokens<'_>) -> Result<Literal, SyntaxError> {
    let offset = tokens.offset();
    let is_value =
        |token: &Token| matches!(token, Token::Text(_) | Token::Number(_) | Token::Name(_));
    match tokens.next_if(is_value) {
        Some(Token::Text(text)) => Ok(Literal::Text(text)),
        Some(Token::Number(written)) => match number(&written) {
            Some(number) => Ok(Literal::Number(number)),
            None => {
                let message = format!("`{written}` is not a number");
                Err(SyntaxError::new(tokens.text(), offset, message))
            }
        },
        Some(Token::Name(name)) => match name.as_str() {
            "true" => Ok(Literal::Boolean(true)),
            "false" => Ok(Literal::Boolean(false)),
            "null" => Ok(Literal::Null),
            _ => {
                let message =
                    format!("expected a value, found `{name}`: text is written \"{name}\"");
                Err(SyntaxError::new(tokens.text(), offset, message))
            }
        },
        _ => Err(tokens.unexpected("a text in quotes, a number, `true`, `false` or `null`")),
    }
}

fn number(written: &str) -> Option<Number> {
    let plain = written.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.as_str()),
    };
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        let value = u64::from_str_radix(hexadecimal, 16).ok()?;
        return Some(Number::Integer(sign * i128::from(value)));
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(integer) = plain.parse() {
        return Some(Number::Integer(integer));
    }
    plain.parse().ok().filter(|float: &f64| float.is_finite()).map(Number::Float)
}

impl Number {
    fn of(number: &serde_json::Number) -> Option<Self> {
        if let Some(integer) = number.as_i128() {
            return Some(Number::Integer(integer));
        }
        number.as_f64().map(Number::Float)
    }

    fn compare(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => Some(a.cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        }
    }

    fn float(self) -> f64 {
        match self {
            Number::Integer(integer) => integer as f64,
            Number::Float(float) => float,
        }
    }
}

impl Literal {
    /// Values of different kinds are different, and none is the greater.
    pub(super) fn compares_with(&self, value: &Value, operator: Operator) -> bool {
        let ordering = match (value, self) {
            (Value::Number(number), Literal::Number(literal)) => {
                Number::of(number).and_then(|number| number.compare(*literal))
            }
            (Value::String(text), Literal::Text(literal)) => Some(text.as_str().cmp(literal)),
            (Value::Bool(value), Literal::Boolean(literal)) => Some(value.cmp(literal)),
            (Value::Null, Literal::Null) => Some(Ordering::Equal),
            _ => None,
        };
        accepts(operator, ordering)
    }

    /// A line is a text.
    pub(super) fn compares_with_line(&self, line: &[u8], operator: Operator) -> bool {
        let ordering = match self {
            Literal::Text(literal) => Some(line.cmp(literal.as_bytes())),
            _ => None,
        };
        accepts(operator, ordering)
    }
}

fn accepts(operator: Operator, ordering: Option<Ordering>) -> bool {
    match ordering {
        Some(ordering) => operator.accepts(ordering).unwrap_or(false),
        None => operator == Operator::NotEqual,
    }
}
