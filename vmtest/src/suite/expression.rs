//! Boolean expressions: what conditions on events and on kernels have in common.
//!
//! ```text
//! any  = all { "or" all }
//! all  = not { "and" not }
//! not  = ( "not" | "!" ) not | "(" any ")" | atom
//! ```

mod token;

use std::fmt;

pub(super) use self::token::{Operator, Token, Tokens};

/// How deep parentheses and negations may be nested: the parser calls itself for each.
const DEPTH: usize = 64;

/// An expression over atoms, such as comparisons.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression<A> {
    Atom(A),
    Not(Box<Expression<A>>),
    All(Vec<Expression<A>>),
    Any(Vec<Expression<A>>),
}

/// An expression that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    text: String,
    /// Where it goes wrong: bytes from the beginning of `text`.
    offset: usize,
    message: String,
}

impl SyntaxError {
    pub(super) fn new(text: &str, offset: usize, message: impl Into<String>) -> Self {
        SyntaxError { text: text.to_owned(), offset, message: message.into() }
    }

    /// The character at which it goes wrong, counted from 1.
    pub fn character(&self) -> usize {
        self.text.get(..self.offset).unwrap_or(&self.text).chars().count() + 1
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at character {} of `{}`", self.message, self.character(), self.text)
    }
}

impl std::error::Error for SyntaxError {}

impl<A> Expression<A> {
    /// Reads a whole text as one expression.
    pub(super) fn parse(
        text: &str,
        mut atom: impl FnMut(&mut Tokens<'_>) -> Result<A, SyntaxError>,
    ) -> Result<Self, SyntaxError> {
        let mut tokens = Tokens::of(text)?;
        let expression = Self::read(&mut tokens, &mut atom)?;
        match tokens.peek() {
            None => Ok(expression),
            Some(_) => Err(tokens.unexpected("`and`, `or` or the end")),
        }
    }

    /// Reads an expression that may be followed by something else.
    pub(super) fn read(
        tokens: &mut Tokens<'_>,
        atom: &mut impl FnMut(&mut Tokens<'_>) -> Result<A, SyntaxError>,
    ) -> Result<Self, SyntaxError> {
        any(tokens, atom, DEPTH)
    }

    /// All atoms, from left to right.
    pub(super) fn atoms(&self) -> Vec<&A> {
        match self {
            Expression::Atom(atom) => vec![atom],
            Expression::Not(inner) => inner.atoms(),
            Expression::All(parts) | Expression::Any(parts) => {
                parts.iter().flat_map(Expression::atoms).collect()
            }
        }
    }

    /// Whether the expression holds, if each atom does or does not.
    pub(super) fn holds(&self, atom: &impl Fn(&A) -> bool) -> bool {
        match self {
            Expression::Atom(one) => atom(one),
            Expression::Not(inner) => !inner.holds(atom),
            Expression::All(parts) => parts.iter().all(|part| part.holds(atom)),
            Expression::Any(parts) => parts.iter().any(|part| part.holds(atom)),
        }
    }
}

fn any<A>(
    tokens: &mut Tokens<'_>,
    atom: &mut impl FnMut(&mut Tokens<'_>) -> Result<A, SyntaxError>,
    depth: usize,
) -> Result<Expression<A>, SyntaxError> {
    let mut parts = vec![all(tokens, atom, depth)?];
    while tokens.take(&Token::Or) {
        parts.push(all(tokens, atom, depth)?);
    }
    Ok(one_or(parts, Expression::Any))
}

fn all<A>(
    tokens: &mut Tokens<'_>,
    atom: &mut impl FnMut(&mut Tokens<'_>) -> Result<A, SyntaxError>,
    depth: usize,
) -> Result<Expression<A>, SyntaxError> {
    let mut parts = vec![not(tokens, atom, depth)?];
    while tokens.take(&Token::And) {
        parts.push(not(tokens, atom, depth)?);
    }
    Ok(one_or(parts, Expression::All))
}

fn not<A>(
    tokens: &mut Tokens<'_>,
    atom: &mut impl FnMut(&mut Tokens<'_>) -> Result<A, SyntaxError>,
    depth: usize,
) -> Result<Expression<A>, SyntaxError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(tokens.error(format!("more than {DEPTH} parentheses and negations")));
    };
    if tokens.take(&Token::Not) {
        return Ok(Expression::Not(Box::new(not(tokens, atom, depth)?)));
    }
    if tokens.take(&Token::Open) {
        let inner = any(tokens, atom, depth)?;
        tokens.expect(&Token::Close, "`)`")?;
        return Ok(inner);
    }
    atom(tokens).map(Expression::Atom)
}

/// A list of one is what it contains.
fn one_or<A>(
    mut parts: Vec<Expression<A>>,
    list: impl FnOnce(Vec<Expression<A>>) -> Expression<A>,
) -> Expression<A> {
    match parts.len() {
        1 => parts.remove(0),
        _ => list(parts),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn name(tokens: &mut Tokens<'_>) -> Result<String, SyntaxError> {
        match tokens.next_if(|token| matches!(token, Token::Name(_))) {
            Some(Token::Name(name)) => Ok(name),
            _ => Err(tokens.unexpected("a name")),
        }
    }

    fn shown(expression: &Expression<String>) -> String {
        let list = |parts: &[Expression<String>], word| {
            format!("({})", parts.iter().map(shown).collect::<Vec<_>>().join(word))
        };
        match expression {
            Expression::Atom(name) => name.clone(),
            Expression::Not(inner) => format!("!{}", shown(inner)),
            Expression::All(parts) => list(parts, " and "),
            Expression::Any(parts) => list(parts, " or "),
        }
    }

    #[rstest]
    #[case("a", "a")]
    #[case("a and b or c and d", "((a and b) or (c and d))")]
    #[case("a and (b or c) and d", "(a and (b or c) and d)")]
    #[case("not a and b", "(!a and b)")]
    #[case("!a and ! (b or not c)", "(!a and !(b or !c))")]
    #[case("not not a", "!!a")]
    #[case("nota or android", "(nota or android)")]
    fn and_binds_tighter_than_or(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(shown(&Expression::parse(text, name).unwrap()), expected);
    }

    #[rstest]
    #[case("", "expected a name, found the end, at character 1 of ``")]
    #[case("a and", "expected a name, found the end, at character 6 of `a and`")]
    #[case("a b", "expected `and`, `or` or the end, found `b`, at character 3 of `a b`")]
    #[case("(a or b", "expected `)`, found the end, at character 8 of `(a or b`")]
    #[case("\u{e9}\u{e9}", "unexpected `\u{e9}`, at character 1 of `\u{e9}\u{e9}`")]
    #[case("a or \"b", "the text that begins with `\"` does not end, at character 6 of `a or \"b`")]
    fn errors_say_where(#[case] text: &str, #[case] message: &str) {
        assert_eq!(Expression::parse(text, name).unwrap_err().to_string(), message);
    }

    #[test]
    fn nesting_has_a_limit() {
        for text in ["(".repeat(100_000), "!".repeat(100_000)] {
            let error = Expression::parse(&text, name).unwrap_err();
            assert!(error.to_string().starts_with("more than 64 "));
        }
        let text = format!("{}a{}", "(".repeat(60), ")".repeat(60));
        assert_eq!(shown(&Expression::parse(&text, name).unwrap()), "a");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = Expression::parse(&text, name);
        }
    }
}
