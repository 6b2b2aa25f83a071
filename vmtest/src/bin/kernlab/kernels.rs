//! `kernlab kernels`: list, update, verify, fetch, build, check, gc, dossier, diff, add.

mod add;
mod build;
mod check;
mod diff;
mod dossier;
mod gc;
mod progress;
mod verify;

use clap::{Args, Subcommand};
use kernlab_cli::{Exit, Scope};
use kernlab_kernels::{Archs, Entry, Kernels, LockedKernel, SelectError, Selection, State, chain};
use kernlab_vmtest::{report::pretty_json, suite::platform::Platform};
use serde::Serialize;

pub(crate) use self::progress::Progress;
use crate::{
    failure::{self, Failure},
    selection,
};

/// What to do with kernels.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  kernlab kernels list\n  kernlab kernels fetch 6.1")]
pub(crate) enum Command {
    /// Show every kernel: what it is, where it comes from, whether it is on this machine.
    #[command(after_help = "Example:\n  kernlab kernels list")]
    List(List),
    /// Ask the repositories what the entries resolve to now, and write kernels.lock.
    #[command(
        after_help = "Examples:\n  kernlab kernels update debian-6.1\n  kernlab kernels update --all --dry-run"
    )]
    Update(Update),
    /// Ask the repositories whether the kernels resolve, and which keys sign them. No kernel is
    /// downloaded, and kernels.lock stays as it is.
    #[command(after_help = "Example:\n  kernlab kernels verify 6.1")]
    Verify(verify::Verify),
    /// Download and unpack kernels, so that a run needs no network.
    #[command(
        after_help = "Examples:\n  kernlab kernels fetch 6.1 debian-6.12\n  kernlab kernels fetch all"
    )]
    Fetch(Fetch),
    /// Build kernels from their source, with the options that the lab needs.
    #[command(after_help = "Example:\n  kernlab kernels build debian-5.10-nobtf")]
    Build(build::Build),
    /// Say whether a kernel suits the lab, and which options it lacks.
    #[command(
        after_help = "Examples:\n  kernlab kernels check /proc/config.gz\n  kernlab kernels check arch/x86/boot/bzImage"
    )]
    Check(check::Check),
    /// Print which of these kernels have to be built first.
    #[command(hide = true)]
    Unbuilt(build::Unbuilt),
    /// Print the architectures of these kernels.
    #[command(hide = true)]
    Architectures(build::Unbuilt),
    /// Remove from the store what no lock names, or enough to keep the store within a size.
    #[command(after_help = "Example:\n  kernlab kernels gc --keep 10G")]
    Gc(gc::Gc),
    /// Show the facts about kernels: features, symbols, the offsets of fields. A kernel without a
    /// dossier is booted to take one.
    #[command(after_help = "Example:\n  kernlab kernels dossier 6.1 --json")]
    Dossier(dossier::Dossier),
    /// Add a kernel: find it, boot it, write its entry and lock, run the matrix on it, and compare
    /// it with the most similar kernel.
    #[command(after_help = "Example:\n  kernlab kernels add 6.16 --dry-run")]
    Add(add::Add),
    /// Show what changed between two kernels in what the tracers use.
    #[command(after_help = "Example:\n  kernlab kernels diff 5.10 6.1")]
    Diff(diff::Diff),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Which kernels: releases, ids, globs. Without any, all kernels.
    #[arg(value_name = "KERNEL")]
    selectors: Vec<String>,
    /// Select all kernels, and print a line for each with what it resolves to.
    #[arg(long, conflicts_with = "selectors")]
    all: bool,
    /// Show what would change, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// Which kernels: releases, ids, globs, `all`, `host`, or the path of an image. Without any,
    /// those of the default tier.
    #[arg(value_name = "KERNEL")]
    selectors: Vec<String>,
    /// Download nothing: a file that is not in the store is an error. KERNLAB_OFFLINE=1 in the
    /// environment means the same for every command.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    scope: Scope,
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    let kernels = match command {
        Command::Gc(_) => Kernels::open_exclusive()?,
        _ => Kernels::open()?,
    };
    match command {
        Command::List(list) => run_list(&kernels, list),
        Command::Update(update) => run_update(&kernels, update),
        Command::Verify(verify) => verify::run(&kernels, verify),
        Command::Fetch(fetch) if fetch.offline => run_fetch(kernels.offline(), fetch),
        Command::Fetch(fetch) => run_fetch(kernels, fetch),
        Command::Build(build) => build::run(kernels, build),
        Command::Check(check) => check::run(kernels, check),
        Command::Unbuilt(unbuilt) => Ok(build::run_unbuilt(&kernels, unbuilt)),
        Command::Architectures(chosen) => Ok(build::run_architectures(&kernels, chosen)),
        Command::Gc(gc) => gc::run(&kernels, gc),
        Command::Dossier(dossier) => dossier::run(kernels, dossier),
        Command::Add(add) => add::run(&kernels, add),
        Command::Diff(diff) => diff::run(kernels, diff),
    }
}

/// One kernel in the JSON of `list`.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    release: Option<String>,
    locked: Option<String>,
    version: Option<String>,
    arch: &'static str,
    tier: &'static str,
    btf: Vec<&'static str>,
    source: String,
    size: Option<u64>,
    state: State,
    why: &'a str,
}

fn row<'a>(kernels: &'a Kernels, entry: &'a Entry) -> Row<'a> {
    let locked = kernels.locked(entry);
    Row {
        id: &entry.id,
        release: entry.release.as_ref().map(ToString::to_string),
        locked: locked.as_ref().map(|kernel| kernel.release.clone()),
        version: locked.as_ref().map(|kernel| kernel.version.clone()),
        arch: entry.arch.name(),
        tier: entry.tier.name(),
        btf: entry.btf.iter().map(|mode| mode.name()).collect(),
        source: entry.source.to_string(),
        size: locked.as_ref().map(LockedKernel::size),
        state: kernels.state(entry),
        why: &entry.why,
    }
}

