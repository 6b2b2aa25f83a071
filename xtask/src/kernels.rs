//! `cargo xtask kernels`: the matrix and what it resolves to.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    build::{self, HostTool},
    exit::Exit,
    setup::{self, Consent, Purpose},
};

/// The commands that boot kernels, and so need the guest's programs.
const BOOT: [&str; 3] = ["add", "diff", "dossier"];
/// The command that only builds kernels.
const BUILDS: &str = "build";
/// Commands that build a kernel where its source asks for it.
const MAY_BUILD: [&str; 4] = ["fetch", "check", "diff", "dossier"];

/// List, resolve, fetch, build and examine kernels.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab kernels` takes: `list`, `update`, `verify`, `fetch`, `build`, `check`, `gc`,
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
        (Some(guest), tool)
    } else {
        (None, build::host_tool()?)
    };
    let selectors: Vec<_> = args.rest.iter().skip(1).filter(|word| !is_option(word)).collect();
    if command == BUILDS {
        equip(&tool, &selectors)?;
    } else if MAY_BUILD.contains(&command) {
        try_to_equip(&tool, &selectors);
    }
    Err(tool.exec("kernels", &args.rest, guest.as_ref()))
}

fn is_option(word: &OsString) -> bool {
    word.to_string_lossy().starts_with('-')
}

/// Installs what it takes to build those of the selected kernels that are not built yet. Without
/// such, nothing happens.
fn equip(tool: &HostTool, selectors: &[impl Into<OsString> + Clone]) -> Result<()> {
    let words = ["kernels", "unbuilt"].map(OsString::from).into_iter();
    let words: Vec<_> = words.chain(selectors.iter().cloned().map(Into::into)).collect();
    match purpose(&tool.ask(&words)?) {
        Some(purpose) => setup::ensure(Consent::Ask, purpose),
        None => Ok(()),
    }
}

/// The same for commands to which such a kernel is one of many: they go on without it, and say so.
pub(crate) fn try_to_equip(tool: &HostTool, selectors: &[impl Into<OsString> + Clone]) {
    if let Err(error) = equip(tool, selectors) {
        eprintln!("warning: kernels from source can't be built here: {error:#}");
    }
}

/// What the answer asks for: a line for each kernel, its id and `with BTF` or `without BTF`.
fn purpose(unbuilt: &str) -> Option<Purpose> {
    let mut lines = unbuilt.lines().peekable();
    lines.peek()?;
    match lines.any(|line| line.ends_with(" with BTF")) {
        true => Some(Purpose::BuildBtf),
        false => Some(Purpose::Build),
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
    fn tools_are_looked_for_only_where_something_is_to_be_built(
        #[case] unbuilt: &str,
        #[case] expected: Option<Purpose>,
    ) {
        assert_eq!(purpose(unbuilt), expected);
    }
}
