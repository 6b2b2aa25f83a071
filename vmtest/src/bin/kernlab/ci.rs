//! `kernlab ci`: what CI systems run. Every option takes an empty text for "not given", as a CI system
//! passes an input that was left out.

mod keys;
pub(crate) mod output;
mod parts;
mod test;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum as _};
use kernlab_cli::{Arch, Exit, Selected, TestOptions};

use crate::failure::Failure;

/// The commands, for which the actions in `action/` are a wrapper.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  kernlab ci keys --kernels '5.10 6.1'\n  kernlab ci test --kernels '5.10 6.1' --base report/"
)]
pub(crate) enum Command {
    /// Print what caches of the store are named after, and whether this machine has KVM.
    Keys(keys::Arguments),
    /// Run suites, or merge the parts of a run, compare with a base, and write a summary.
    Test(test::Arguments),
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Keys(arguments) => keys::run(arguments),
        Command::Test(arguments) => test::run(arguments),
    }
}

/// Which cells a run has.
#[derive(Args, Debug)]
struct Choice {
    /// The kernels, as with `--kernel`, separated by blanks, commas or lines. Without any, those of
    /// kernlab.toml.
    #[arg(long, value_name = "SELS", default_value = "", hide_default_value = true)]
    kernels: String,
    /// The architecture of the kernels: x86_64, aarch64 or all. Without it, this machine's, where the
    /// kernels named have any of it.
    #[arg(long, value_name = "ARCH", default_value = "", hide_default_value = true)]
    arch: String,
    /// Take only kernels that are in kernels.lock.
    #[arg(long)]
    locked: bool,
    /// The description of the suites, instead of the nearest kernlab.toml.
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    config: String,
}

impl Choice {
    fn config(&self) -> Option<&Path> {
        given(&self.config).map(Path::new)
    }

    fn selected(&self) -> Result<Selected, Failure> {
        let of_name = |name: &str| {
            Arch::from_str(name, true).map_err(|_| {
                Failure::usage(format!("--arch {name:?} is none of x86_64, aarch64 and all"))
            })
        };
        let mut selected = Selected { kernels: words(&self.kernels), ..Selected::default() };
        selected.scope.locked = self.locked;
        selected.scope.arch = given(&self.arch).map(of_name).transpose()?;
        Ok(selected)
    }

    fn options(&self) -> Result<TestOptions, Failure> {
        Ok(TestOptions { selected: self.selected()?, ..TestOptions::default() })
    }
}

/// The text, unless it is empty.
fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// The path, unless it is empty.
fn path(text: &str) -> Option<PathBuf> {
    given(text).map(PathBuf::from)
}

/// The words of a list as people write them in YAML.
fn words(list: &str) -> Vec<String> {
    let words = list.split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", Some(None))]
    #[case("arm64", Some(Some(Arch::Aarch64)))]
    #[case("x86_64\n", Some(Some(Arch::X86_64)))]
    #[case("all", Some(Some(Arch::All)))]
    #[case("riscv64", None)]
    fn an_architecture_is_selected(#[case] arch: &str, #[case] expected: Option<Option<Arch>>) {
        let (kernels, config) = (String::new(), String::new());
        let choice = Choice { kernels, arch: arch.to_owned(), locked: false, config };
        let selected = choice.selected().ok().map(|selected| selected.scope.arch);
        assert_eq!(selected, expected);
    }

    #[rstest]
    #[case("", &[])]
    #[case(" \n", &[])]
    #[case("5.10 6.1", &["5.10", "6.1"])]
    #[case("5.10, 6.1,\n  debian-*\n", &["5.10", "6.1", "debian-*"])]
    #[case("$(id) `id`; --help", &["$(id)", "`id`;", "--help"])]
    fn a_list_is_its_words(#[case] list: &str, #[case] expected: &[&str]) {
        assert_eq!(words(list), expected);
    }
}
