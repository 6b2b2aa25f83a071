//! `kernlab init`: the first `kernlab.toml` of a project.

use std::{fs::File, io::Write as _};

use clap::{Args, builder::PossibleValuesParser};
use kernlab_cli::Exit;
use kernlab_vmtest::suite::{
    init::{Kind, starter},
    manifest::{FILE_NAME, check_name},
};

use crate::failure::Failure;

/// Write a kernlab.toml with one suite, and comments on what to change.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kernlab init --kind bpftrace")]
pub(crate) struct Arguments {
    /// What the suite runs.
    #[arg(long, default_value = "c", value_parser = kinds())]
    kind: String,
    /// The suite's name. By default that of this directory.
    #[arg(long)]
    name: Option<String>,
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(Kind::ALL.map(|(name, _)| name))
}

/// Writes the file, unless there is one.
pub(crate) fn run(Arguments { kind, name }: &Arguments) -> Result<Exit, Failure> {
    let here = std::env::current_dir()?;
    let directory = here.file_name().map(|name| name.to_string_lossy().into_owned());
    if let Some(name) = name {
        check_name(name).map_err(|why| Failure::usage(format!("--name: {why}")))?;
    }
    let name = name.clone().or(directory).unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|(known, _)| known == kind);
    let text = starter(&name, kind.map_or(Kind::C, |(_, kind)| kind));
    let mut file = File::create_new(FILE_NAME).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{FILE_NAME} exists already in {}", here.display()))
        }
        _ => Failure::from(error).of(&format!("failed to write {FILE_NAME}: ")),
    })?;
    file.write_all(text.as_bytes())?;
    println!("wrote {FILE_NAME}: change what its comments name, then run `kernlab test`");
    Ok(Exit::Success)
}
