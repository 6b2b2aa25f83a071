//! Assertions on what a tracer printed: `count(comm == "victim") >= 1`.

use std::fmt;

use super::{
    condition::{Condition, Line, Stream, SyntaxError},
    expression::{Operator, Token, Tokens},
};

/// A comparison of a count with a number, or with another count.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    text: String,
    left: Count,
    operator: Operator,
    right: Term,
}

/// How many lines of a stream fulfil a condition.
#[derive(Debug, Clone, PartialEq)]
struct Count {
    stream: Stream,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Count(Count),
    Number(u64),
}

/// An assertion that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{counted}, expected {expected}")]
pub struct AssertionFailure {
    /// What was counted.
    counted: String,
    /// What it should have been.
    expected: String,
}

impl Assertion {
    /// Reads an assertion.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut tokens = Tokens::of(text)?;
        let left = Count::read(&mut tokens)?;
        let is_comparison = |token: &Token| matches!(token, Token::Operator(operator) if *operator != Operator::Matches);
        let Some(Token::Operator(operator)) = tokens.next_if(is_comparison) else {
            return Err(tokens.unexpected("`==`, `!=`, `<`, `<=`, `>` or `>=`"));
        };
        let offset = tokens.offset();
        let right = match tokens.next_if(|token| matches!(token, Token::Number(_))) {
            Some(Token::Number(number)) => {
                Term::Number(number.replace('_', "").parse().map_err(|_| {
                    let message = format!("`{number}` is not a number of lines");
                    SyntaxError::new(text, offset, message)
                })?)
            }
            _ if tokens.peek() == Some(&Token::Name("count".to_owned())) => {
                Term::Count(Count::read(&mut tokens)?)
            }
            _ => return Err(tokens.unexpected("a number or `count(...)`")),
        };
        match tokens.peek() {
            None => Ok(Assertion { text: text.to_owned(), left, operator, right }),
            Some(_) => Err(tokens.unexpected("the end")),
        }
    }

    /// Checks what a tracer printed.
    pub fn check(&self, stdout: &[u8], stderr: &[u8]) -> Result<(), AssertionFailure> {
        let left = self.left.of(stdout, stderr);
        let (right, expected) = match &self.right {
            Term::Number(number) => (*number, format!("{} {number}", self.operator)),
            Term::Count(count) => {
                let number = count.of(stdout, stderr);
                (number, format!("{} {count}, which is {number}", self.operator))
            }
        };
        match self.operator.accepts(left.cmp(&right)) {
            Some(true) => Ok(()),
            _ => Err(AssertionFailure { counted: format!("{} is {left}", self.left), expected }),
        }
    }

    /// What its counts are about.
    pub(super) fn conditions(&self) -> Vec<&Condition> {
        let right = match &self.right {
            Term::Count(count) => Some(&count.condition),
            Term::Number(_) => None,
        };
        [&self.left.condition].into_iter().chain(right).collect()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Count {
    fn read(tokens: &mut Tokens<'_>) -> Result<Self, SyntaxError> {
        tokens.expect(&Token::Name("count".to_owned()), "`count(...)`")?;
        tokens.expect(&Token::Open, "`(`")?;
        let (condition, stream) = Condition::read(tokens)?;
        tokens.expect(&Token::Close, "`)`, `and` or `or`")?;
        Ok(Count { stream, condition })
    }

    fn of(&self, stdout: &[u8], stderr: &[u8]) -> u64 {
        let output = match self.stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        Line::all(output).filter(|line| self.condition.holds(line)).count() as u64
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count({})", self.condition)
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const STDOUT: &[u8] =
        b"victim opened a\n{\"comm\": \"victim\", \"ret\": 3}\n{\"comm\": \"other\", \"ret\": -2}\n";
    const STDERR: &[u8] = b"attached\nlost 3\nlost 4";

    #[rstest]
    #[case("count(stdout ~ \"victim\") >= 1")]
    #[case("count(stdout ~ 'victim') == 2")]
    #[case("count(line ~ 'victim') == 2")]
    #[case("count(comm == 'victim') == 1")]
    #[case("count(comm == 'victim' and (ret > 0 or ret < -1)) != 2")]
    #[case("count(not comm == 'victim') == 2")]
    #[case("count(stderr ~ '^lost') < 3")]
    #[case("count(ret >= 0) == count(ret < 0)")]
    #[case("count(stderr ~ '^lost') > count(ret < 0)")]
    #[case("count(absent == 1)<=0")]
    fn what_holds(#[case] text: &str) {
        assert_eq!(Assertion::parse(text).unwrap().check(STDOUT, STDERR), Ok(()));
    }

    #[rstest]
    #[case("count(stdout ~ \"nobody\") >= 1", "count(stdout ~ \"nobody\") is 0, expected >= 1")]
    #[case("count( stderr ~ '^lost' ) == 0", "count(stderr ~ '^lost') is 2, expected == 0")]
    #[case(
        "count(ret >= 0) == count(stderr ~ 'lost')",
        "count(ret >= 0) is 1, expected == count(stderr ~ 'lost'), which is 2"
    )]
    fn a_failure_says_what_was_counted(#[case] text: &str, #[case] message: &str) {
        let failure = Assertion::parse(text).unwrap().check(STDOUT, STDERR).unwrap_err();
        assert_eq!(failure.to_string(), message);
    }

    #[rstest]
    #[case("comm == 'a'", "expected `count(...)`, found `comm`, at character 1 of ")]
    #[case("count comm", "expected `(`, found `comm`, at character 7 of ")]
    #[case("count(comm == 'a'", "expected `)`, `and` or `or`, found the end, at character 18 of ")]
    #[case("count(comm == 'a')", "expected `==`, `!=`, `<`, `<=`, `>` or `>=`, found the end, at ")]
    #[case(
        "count(comm == 'a') ~ 'b'",
        "expected `==`, `!=`, `<`, `<=`, `>` or `>=`, found `~`, at "
    )]
    #[case(
        "count(comm == 'a') > x",
        "expected a number or `count(...)`, found `x`, at character 22 "
    )]
    #[case("count(comm == 'a') > -1", "`-1` is not a number of lines, at character 22 of ")]
    #[case("count(comm == 'a') > 1 and", "expected the end, found `and`, at character 24 of ")]
    #[case(
        "count(stderr ~ 'a' and comm == 'b') > 1",
        "a line is either of stdout, as all fields are, or of stderr, at character 24 of "
    )]
    fn errors_say_where(#[case] text: &str, #[case] message: &str) {
        let error = Assertion::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
