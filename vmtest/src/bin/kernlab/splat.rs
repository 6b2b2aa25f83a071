//! `kernlab splat`: finds splats in a recorded console.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use kernlab_cli::Exit;
use kernlab_splat::{AllowEntry, AllowList, Splat};

use crate::failure::{self, Failure};

/// Find kernel splats in a console log.
///
/// A splat is what the kernel prints when something is wrong with it: an oops, a warning, a stall.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kernlab splat --check console.log\n  kernlab splat --json -")]
pub(crate) struct Arguments {
    /// The log of a console, dmesg, syslog or the journal; `-` reads standard input.
    file: PathBuf,
    /// Print `{"splats": [{"title", "kind", "frame", "line"}]}`.
    #[arg(long)]
    json: bool,
    /// Exit with 1 if there is an unknown splat.
    #[arg(long)]
    check: bool,
    /// A list of known splats, each with a reason, in the format of splats.toml (docs/splat.md). They are
    /// printed, and ignored by `--check`.
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
}

/// A splat, and its entry in the list of known splats.
#[derive(Debug)]
struct Found<'a> {
    splat: Splat,
    known: Option<&'a AllowEntry>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (text, exit) = answer(arguments).map_err(Failure::usage)?;
    failure::print(&text)?;
    Ok(exit)
}

/// The text to print, and the exit code; or what is wrong with a file.
fn answer(arguments: &Arguments) -> Result<(String, Exit), String> {
    let Arguments { file, json, check, allow } = arguments;
    let unreadable =
        |file: &Path, why: &dyn fmt::Display| format!("failed to read {}: {why}", file.display());
    let allow = match allow {
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
            toml::from_str(&text).map_err(|error| unreadable(file, &error))?
        }
        None => AllowList::default(),
    };
    let log = read(file).map_err(|error| unreadable(file, &error))?;
    let found = |splat| Found { known: allow.entry(&splat), splat };
    let found: Vec<_> = kernlab_splat::scan(log).into_iter().map(found).collect();
    let text = if *json { as_json(&found) } else { listing(file, &found) };
    let unknown = found.iter().any(|found| found.known.is_none());
    let exit = if *check && unknown { Exit::Failure } else { Exit::Success };
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

fn as_json(found: &[Found<'_>]) -> String {
    let splat = |Found { splat, known }: &Found<'_>| {
        let mut splat = serde_json::json!(splat);
        if let Some(AllowEntry { reason, link, .. }) = known {
            splat["known"] = serde_json::json!({ "reason": reason, "link": link });
        }
        splat
    };
    let splats: Vec<_> = found.iter().map(splat).collect();
    format!("{:#}\n", serde_json::json!({ "splats": splats }))
}

/// One line per splat, in the form `FILE:LINE: ...` that editors and terminals recognise.
fn listing(file: &Path, found: &[Found<'_>]) -> String {
    if found.is_empty() {
        return format!("{}: no splat\n", file.display());
    }
    let line = |Found { splat: Splat { title, kind, line, .. }, known }: &Found<'_>| {
        let known =
            known.map(|AllowEntry { reason, link, .. }| format!(", known: {reason} ({link})"));
        let known = known.unwrap_or_default();
        format!("{}:{line}: {title} [{kind}]{known}\n", file.display())
    };
    found.iter().map(line).collect()
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

    const KNOWN: &str =
        "[    3.000000] unregister_netdevice: waiting for lo to become free. Usage count = 1\n";

    const ALLOW: &str = "\
[[allow]]
title = \"unregister_netdevice: *\"
reason = \"the device is slow\"
link = \"https://example.org/1\"
";

    /// The answer about a log, with a list of known splats if there is one.
    fn answer_about(
        log: &str,
        allow: Option<&str>,
        json: bool,
        check: bool,
    ) -> Result<(String, Exit), String> {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let allow = allow.map(|text| file("splats.toml", text));
        let arguments = Arguments { file: file("console.log", log), json, check, allow };
        let (text, exit) = answer(&arguments)?;
        Ok((text.replace(&format!("{}/", dir.path().display()), ""), exit))
    }

    #[test]
    fn a_listing_says_where() {
        insta::assert_snapshot!(answer_about(LOG, None, false, false).unwrap().0, @r"
        console.log:2: WARNING in do_it [warning]
        console.log:3: unregister_netdevice: waiting for DEV to become free [unregister-netdevice]
        ");
    }

    #[test]
    fn a_listing_of_nothing_says_so() {
        assert_eq!(answer_about("", None, false, false).unwrap().0, "console.log: no splat\n");
    }

    #[test]
    fn what_is_known_is_told() {
        insta::assert_snapshot!(answer_about(LOG, Some(ALLOW), false, false).unwrap().0, @r"
        console.log:2: WARNING in do_it [warning]
        console.log:3: unregister_netdevice: waiting for DEV to become free [unregister-netdevice], known: the device is slow (https://example.org/1)
        ");
    }

    #[rstest]
    #[case::promised(None, serde_json::Value::Null)]
    #[case::with_what_is_known(
        Some(ALLOW),
        serde_json::json!({"reason": "the device is slow", "link": "https://example.org/1"})
    )]
    fn json_has_exactly_the_promised_fields(
        #[case] allow: Option<&str>,
        #[case] known: serde_json::Value,
    ) {
        let (json, _) = answer_about(LOG, allow, true, false).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let mut expected = serde_json::json!({"splats": [
            {"title": "WARNING in do_it", "kind": "warning", "frame": "do_it", "line": 2},
            {
                "title": "unregister_netdevice: waiting for DEV to become free",
                "kind": "unregister-netdevice",
                "frame": null,
                "line": 3,
            },
        ]});
        if !known.is_null() {
            expected["splats"][1]["known"] = known;
        }
        assert_eq!(json, expected);
    }

    #[rstest]
    #[case::found(LOG, None, false, Exit::Success)]
    #[case::found_and_checked(LOG, None, true, Exit::Failure)]
    #[case::one_is_known(LOG, Some(ALLOW), true, Exit::Failure)]
    #[case::all_are_known(KNOWN, Some(ALLOW), true, Exit::Success)]
    #[case::nothing_to_find("", None, true, Exit::Success)]
    fn the_exit_code_says_what_was_asked(
        #[case] log: &str,
        #[case] allow: Option<&str>,
        #[case] check: bool,
        #[case] exit: Exit,
    ) {
        assert_eq!(answer_about(log, allow, true, check).unwrap().1, exit);
    }

    #[test]
    fn a_list_that_says_too_little_is_refused() {
        let list = ALLOW.replace("the device is slow", "");
        let error = answer_about(LOG, Some(&list), false, false).unwrap_err();
        assert!(error.contains("a reason why the splat doesn't count"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let file = tempfile::tempdir().unwrap().path().join("gone.log");
        let arguments = Arguments { file, json: true, check: false, allow: None };
        let error = answer(&arguments).unwrap_err();
        assert!(error.starts_with("failed to read ") && error.contains("gone.log: "), "{error}");
    }
}
