//! Commands that the host tool implements: it gets the arguments unchanged.

use std::ffi::OsString;

use anyhow::Result;

use kernlab_cli::Exit;

use crate::{
    build,
    setup::{Consent, Purpose},
};

/// The arguments of a host tool command, `--help` included.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// See `--help` of the command.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

/// Runs a command that boots no kernel.
pub(crate) fn run(command: &str, args: &Arguments) -> Result<Exit> {
    Err(build::host_tool()?.exec(command, &args.rest, None))
}

/// Runs a command that boots kernels, after installing and building what that needs.
pub(crate) fn run_with_guest(command: &str, args: &Arguments) -> Result<Exit> {
    let (guest, tool) = build::after_setup(Consent::Ask, Purpose::Work)?;
    let guest = build::for_kernels(guest, &tool, &selection(&args.rest))?;
    Err(tool.exec(command, &args.rest, Some(&guest)))
}

/// The options of a command line that select kernels, as the commands of `kernels` take them. What comes
/// behind `--` is the command line of another program.
fn selection(args: &[OsString]) -> Vec<OsString> {
    let mut args = args.iter().take_while(|word| *word != "--");
    let mut selection = Vec::new();
    while let Some(word) = args.next() {
        let text = word.to_string_lossy();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
            None => (text.into_owned(), None),
        };
        if !matches!(name.as_str(), "--kernel" | "--tier" | "--arch") {
            continue;
        }
        let value = value.or_else(|| args.next().cloned());
        selection.extend((name != "--kernel").then(|| name.into()));
        selection.extend(value);
    }
    selection
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("--kernel debian-6.1-arm64 --json", "debian-6.1-arm64")]
    #[case("boot --kernel=6.1 --arch aarch64", "6.1 --arch aarch64")]
    #[case("--cpus 2 -- program --kernel 6.1", "")]
    fn only_options_before_a_program_select(#[case] given: &str, #[case] expected: &str) {
        let given: Vec<OsString> = given.split_whitespace().map(Into::into).collect();
        let expected: Vec<OsString> = expected.split_whitespace().map(Into::into).collect();
        assert_eq!(selection(&given), expected);
    }
}