fn run_list(kernels: &Kernels, list: &List) -> Result<Exit, Failure> {
    let rows: Vec<_> = kernels.matrix().entries.iter().map(|entry| row(kernels, entry)).collect();
    let text = if list.json { pretty_json(&rows) } else { table(&rows) };
    failure::print(&text)?;
    Ok(Exit::Success)
}

fn table(rows: &[Row<'_>]) -> String {
    let header = ["KERNEL", "RELEASE", "LOCKED", "ARCH", "TIER", "BTF", "STATE", "SOURCE"];
    let cells = rows.iter().map(|row| {
        [
            row.id.to_owned(),
            row.release.clone().unwrap_or_else(|| "-".to_owned()),
            row.version.clone().unwrap_or_else(|| "-".to_owned()),
            row.arch.to_owned(),
            row.tier.to_owned(),
            row.btf.join(","),
            state(row.state).to_owned(),
            row.source.clone(),
        ]
    });
    let lines: Vec<_> = [header.map(str::to_owned)].into_iter().chain(cells).collect();
    columns(&lines)
}

/// Lines whose cells are aligned in columns.
fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].len()).max().unwrap_or(0)
    });
    let render = |line: &[String; N]| {
        let cells: Vec<_> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(render).collect()
}

fn state(state: State) -> &'static str {
    match state {
        State::Stored => "stored",
        State::Locked => "locked",
        State::Unresolved => "unresolved",
        State::Local => "local",
        State::Unbuilt => "unbuilt",
    }
}

/// The entries that the selectors name; without selectors, all entries.
fn select_all(kernels: &Kernels, selectors: &[String]) -> Result<Vec<Entry>, SelectError> {
    let all = ["all".to_owned()];
    let selectors = if selectors.is_empty() { &all[..] } else { selectors };
    let selection = Selection { archs: Archs::All, ..Selection::of(selectors) };
    Ok(kernels.select(&selection)?.entries)
}

fn run_update(kernels: &Kernels, arguments: &Update) -> Result<Exit, Failure> {
    let entries = select_all(kernels, &arguments.selectors)?;
    if let Some(line) = needs_no_lock(&entries).filter(|_| !arguments.selectors.is_empty()) {
        println!("{line}");
        if entries.iter().all(|entry| !entry.source.is_locked()) {
            return Ok(Exit::Success);
        }
    }
    let progress = Progress::new();
    let update = kernels.update(&entries, &progress);
    let changes = update.changes();
    if arguments.all {
        for entry in &entries {
            println!("{}", resolved_line(entry, &update));
        }
    }
    for change in &changes {
        println!("{change}");
    }
    let locked = entries.iter().filter(|entry| entry.source.is_locked()).count();
    let unchanged = locked.saturating_sub(changes.len() + update.unresolved.len());
    println!(
        "{} changed, {unchanged} unchanged, {} not resolved",
        changes.len(),
        update.unresolved.len()
    );
    if !arguments.dry_run {
        kernels.write_locks(&update).map_err(|error| Failure::infrastructure(&error))?;
    }
    for (url, error) in &update.bypassed {
        say!("warning: {url} was not used: {}", chain(error));
    }
    for unresolved in &update.unresolved {
        say!("error: {} is not resolved: {}", unresolved.id, chain(&*unresolved.error));
    }
    Ok(if update.unresolved.is_empty() { Exit::Success } else { Exit::Infrastructure })
}

/// A message about those of these entries that need no lock.
fn needs_no_lock(entries: &[Entry]) -> Option<String> {
    let ids = entries.iter().filter(|entry| !entry.source.is_locked());
    let ids: Vec<_> = ids.map(|entry| entry.id.as_str()).collect();
    let (need, source) = match ids.len() {
        0 => return None,
        1 => ("needs", "its source is"),
        _ => ("need", "their sources are"),
    };
    Some(format!("{} {need} no lock: {source} on this machine", ids.join(", ")))
}

/// The line about one entry in the output of an update.
fn resolved_line(entry: &Entry, update: &kernlab_kernels::Update) -> String {
    let id = &entry.id;
    let Some(resolution) = update.resolved.iter().find(|resolved| resolved.kernel.id == *id) else {
        return match update.unresolved.iter().any(|unresolved| unresolved.id == *id) {
            true => format!("{id}: not resolved"),
            false => format!("{id}: its files are on this machine"),
        };
    };
    let kernel = &resolution.kernel;
    let signed_by = match &resolution.signed_by[..] {
        [] => String::new(),
        keys => {
            let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
            format!(", signed by {}", names.join(" and "))
        }
    };
    format!("{id}: {} ({}){signed_by}", kernel.release, kernel.version)
}

fn run_fetch(kernels: Kernels, arguments: &Fetch) -> Result<Exit, Failure> {
    let kernels = selection::limit(kernels, arguments.scope.locked);
    let entries = selection::entries(&kernels, &arguments.scope, &arguments.selectors)?;
    let progress = Progress::new();
    let mut exit = Exit::Success;
    for entry in &entries {
        // Its guests need a shell as well.
        let fetched = kernels.prepare(entry, &progress).and_then(|kernel| {
            Platform::of(&kernels, entry, &progress)?;
            Ok(kernel)
        });
        match fetched {
            Ok(kernel) => progress.ready(&kernel),
            Err(error) => {
                progress.failed();
                exit = Failure::from(error).report();
            }
        }
    }
    Ok(exit)
}
