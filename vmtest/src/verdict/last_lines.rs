//! The last lines of what a program said, for a message.

/// How many lines a message shows.
const LINES: usize = 20;

/// Where a program said it.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Stderr,
    /// Standard output and standard error in one.
    Output,
}

/// The last lines of what a program said, after a semicolon. Backtraces are left out: they would push out
/// what went wrong, which is said before them.
pub(super) fn last_lines(stream: Stream, said: &[u8]) -> String {
    let heading = match stream {
        Stream::Stderr => STDERR,
        Stream::Output => "; output:\n",
    };
    let text = String::from_utf8_lossy(said);
    let lines: Vec<_> = without_backtraces(text.trim_end().lines()).collect();
    match &lines[lines.len().saturating_sub(LINES)..] {
        [] => String::new(),
        last => format!("{heading}{}", last.join("\n")),
    }
}

/// A message of a verdict without the lines of standard error, for a user who has seen them.
pub fn without_stderr(message: &str) -> &str {
    message.split(STDERR).next().unwrap_or_default()
}

/// What precedes lines of standard error.
const STDERR: &str = "; stderr:\n";

/// Leaves out the stacks of Rust's and Go's panics.
fn without_backtraces<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let mut stack = None;
    lines.filter(move |line| {
        let begins = Stack::of_heading(line);
        let ends = stack.is_some_and(|stack: Stack| stack.ends_before(line));
        if begins.is_some() || ends {
            stack = begins;
        }
        stack.is_none()
    })
}

/// Whose stack is told.
#[derive(Clone, Copy)]
enum Stack {
    Rust,
    Go,
}

impl Stack {
    fn of_heading(line: &str) -> Option<Stack> {
        match line.trim() {
            "stack backtrace:" => Some(Stack::Rust),
            heading if heading.starts_with("goroutine ") && heading.ends_with("]:") => {
                Some(Stack::Go)
            }
            _ => None,
        }
    }

    /// Frames are indented, and begin with a number or with `at`; Go's are the name of a function, and
    /// below it an indented position.
    fn ends_before(self, line: &str) -> bool {
        match self {
            Stack::Rust => {
                let frame = line.trim_start();
                let is_frame = frame.starts_with("at ")
                    || frame.split_once(':').is_some_and(|(number, _)| {
                        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                    });
                let is_note = line.starts_with("note: Some details are omitted");
                !(is_note || is_frame && line.starts_with(' '))
            }
            Stack::Go => {
                let is_frame = line.ends_with(')') || line.starts_with("created by ");
                !line.is_empty() && !line.starts_with('\t') && !is_frame
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const RUST: &str = "thread 'a' panicked at tests/a.rs:4:5:\nno clsact\nstack backtrace:\n   0: \
                        __rustc::rust_begin_unwind\n             at /rustc/std/panicking.rs:689:5\n  \
                        11: a::b\nnote: Some details are omitted, run with `RUST_BACKTRACE=full` for \
                        a verbose backtrace.\nafter";
    const GO: &str = "panic: no clsact\n\ngoroutine 7 [running]:\nmain.attach(0x1, 0x2)\n\t/src/a.go:7 \
                      +0x1d\ncreated by main.main\n\t/src/a.go:3 +0x2a\n\ngoroutine 8 [select]:\n\
                      main.read()\n\t/src/a.go:9 +0x1d\nexit status 2";

    #[rstest]
    #[case::nothing("", "")]
    #[case::lines("a\n  at b\n", "; stderr:\na\n  at b")]
    #[case::rust(RUST, "; stderr:\nthread 'a' panicked at tests/a.rs:4:5:\nno clsact\nafter")]
    #[case::go(GO, "; stderr:\npanic: no clsact\n\nexit status 2")]
    #[case::words_about_one("goroutine leak\nat work]:\n", "; stderr:\ngoroutine leak\nat work]:")]
    #[case::nothing_else("stack backtrace:\n   0: a\n", "")]
    fn a_message_shows_what_went_wrong(#[case] stderr: &str, #[case] expected: &str) {
        assert_eq!(last_lines(Stream::Stderr, stderr.as_bytes()), expected);
    }

    #[test]
    fn a_message_is_short() {
        let lines: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let shown = last_lines(Stream::Output, lines.join("\n").as_bytes());
        assert_eq!(shown.lines().count(), 1 + LINES);
        assert!(shown.ends_with("\n99"), "{shown}");
    }

    #[test]
    fn lines_that_the_user_has_seen_are_left_out() {
        let said = "exit code 1".to_owned() + &last_lines(Stream::Stderr, b"no clsact\n");
        assert_eq!(without_stderr(&said), "exit code 1");
        let said = "exit code 1".to_owned() + &last_lines(Stream::Output, b"on stderr: no\n");
        assert_eq!(without_stderr(&said), "exit code 1; output:\non stderr: no");
    }
}
