//! `cargo xtask splat`: what a kernel said was wrong, in a recorded console.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use kernlab_splat::Splat;

use crate::exit::Exit;

/// Find kernel splats in a console log.
///
/// A splat is what the kernel prints when something is wrong with it: an oops, a warning, a stall.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log: of a console, dmesg, syslog or the journal; `-` reads the standard input.
    file: PathBuf,
    /// Print `{"splats": [{"title", "kind", "frame", "line"}]}`.
    #[arg(long)]
    json: bool,
    /// End with 1 if there is one.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let (text, exit) = match answer(args) {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("error: failed to read {}: {error}", args.file.display());
            return Ok(Exit::Usage);
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads this has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("failed to print")?,
    }
    Ok(exit)
}

/// What to print, and how to end.
fn answer(args: &Args) -> io::Result<(String, Exit)> {
    let splats = kernlab_splat::scan(read(&args.file)?);
    let text = if args.json { json(&splats) } else { listing(&args.file, &splats) };
    let exit = if args.check && !splats.is_empty() { Exit::Failure } else { Exit::Success };
    Ok((text, exit))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return fs::read(file);
    }
    let mut log = Vec::new();
    io::stdin().read_to_end(&mut log)?;
    Ok(log)
}

fn json(splats: &[Splat]) -> String {
    format!("{:#}\n", serde_json::json!({ "splats": splats }))
}

/// One line for each, in the form that editors and terminals take for a place in a file.
fn listing(file: &Path, splats: &[Splat]) -> String {
    if splats.is_empty() {
        return format!("{}: no splat\n", file.display());
    }
    let line = |splat: &Splat| {
        format!("{}:{}: {} [{}]\n", file.display(), splat.line, splat.title, splat.kind)
    };
    splats.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LOG: &str = "\
[    1.000000] Run /init as init process
[    2.000000] WARNING: CPU: 0 PID: 1 at mm/slub.c:12 do_it+0x1/0x2
[    3.000000] unregister_netdevice: waiting for lo to become free. Usage count = 1
";

    #[test]
    fn a_listing_says_where() {
        let listing = listing(Path::new("console.log"), &kernlab_splat::scan(LOG));
        insta::assert_snapshot!(listing, @r"
        console.log:2: WARNING in do_it [warning]
        console.log:3: unregister_netdevice: waiting for DEV to become free [unregister-netdevice]
        ");
    }

    #[test]
    fn a_listing_of_nothing_says_so() {
        assert_eq!(listing(Path::new("a"), &[]), "a: no splat\n");
    }

    #[test]
    fn json_has_exactly_the_promised_fields() {
        let json: serde_json::Value =
            serde_json::from_str(&json(&kernlab_splat::scan(LOG))).unwrap();
        let expected = serde_json::json!({"splats": [
            {"title": "WARNING in do_it", "kind": "warning", "frame": "do_it", "line": 2},
            {
                "title": "unregister_netdevice: waiting for DEV to become free",
                "kind": "unregister-netdevice",
                "frame": null,
                "line": 3,
            },
        ]});
        assert_eq!(json, expected);
    }

    #[rstest]
    #[case::found(LOG, false, Exit::Success)]
    #[case::found_and_checked(LOG, true, Exit::Failure)]
    #[case::nothing_to_find("", true, Exit::Success)]
    fn the_exit_code_says_what_was_asked(
        #[case] log: &str,
        #[case] check: bool,
        #[case] exit: Exit,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("console.log");
        fs::write(&file, log).unwrap();
        assert_eq!(answer(&Args { file, json: true, check }).unwrap().1, exit);
    }

    #[test]
    fn a_missing_file_is_wrong_usage() {
        let file = tempfile::tempdir().unwrap().path().join("gone.log");
        assert_eq!(run(&Args { file, json: true, check: false }).unwrap(), Exit::Usage);
    }
}
