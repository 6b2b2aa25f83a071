//! Scripts: the program that a `#!` line names.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use super::{PayloadError, unreadable};

/// The longest first line that kernels read: `BINPRM_BUF_SIZE` of include/uapi/linux/binfmts.h.
const FIRST_LINE: u64 = 256;

/// What runs a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The interpreter. For env(1), also the program that it looks up.
    pub(crate) programs: Vec<String>,
}

/// The interpreter of a script; none if the file does not begin with `#!`.
pub(super) fn interpreter(path: &Path) -> Result<Option<Interpreter>, PayloadError> {
    let file = File::open(path).map_err(unreadable(path))?;
    let mut line = Vec::new();
    BufReader::new(file.take(FIRST_LINE)).read_until(b'\n', &mut line).map_err(unreadable(path))?;
    Ok(parse(&line))
}

/// The interpreter that a first line names.
pub(crate) fn parse(line: &[u8]) -> Option<Interpreter> {
    let rest = str::from_utf8(line.strip_prefix(b"#!")?).ok()?;
    let mut words = rest.split_whitespace();
    let program = words.next()?.to_owned();
    // env(1): options, and assignments to variables, come before the program.
    let is_env = program.rsplit('/').next() == Some("env");
    let looked_up = words.find(|word| !word.starts_with('-') && !word.contains('='));
    let looked_up = looked_up.filter(|_| is_env).map(str::to_owned);
    Some(Interpreter { programs: std::iter::once(program).chain(looked_up).collect() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("#!/bin/sh\necho", Some("/bin/sh"))]
    #[case::with_a_space("#! /usr/bin/python3 -u\n", Some("/usr/bin/python3"))]
    #[case::looked_up("#!/usr/bin/env python3", Some("/usr/bin/env python3"))]
    #[case::with_options("#!/usr/bin/env -S A=1 bash -e\n", Some("/usr/bin/env bash"))]
    #[case::nothing("#!\n", None)]
    #[case::no_script("\x7fELF", None)]
    fn the_first_line_names_the_interpreter(#[case] line: &str, #[case] expected: Option<&str>) {
        let programs = parse(line.as_bytes()).map(|interpreter| interpreter.programs.join(" "));
        assert_eq!(programs.as_deref(), expected);
    }
}
