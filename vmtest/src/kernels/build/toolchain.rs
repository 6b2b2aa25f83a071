//! What compiles kernels on this machine.

use std::{
    fmt,
    process::{Command, Stdio},
};

/// Programs that a build runs.
const PROGRAMS: [&str; 6] = ["make", "gcc", "ld", "flex", "bison", "bc"];
/// Adds type information.
const PAHOLE: &str = "pahole";
/// The header of libelf, which objtool (and, for kernels with BTF, resolve_btfids) is built with.
const LIBELF: &str = "gelf.h";

/// Programs and headers that a build needs and this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking(Vec<&'static str>);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// The programs whose version decides what comes out, with all that they say of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Toolchain(String);

#[cfg(test)]
impl Lacking {
    pub(super) fn of(names: &[&'static str]) -> Self {
        Lacking(names.to_vec())
    }
}

#[cfg(test)]
impl Toolchain {
    pub(super) fn named(identity: &str) -> Self {
        Toolchain(identity.to_owned())
    }
}

impl Toolchain {
    /// Asks the compiler and its companions for their versions.
    pub(super) fn of_this_machine(btf: bool) -> Result<Self, Lacking> {
        let programs = ["gcc", "ld"].into_iter().chain(btf.then_some(PAHOLE));
        let mut identity = String::new();
        let mut lacking = Vec::new();
        for program in programs {
            match first_line(program) {
                Some(line) => identity += &format!("{program}: {line}\n"),
                None => lacking.push(program),
            }
        }
        if lacking.is_empty() { Ok(Toolchain(identity)) } else { Err(Lacking(lacking)) }
    }

    /// A line for each program.
    pub(super) fn identity(&self) -> &str {
        &self.0
    }

    /// Looks for everything else that a build needs.
    pub(super) fn complete(&self, btf: bool) -> Result<(), Lacking> {
        let programs = PROGRAMS.into_iter().chain(btf.then_some(PAHOLE));
        let mut lacking: Vec<_> =
            programs.filter(|program| first_line(program).is_none()).collect();
        if !has_header(LIBELF) {
            lacking.push("the headers of libelf");
        }
        if lacking.is_empty() { Ok(()) } else { Err(Lacking(lacking)) }
    }
}

/// The first line of what a program says to `--version`; none if it can't be run.
fn first_line(program: &str) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let line = output.stdout.split(|byte| *byte == b'\n').next()?;
    output.status.success().then(|| String::from_utf8_lossy(line).into_owned())
}

/// Whether the compiler finds a header.
fn has_header(header: &str) -> bool {
    let status = Command::new("gcc")
        .args(["-fsyntax-only", "-include", header, "-x", "c", "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_tells_its_version_and_an_absent_one_nothing() {
        // Everything that builds this has a compiler: libbpf is compiled with it.
        assert!(first_line("gcc").is_some());
        assert_eq!(first_line("/nowhere/gcc"), None);
        assert!(has_header("stdio.h"));
        assert!(!has_header("nowhere.h"));
    }

    #[test]
    fn what_is_missing_is_listed() {
        assert_eq!(Lacking(vec!["flex", "bc"]).to_string(), "flex, bc");
    }
}
