//! `kernlab kernels add`: from a word to an entry, a lock, a boot, a dossier, a matrix run and a
//! comparison with the kernel that is most like it.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
    sync::Arc,
};

use clap::Args;
use kernlab_core::{
    cell::BtfMode,
    dossier::{Dossier, GivenTypes},
    outcome::Severity,
    record::Decision,
    scenario::Scenario,
};
use kernlab_kernels::{AddError, AddOptions, Kernels, Proposal, Request, Selection, Tier, nearest};
use kernlab_vmtest::{
    dossier::{self, How},
    report::{
        Tally,
        regression::{Regression, Side},
        table,
    },
    run::{self, Options, Outcomes, Show, plan::Filter},
};

use super::{complain, guest_programs, progress::Progress};
use crate::{Exit, show::Terminal};

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// A package of a repository in kernels.toml, the address of a package or image, the path of an
    /// image, or a release such as 6.16.
    #[arg(value_name = "KERNEL")]
    request: Request,
    /// The entry's id; one like the others if none is given.
    #[arg(long)]
    id: Option<String>,
    /// What the kernel is in the matrix for: one line.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Let it run when nothing is asked for.
    #[arg(long)]
    default: bool,
    /// Write into kernels.local.toml, for this machine only, as is done with images of this machine.
    #[arg(long)]
    local: bool,
    /// Write without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Boot the kernel and show the entry, but write and run nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(kernels: &Kernels, arguments: &Add) -> Exit {
    let Some(guest) = guest_programs("add") else { return Exit::Usage };
    let options = AddOptions {
        id: arguments.id.clone(),
        why: arguments.why.clone(),
        tier: arguments.default.then_some(Tier::Default),
        local: arguments.local,
    };
    let progress = Progress::new();
    let proposal = match kernels.propose(&arguments.request, &options, &progress) {
        Ok(proposal) => proposal,
        Err(error) => {
            progress.failed();
            complain(&error);
            return match error {
                AddError::Taken(_) => Exit::Usage,
                _ => Exit::Infrastructure,
            };
        }
    };
    let (proposal, dossier) = match examine(proposal, &guest, &progress) {
        Ok(examined) => examined,
        Err(exit) => return exit,
    };
    progress.failed();
    println!("{}\n", summary(&dossier));
    println!("for {}:\n\n{}", proposal.file().display(), proposal.text());
    if arguments.dry_run {
        return Exit::Success;
    }
    if !arguments.yes && !agreed() {
        eprintln!("nothing was written");
        return Exit::Usage;
    }
    if let Err(error) = proposal.write() {
        complain(&error);
        return Exit::Infrastructure;
    }
    let Ok(kernels) = Kernels::open().inspect_err(|error| complain(error)) else {
        return Exit::Infrastructure;
    };
    compare(&kernels, &proposal, &guest)
}

/// Boots the kernel for its dossier, which also tells the BTF modes that it can have.
fn examine(
    mut proposal: Proposal,
    guest: &Path,
    progress: &Progress,
) -> Result<(Proposal, Dossier), Exit> {
    let how = How { guest, cold: false, refresh: false };
    let mut notify = |line: String| eprintln!("note: {line}");
    match dossier::of(&proposal.kernels, &proposal.entry, how, progress, &mut notify) {
        Ok(archive) => {
            proposal.set_btf(archive.dossier.types.is_some());
            Ok((proposal, archive.dossier))
        }
        Err(error) => {
            progress.failed();
            eprint!("the kernel can't be used in the lab, so nothing was written: ");
            complain(&error);
            Err(Exit::Infrastructure)
        }
    }
}

/// What is to be expected of the kernel.
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
        text += &format!(", and these not:\n{}", refused.join("\n"));
    }
    text
}

/// Asks on the terminal. Without one nobody has agreed.
fn agreed() -> bool {
    if !io::stdin().is_terminal() {
        eprintln!("there is no terminal to ask on: --yes writes without asking");
        return false;
    }
    print!("write this entry? [y/N] ");
    let mut answer = String::new();
    let read = io::stdout().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

/// Runs the matrix on the new kernel and on its nearest neighbour.
fn compare(kernels: &Kernels, proposal: &Proposal, guest: &Path) -> Exit {
    let entry = &proposal.entry;
    let neighbour = nearest(kernels, entry).cloned();
    let selected = neighbour.iter().chain([entry]).map(|entry| entry.id.clone());
    let options = Options {
        kernels: Selection::of(&selected.collect::<Vec<_>>()),
        filter: Filter::default(),
        guest: guest.to_owned(),
        ..Options::default()
    };
    let terminal = Arc::new(Terminal::new());
    let show: Arc<dyn Show> = Arc::clone(&terminal) as _;
    let Outcomes { report, dir } = match run::run(kernels, &options, &show) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            complain(&error);
            return Exit::Infrastructure;
        }
    };
    println!("\n{}", table::matrix(&report, terminal.width()));
    print!("{}", table::findings(&report));
    println!("{}", table::summary(&report));
    if let Some(neighbour) = neighbour {
        let side = Side { report: &report, evidence: &dir };
        let regression = match Regression::of_kernels(side, &neighbour.id, &entry.id) {
            Ok(regression) => regression,
            Err(error) => {
                complain(&error);
                return Exit::Infrastructure;
            }
        };
        if regression.difference.is_none() {
            eprintln!("note: without both dossiers there is no telling what changed in the kernel");
        }
        println!("\n{regression}");
        let file = dir.path().join("regression.txt");
        if let Err(error) = fs::write(&file, regression.to_string()) {
            eprintln!("error: cannot write {}: {error}", file.display());
            return Exit::Infrastructure;
        }
    } else {
        println!("no other kernel can be had, so there is nothing to compare with");
    }
    println!("evidence: {}", dir.path().display());
    if entry.btf.contains(&BtfMode::Absent) {
        println!("{} has no BTF: its cells run in the mode `absent`", entry.id);
    }
    match Tally::of(&report.cells).severity() {
        Severity::Expected => Exit::Success,
        Severity::Failure => Exit::Failure,
        Severity::Inconclusive => Exit::Infrastructure,
    }
}
