//! `cargo xtask kernels`: the matrix, and the files that it resolves to.

use std::ffi::OsString;

use anyhow::Result;

use kernlab_cli::Exit;

use crate::{
    build::{self, HostTool},
    setup::{self, Consent, Purpose},
};

/// Commands that boot kernels, and so need the guest's programs.
const BOOT: [&str; 3] = ["add", "diff", "dossier"];
/// Commands that build a kernel if its entry names a source tree.
const BUILD: [&str; 5] = ["build", "fetch", "check", "diff", "dossier"];
/// Passes the host tool the command that installs the tools for building kernels.
const INSTALLER_VARIABLE: &str = "KERNLAB_BUILD_TOOLS";

/// List, resolve, fetch, build and examine kernels.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// A command and its arguments: `list`, `update`, `verify`, `fetch`, `build`, `check`, `gc`,
    /// `dossier`, `diff`, `add`, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let help = args.rest.iter().any(|word| word == "--help" || word == "-h");
    let command = args.rest.first().filter(|_| !help).and_then(|word| word.to_str());
    let command = command.unwrap_or_default();
    let (guest, tool) = if BOOT.contains(&command) {
        let (guest, tool) = build::after_setup(Consent::Ask, Purpose::Work)?;
        let selection = selection(args.rest.get(1..).unwrap_or_default());
        (Some(build::for_kernels(guest, &tool, &selection)?), tool)
    } else {
        (None, build::host_tool()?)
    };
    let tool = if BUILD.contains(&command) {
        with_installer(tool, &selection(args.rest.get(1..).unwrap_or_default()))?
    } else {
        tool
    };
    Err(tool.exec("kernels", &args.rest, guest.as_ref()))
}

/// The words of a command line that select kernels: selectors, and the tier.
fn selection(args: &[OsString]) -> Vec<OsString> {
    let mut args = args.iter();
    let mut selection = Vec::new();
    while let Some(word) = args.next() {
        let text = word.to_string_lossy();
        if text == "--tier" || text == "--arch" {
            selection.push(word.clone());
            selection.extend(args.next().cloned());
        } else if ["--tier=", "--arch="].iter().any(|name| text.starts_with(name))
            || !text.starts_with('-')
        {
            selection.push(word.clone());
        }
    }
    selection
}

/// Lets the host tool install the tools for building kernels, if a selected kernel must be built, this
/// machine lacks such a tool, and the user agrees. The host tool installs them once it has the source.
pub(crate) fn with_installer(
    tool: HostTool,
    selectors: &[impl Into<OsString> + Clone],
) -> Result<HostTool> {
    let args = ["kernels", "unbuilt"].map(OsString::from).into_iter();
    let args: Vec<_> = args.chain(selectors.iter().cloned().map(Into::into)).collect();
    let Some(purpose) = purpose(&tool.ask(&args)?) else { return Ok(tool) };
    match setup::may_install(purpose) {
        Ok(false) => Ok(tool),
        Ok(true) => Ok(tool.with(INSTALLER_VARIABLE, setup::installer(purpose)?)),
        Err(error) => {
            eprintln!("warning: kernels from source can't be built here: {error:#}");
            Ok(tool)
        }
    }
}

/// The purpose to install tools for. `unbuilt` has a line per kernel: its id, `with BTF` or `without BTF`,
/// and `for ARCHITECTURE` if that is not this machine's.
fn purpose(unbuilt: &str) -> Option<Purpose> {
    let has = |words| unbuilt.lines().any(|line| line.contains(words));
    match (has(" with BTF"), has(" for ")) {
        _ if unbuilt.is_empty() => None,
        (true, true) => Some(Purpose::Builds),
        (true, false) => Some(Purpose::BuildBtf),
        (false, true) => Some(Purpose::BuildForeign),
        (false, false) => Some(Purpose::Build),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", None)]
    #[case("a without BTF\n", Some(Purpose::Build))]
    #[case("a without BTF\nb with BTF\n", Some(Purpose::BuildBtf))]
    #[case("a without BTF for aarch64\n", Some(Purpose::BuildForeign))]
    #[case("a without BTF for x86_64\n", Some(Purpose::BuildForeign))]
    #[case("a without BTF for aarch64\nb with BTF\n", Some(Purpose::Builds))]
    fn tools_are_looked_for_only_where_something_is_to_be_built(
        #[case] unbuilt: &str,
        #[case] expected: Option<Purpose>,
    ) {
        assert_eq!(purpose(unbuilt), expected);
    }

    #[rstest]
    #[case("5.15 debian-*", "5.15 debian-*")]
    #[case("--locked 5.15 --json", "5.15")]
    #[case("5.15 --tier all", "5.15 --tier all")]
    #[case("--tier=extended --locked", "--tier=extended")]
    #[case("6.1 --arch aarch64", "6.1 --arch aarch64")]
    #[case("--tier", "--tier")]
    fn the_value_of_an_option_is_no_selector(#[case] given: &str, #[case] expected: &str) {
        let given: Vec<OsString> = given.split(' ').map(Into::into).collect();
        let expected: Vec<OsString> = expected.split(' ').map(Into::into).collect();
        assert_eq!(selection(&given), expected);
    }
}
