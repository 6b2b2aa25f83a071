//! `kernlab kernels verify`: whether entries resolve, and which keys sign them.

use clap::Args;
use indicatif::HumanBytes;
use kernlab_cli::Exit;
use kernlab_kernels::{
    Kernels, Resolution, SignedBy, Unproven, Unverified, Verification, Verified, chain,
};
use kernlab_vmtest::report::pretty_json;
use serde::Serialize;

use super::{columns, select_all};
use crate::failure::{self, Failure};

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Which kernels: releases, ids, globs. Without any, all kernels.
    #[arg(value_name = "KERNEL")]
    selectors: Vec<String>,
    /// All kernels.
    #[arg(long, conflicts_with = "selectors")]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Queries the repositories, and shows what each entry resolves to.
pub(crate) fn run(kernels: &Kernels, arguments: &Verify) -> Result<Exit, Failure> {
    let entries = select_all(kernels, &arguments.selectors)?;
    let verification = kernels.verify(&entries);
    let rows: Vec<_> = verification.entries.iter().map(row).collect();
    let shown = if arguments.json {
        failure::print(&pretty_json(&rows))
    } else {
        failure::print(&table(&rows))
    };
    for (url, error) in &verification.bypassed {
        say!("warning: {url} was not used: {}", chain(error));
    }
    for (ids, error) in errors(&rows) {
        say!("error: {}: {error}", ids.join(", "));
    }
    shown?;
    Ok(exit(&verification))
}

/// A wrong signature or document outranks an unreachable repository.
fn exit(verification: &Verification) -> Exit {
    let all = || verification.entries.iter().map(|entry| &entry.outcome);
    if all().any(|outcome| matches!(outcome, Err(Unverified::Wrong(_)))) {
        Exit::Failure
    } else if all().any(Result::is_err) {
        Exit::Infrastructure
    } else {
        Exit::Success
    }
}

/// One kernel in the JSON.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    outcome: Outcome,
    release: Option<&'a str>,
    version: Option<&'a str>,
    signed_by: &'a [SignedBy],
    /// What only a download of the files can prove.
    unproven: Option<Unproven>,
    /// The size of all files in bytes.
    size: Option<u64>,
    /// Whether kernels.lock agrees; none if the entry is not locked.
    is_locked: Option<bool>,
    missing: &'a [String],
    error: Option<String>,
}

/// Whether an entry resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// The entry resolves.
    Resolves,
    /// Its files are on this machine.
    Local,
    /// The repository could not be reached.
    Unreachable,
    /// A signature or a document is wrong, or the repository lacks the kernel.
    Wrong,
}

fn row(verified: &Verified) -> Row<'_> {
    let resolution = verified.outcome.as_ref().ok().and_then(Option::as_ref);
    let kernel = resolution.map(|resolution| &resolution.kernel);
    let known = |text: &'_ str| !text.is_empty();
    Row {
        id: &verified.id,
        outcome: match &verified.outcome {
            Ok(Some(_)) => Outcome::Resolves,
            Ok(None) => Outcome::Local,
            Err(Unverified::Unreachable(_)) => Outcome::Unreachable,
            Err(Unverified::Wrong(_)) => Outcome::Wrong,
        },
        release: kernel.map(|kernel| kernel.release.as_str()).filter(|text| known(text)),
        version: kernel.map(|kernel| kernel.version.as_str()).filter(|text| known(text)),
        signed_by: resolution.map(|r: &Resolution| &r.signed_by[..]).unwrap_or_default(),
        unproven: resolution.and_then(|resolution| resolution.unproven),
        size: kernel.map(|kernel| kernel.size()),
        is_locked: verified.is_locked,
        missing: kernel.map(|kernel| &kernel.missing[..]).unwrap_or_default(),
        error: verified.outcome.as_ref().err().map(|error| chain(error.error())),
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let header = ["KERNEL", "RESOLVES", "VERSION", "SIGNED BY", "SIZE", "LOCK", "NOTE"];
    let dash = || "-".to_owned();
    let cells = rows.iter().map(|row| {
        [
            row.id.to_owned(),
            match row.outcome {
                Outcome::Resolves => "yes",
                Outcome::Local => "local",
                Outcome::Unreachable => "unknown",
                Outcome::Wrong => "no",
            }
            .to_owned(),
            row.version.map_or_else(dash, str::to_owned),
            match row.signed_by {
                [] => dash(),
                keys => keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(","),
            },
            row.size.map_or_else(dash, |size| HumanBytes(size).to_string()),
            match row.is_locked {
                Some(true) => "same",
                Some(false) => "other",
                None => "-",
            }
            .to_owned(),
            note(row),
        ]
    });
    let lines: Vec<_> = [header.map(str::to_owned)].into_iter().chain(cells).collect();
    columns(&lines)
}

/// The remark on a row of the table.
fn note(row: &Row<'_>) -> String {
    let unproven = row.unproven.map(|unproven| match unproven {
        Unproven::Payload => "packages' headers are signed; payloads are checked when downloaded",
        Unproven::Content => "available; its SHA-256 is checked when downloaded",
    });
    let missing = (!row.missing.is_empty()).then(|| format!("lacks {}", row.missing.join(", ")));
    let notes: Vec<_> = [unproven.map(str::to_owned), missing].into_iter().flatten().collect();
    notes.join("; ")
}

/// Every error once, with the kernels that share it.
fn errors<'a>(rows: &'a [Row<'a>]) -> Vec<(Vec<&'a str>, &'a str)> {
    let mut errors: Vec<(Vec<&str>, &str)> = Vec::new();
    for row in rows {
        let Some(error) = row.error.as_deref() else {
            continue;
        };
        match errors.iter_mut().find(|(_, known)| *known == error) {
            Some((ids, _)) => ids.push(row.id),
            None => errors.push((vec![row.id], error)),
        }
    }
    errors
}
