//! `kernlab man` and `kernlab completions`: what a package installs beside the program.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use kernlab_cli::Exit;

use crate::failure::{self, Failure};

/// The options of `kernlab completions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  kernlab completions bash

The shell reads it from a file, such as ~/.local/share/bash-completion/completions/kernlab.")]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// The options of `kernlab man`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  kernlab man --into ~/.local/share/man/man1")]
pub(crate) struct Pages {
    /// The directory, which is made if it is missing.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
}

/// Prints the completions.
pub(crate) fn completions(arguments: &Completions) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    let mut command = crate::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "kernlab", &mut text);
    failure::print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Success)
}

/// Writes the pages.
pub(crate) fn pages(arguments: &Pages) -> Result<Exit, Failure> {
    let into = &arguments.into;
    let written = fs::create_dir_all(into)
        .and_then(|()| clap_mangen::generate_to(crate::Arguments::command(), into));
    written.map_err(|error| {
        Failure::from(error).of(&format!("failed to write pages into {}: ", into.display()))
    })?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("man1");
        pages(&Pages { into: into.clone() }).unwrap();
        let commands = crate::tests::all(&crate::Arguments::command(), "");
        for (path, command) in &commands {
            let page = into.join(format!("{}.1", path.replace(' ', "-")));
            let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{page:?}: {e}"));
            assert!(text.contains(".SH SYNOPSIS"), "{text}");
            let about = command.get_about().unwrap().to_string();
            let words = |text: &str| text.replace("\\*(Aq", "'").replace(['\\', '\n', ' '], "");
            assert!(words(&text).contains(&words(&about)), "{path}: {about}: {text}");
        }
        // Beside them there are only those of `help`.
        let names = fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().file_name());
        let own = names.filter(|name| !name.to_str().unwrap().contains("-help"));
        assert_eq!(own.count(), commands.len());
    }

    #[test]
    fn completions_can_be_read_by_bash() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = crate::Arguments::command();
        for shell in Shell::value_variants() {
            clap_complete::generate_to(*shell, &mut command, "kernlab", dir.path()).unwrap();
        }
        let file = dir.path().join("kernlab.bash");
        assert!(fs::read_to_string(&file).unwrap().contains("kernels"));
        let bash = Command::new("bash").arg("-n").arg(&file).output().unwrap();
        assert!(bash.status.success(), "{}", String::from_utf8_lossy(&bash.stderr));
        // What is completed after `kernlab ker`.
        let script = r#"source "$1"; COMP_WORDS=(kernlab ker); COMP_CWORD=1
                        _kernlab kernlab ker kernlab; echo "${COMPREPLY[*]}""#;
        let bash = Command::new("bash").args(["-c", script, "bash"]).arg(&file).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&bash.stdout), "kernels\n", "{bash:?}");
    }
}
