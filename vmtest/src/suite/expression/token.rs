//! The words of an expression.

use std::fmt;

use super::SyntaxError;

/// A word, with what it is.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::suite) enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Operator(Operator),
    /// In quotes. Nothing is escaped in it: it ends at the next quote of its kind.
    Text(String),
    /// As written: `-3`, `0x10`, `1.5`.
    Number(String),
    /// `comm`, `args.fd`, `count`.
    Name(String),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::suite) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
}

impl Operator {
    /// Longer ones first, because `<` begins `<=`.
    const ALL: [(&'static str, Operator); 7] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("~", Operator::Matches),
    ];

    /// Whether two values that compare like this fulfil the operator. None if it does not compare.
    pub(in crate::suite) fn accepts(self, ordering: std::cmp::Ordering) -> Option<bool> {
        Some(match self {
            Operator::Equal => ordering.is_eq(),
            Operator::NotEqual => ordering.is_ne(),
            Operator::Less => ordering.is_lt(),
            Operator::LessOrEqual => ordering.is_le(),
            Operator::Greater => ordering.is_gt(),
            Operator::GreaterOrEqual => ordering.is_ge(),
            Operator::Matches => return None,
        })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = Operator::ALL.iter().find(|(_, operator)| operator == self);
        f.write_str(written.map_or("", |(text, _)| text))
    }
}

/// The words of a text that are not read yet.
pub(in crate::suite) struct Tokens<'a> {
    text: &'a str,
    /// Each with the bytes that it was read from.
    tokens: Vec<(Token, std::ops::Range<usize>)>,
    next: usize,
}

impl<'a> Tokens<'a> {
    pub(in crate::suite) fn of(text: &'a str) -> Result<Self, SyntaxError> {
        let mut tokens = Vec::new();
        let mut offset = 0;
        loop {
            let rest = &text[offset..];
            offset += rest.len() - rest.trim_start().len();
            if offset == text.len() {
                return Ok(Tokens { text, tokens, next: 0 });
            }
            let (token, length) = token(text, offset)?;
            tokens.push((token, offset..offset + length));
            offset += length;
        }
    }

    pub(in crate::suite) fn text(&self) -> &'a str {
        self.text
    }

    /// Where the next word begins.
    pub(in crate::suite) fn offset(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(_, range)| range.start)
    }

    /// Where the last word that was read ends.
    pub(in crate::suite) fn end_of_last(&self) -> usize {
        let last = self.next.checked_sub(1).and_then(|last| self.tokens.get(last));
        last.map_or(0, |(_, range)| range.end)
    }

    pub(in crate::suite) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    /// Reads the next word if it is one of the wanted.
    pub(in crate::suite) fn next_if(
        &mut self,
        wanted: impl FnOnce(&Token) -> bool,
    ) -> Option<Token> {
        let token = self.peek().filter(|token| wanted(token))?.clone();
        self.next += 1;
        Some(token)
    }

    /// Reads the next word if it is this one.
    pub(in crate::suite) fn take(&mut self, token: &Token) -> bool {
        self.next_if(|next| next == token).is_some()
    }

    pub(in crate::suite) fn expect(
        &mut self,
        token: &Token,
        name: &str,
    ) -> Result<(), SyntaxError> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(name)) }
    }

    /// An error at the next word.
    pub(in crate::suite) fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.text, self.offset(), message)
    }

    pub(in crate::suite) fn unexpected(&self, expected: &str) -> SyntaxError {
        let found = match self.tokens.get(self.next) {
            Some((_, range)) => format!("`{}`", &self.text[range.clone()]),
            None => "the end".to_owned(),
        };
        self.error(format!("expected {expected}, found {found}"))
    }
}

/// The word that begins at `offset`, and how long it is.
fn token(text: &str, offset: usize) -> Result<(Token, usize), SyntaxError> {
    let rest = &text[offset..];
    if let Some((written, operator)) =
        Operator::ALL.iter().find(|(written, _)| rest.starts_with(written))
    {
        return Ok((Token::Operator(*operator), written.len()));
    }
    let error = |message: String| SyntaxError::new(text, offset, message);
    let first = rest.chars().next().ok_or_else(|| error("unexpected end".to_owned()))?;
    match first {
        '(' => Ok((Token::Open, 1)),
        ')' => Ok((Token::Close, 1)),
        '!' => Ok((Token::Not, 1)),
        '"' | '\'' => match rest[1..].find(first) {
            Some(length) => Ok((Token::Text(rest[1..=length].to_owned()), length + 2)),
            None => Err(error(format!("the text that begins with `{first}` does not end"))),
        },
        '0'..='9' | '-' => {
            let length =
                1 + length_of(&rest[1..], |c| c.is_ascii_alphanumeric() || "._".contains(c));
            Ok((Token::Number(rest[..length].to_owned()), length))
        }
        'a'..='z' | 'A'..='Z' | '_' | '.' => {
            let length = length_of(rest, |c| c.is_ascii_alphanumeric() || "._-".contains(c));
            let word = &rest[..length];
            let token = match word {
                "and" => Token::And,
                "or" => Token::Or,
                "not" => Token::Not,
                _ => Token::Name(word.to_owned()),
            };
            Ok((token, length))
        }
        '=' => Err(error("unexpected `=`: equality is written `==`".to_owned())),
        '&' => Err(error("unexpected `&`: write `and`".to_owned())),
        '|' => Err(error("unexpected `|`: write `or`".to_owned())),
        other => Err(error(format!("unexpected `{other}`"))),
    }
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}
