//! Where a CI system looks for results: GitHub's files, or standard output.

use std::{
    env,
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::Write as _,
    path::Path,
};

use crate::failure::{self, Failure};

/// The environment variable with the file of a step's outputs on GitHub.
const OUTPUT_VARIABLE: &str = "GITHUB_OUTPUT";
/// The environment variable with the path of the job's summary on GitHub.
const SUMMARY_VARIABLE: &str = "GITHUB_STEP_SUMMARY";
/// Is set in GitHub's jobs.
const GITHUB_VARIABLE: &str = "GITHUB_ACTIONS";

/// Hands over named values: to GitHub if it says where, otherwise on standard output.
pub(super) fn hand_over(values: &[(&str, String)]) -> Result<(), Failure> {
    let text: String = values.iter().map(|(name, value)| line(name, value)).collect();
    match append(OUTPUT_VARIABLE, &text)? {
        true => Ok(()),
        false => failure::print(&text),
    }
}

/// Appends to the job's summary, and tells whether there is one.
pub(crate) fn summarise(text: &str) -> Result<bool, Failure> {
    append(SUMMARY_VARIABLE, text)
}

/// Tells something that is worth a line where GitHub shows them.
pub(super) fn notice(text: &str) -> Result<(), Failure> {
    match is_github() {
        true => failure::print(&command("notice title=kernlab", text)),
        false => {
            say!("{text}");
            Ok(())
        }
    }
}

/// A log that shows what other programs wrote. GitHub takes a line such as `::error::` for a command,
/// whoever wrote it, and so is told to take none until this is dropped.
pub(super) struct Log {
    /// Ends that. No program could know it.
    end: Option<String>,
}

impl Log {
    /// Begins it, if this is a job of GitHub's.
    pub(super) fn begin() -> Result<Self, Failure> {
        let log = Log { end: is_github().then(secret) };
        log.stop()?;
        Ok(log)
    }

    /// Like [`notice()`].
    pub(super) fn notice(&self, text: &str) -> Result<(), Failure> {
        self.resume()?;
        notice(text)?;
        self.stop()
    }

    fn stop(&self) -> Result<(), Failure> {
        let Some(end) = &self.end else { return Ok(()) };
        failure::print(&command("stop-commands", end))
    }

    fn resume(&self) -> Result<(), Failure> {
        let Some(end) = &self.end else { return Ok(()) };
        failure::print(&command(end, ""))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(failure) = self.resume() {
            failure::note_lost_output(&failure);
        }
    }
}

fn is_github() -> bool {
    env::var_os(GITHUB_VARIABLE).is_some_and(|value| value == "true")
}

/// A command of GitHub's: a line.
fn command(name: &str, text: &str) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    format!("::{name}::{text}\n")
}

/// A word that differs each time.
fn secret() -> String {
    // The standard library's maps have random keys.
    let part = || RandomState::new().hash_one(std::process::id());
    format!("kernlab-{:016x}{:016x}", part(), part())
}

/// Appends to the file that the variable names, if it names one.
fn append(variable: &str, text: &str) -> Result<bool, Failure> {
    let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) else {
        return Ok(false);
    };
    let path = Path::new(&path);
    let file = File::options().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::from(error).of(&format!("failed to write {variable}: ")))?;
    Ok(true)
}

/// A value as GitHub reads it. One with several lines ends with a line that it does not have.
fn line(name: &str, value: &str) -> String {
    if !value.contains(['\n', '\r']) {
        return format!("{name}={value}\n");
    }
    let mut end = "end".to_owned();
    while value.contains(&end) {
        end.push('-');
    }
    format!("{name}<<{end}\n{value}\n{end}\n")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("a b", "name=a b\n")]
    #[case::looks_like_another("x\nother=1", "name<<end\nx\nother=1\nend\n")]
    #[case::looks_like_the_end("x\nend\ny=1", "name<<end-\nx\nend\ny=1\nend-\n")]
    fn a_value_is_one_value(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(line("name", value), expected);
    }

    #[test]
    fn a_command_is_one_line() {
        assert_eq!(command("notice", "50 %\r\n::error::x"), "::notice::50 %25%0D%0A::error::x\n");
        assert_ne!(secret(), secret());
    }
}
