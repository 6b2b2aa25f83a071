//! `kernlab kernels add`: finds a kernel, writes its entry and its lock, boots it, takes its
//! dossier, runs the matrix on it, and compares it with the most similar kernel.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
    sync::Arc,
};

use clap::Args;
use kernlab_cli::{Exit, RunOptions, Scope, Selected};
use kernlab_core::{
    cell::BtfMode,
    dossier::{Dossier, GivenTypes},
    record::Decision,
    scenario::Scenario,
};
use kernlab_kernels::{AddError, AddOptions, Kernels, Proposal, Request, Tier, chain, nearest};
use kernlab_vmtest::{
    dossier::{self, How},
    report::{
        Tally,
        regression::{Regression, Side},
        table,
    },
    run::{self, Outcomes, RunObserver},
};

use super::progress::Progress;
use crate::{
    failure::{self, Failure},
    selection::GuestPrograms,
    show::Terminal,
};

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// A package of a repository in kernels.toml, the address of a package or image, the path of an
    /// image, or a release such as 6.16.
    #[arg(value_name = "KERNEL")]
    request: Request,
    /// The entry's id. By default one in the style of the others.
    #[arg(long)]
    id: Option<String>,
    /// Why the kernel is in the matrix: one line.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Add the kernel to the default tier.
    #[arg(long)]
    default: bool,
    /// Write into kernels.local.toml, for this machine only. Images of this machine always go
    /// there.
    #[arg(long)]
    local: bool,
    /// Write without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Boot the kernel and show the entry, but write nothing and run no matrix.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    guest: GuestPrograms,
}

pub(super) fn run(kernels: &Kernels, arguments: &Add) -> Result<Exit, Failure> {
    let guest = arguments.guest.dir(kernels)?;
    let options = AddOptions {
        id: arguments.id.clone(),
        why: arguments.why.clone(),
        tier: arguments.default.then_some(Tier::Default),
        local: arguments.local,
    };
    let progress = Progress::new();
    let proposal = kernels.propose(&arguments.request, &options, &progress).map_err(|error| {
        progress.failed();
        match error {
            AddError::Taken(_) => Failure::usage(chain(&error)),
            _ => Failure::infrastructure(&error),
        }
    })?;
    let (proposal, dossier) = examine(proposal, &guest, &progress)?;
    progress.failed();
    println!("{}\n", summary(&dossier));
    println!("for {}:\n\n{}", proposal.file().display(), proposal.text());
    if arguments.dry_run {
        return Ok(Exit::Success);
    }
    if !arguments.yes && !agreed() {
        say!("nothing was written");
        return Ok(Exit::Usage);
    }
    proposal.write().map_err(|error| Failure::infrastructure(&error))?;
    compare(&Kernels::open()?, &proposal, &guest)
}

/// Boots the kernel for its dossier, which also decides the entry's BTF modes.
fn examine(
    mut proposal: Proposal,
    guest: &Path,
    progress: &Progress,
) -> Result<(Proposal, Dossier), Failure> {
    let how = How { guest, cold: false, refresh: false };
    let archive =
        dossier::of(&proposal.kernels, &proposal.entry, how, progress).map_err(|error| {
            progress.failed();
            Failure::infrastructure(&error)
                .of("the kernel can't be used in the lab, nothing was written: ")
        })?;
    proposal.set_btf(archive.dossier.types.is_some());
    Ok((proposal, archive.dossier))
}

/// Which scenarios should work on the kernel.
fn summary(dossier: &Dossier) -> String {
    let refused = Scenario::ALL.iter().filter_map(|scenario| {
        match dossier.predict(scenario, GivenTypes::Own) {
            Decision::Unsupported(why) => Some(format!("  {scenario}: {why}")),
            Decision::Plan { .. } => None,
        }
    });
    let refused: Vec<String> = refused.collect();
    let supported = Scenario::ALL.len() - refused.len();
    let mut text = format!(
        "{} boots; {supported} of {} scenarios should work on it",
        dossier.release,
        Scenario::ALL.len()
    );
    if !refused.is_empty() {
        text += &format!(", and these should not:\n{}", refused.join("\n"));
    }
    text
}

/// Asks on the terminal. Without a terminal the answer is no.
fn agreed() -> bool {
    if !io::stdin().is_terminal() {
        say!("there is no terminal to ask on: pass --yes to write without asking");
        return false;
    }
    print!("write this entry? [y/N] ");
    let mut answer = String::new();
    let read = io::stdout().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

/// Runs the matrix on the new kernel and on the most similar one.
fn compare(kernels: &Kernels, proposal: &Proposal, guest: &Path) -> Result<Exit, Failure> {
    let entry = &proposal.entry;
    let neighbour = nearest(kernels, entry).cloned();
    let selected = neighbour.iter().chain([entry]).map(|entry| entry.id.clone());
    let selected = Selected { kernels: selected.collect(), scope: Scope::default() };
    let options = RunOptions { selected, ..RunOptions::default() };
    let terminal = Arc::new(Terminal::new());
    let show: Arc<dyn RunObserver> = Arc::clone(&terminal) as _;
    let ran = run::run(kernels, &options, guest, &show);
    let (Outcomes { report, dir }, mut unwritten) = failure::outcomes(ran)?;
    let side = Side { report: &report, evidence: &dir };
    println!("\n{}", table::run(side, terminal.width()));
    if let Some(neighbour) = neighbour {
        let regression = Regression::of_kernels(side, &neighbour.id, &entry.id)
            .map_err(|error| Failure::infrastructure(&error))?;
        if regression.difference.is_none() {
            say!("note: a dossier is missing, so changes between the kernels can't be shown");
        }
        println!("\n{regression}");
        let file = dir.path().join("regression.txt");
        if let (Err(error), None) = (fs::write(&file, regression.to_string()), &unwritten) {
            unwritten =
                Some(Failure::from(error).of(&format!("failed to write {}: ", file.display())));
        }
    } else {
        println!("no other kernel is available, so there is nothing to compare with");
    }
    println!("evidence: {}", dir.path().display());
    if entry.btf.contains(&BtfMode::Absent) {
        println!("{} has no BTF: its cells run in the mode `absent`", entry.id);
    }
    failure::exit_of_run(Tally::of(&report.cells).severity(), unwritten)
}
