//! On every kernel: what is discovered is what BTF says, nothing is missing, and the dossier that core's
//! tests plan from is still the kernel's.
//!
//! One test per kernel that is on this machine, and whose guests there are programs for: `cargo xtask
//! kernels fetch all --arch all` brings all kernels, `cargo xtask guest --arch aarch64` makes the programs for arm64.
//! The others are listed as ignored. Entries that differ from another in processors only have no test of
//! their own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use kernlab_core::{discovery::QUESTIONS, dossier::Dossier, tracer::Tracer};
use kernlab_kernels::{Entry, Kernels, Silent, State, chain};
use kernlab_vmtest::{
    dossier::{self, How},
    guest_programs,
};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let kernels = match Kernels::open() {
        Ok(kernels) => kernels,
        Err(error) => {
            eprintln!("{}", chain(&error));
            return ExitCode::from(2);
        }
    };
    let guest = env::var_os("KERNLAB_GUEST").map(PathBuf::from);
    // Without the variable every test says what is missing.
    let has_programs = |entry: &Entry| {
        guest.as_deref().is_none_or(|guest| guest_programs::of_arch(guest, entry.arch).is_ok())
    };
    let entries = &kernels.matrix().entries;
    let kernel = |entry: &Entry| (entry.source.clone(), entry.arch, entry.btf.clone());
    let is_first =
        |at: usize| entries[..at].iter().all(|other| kernel(other) != kernel(&entries[at]));
    let first = entries.iter().enumerate().filter(|&(at, _)| is_first(at)).map(|(_, entry)| entry);
    let tests = first.map(|entry| {
        let here = matches!(kernels.state(entry), State::Stored | State::Local);
        let here = here && has_programs(entry);
        let tested = entry.clone();
        Trial::test(entry.id.clone(), move || agrees(&tested)).with_ignored_flag(!here)
    });
    libtest_mimic::run(&arguments, tests.collect()).exit_code()
}

fn agrees(entry: &Entry) -> Result<(), Failed> {
    let guest = env::var_os("KERNLAB_GUEST")
        .map(PathBuf::from)
        .ok_or("KERNLAB_GUEST names the guest programs: run this by `cargo xtask test`")?;
    let kernels = Kernels::open().map_err(|error| chain(&error))?;
    let how = How { guest: &guest, cold: false, refresh: true };
    let archive = dossier::of(&kernels, entry, how, &Silent).map_err(|error| chain(&error))?;
    let report = archive.layout();
    let contradictions = report.contradictions();
    let missing: Vec<_> =
        report.failures.iter().filter(|(what, _)| is_found_everywhere(what)).collect();
    if !contradictions.is_empty() || !missing.is_empty() {
        return Err(format!(
            "BTF contradicts {contradictions:?}, and these were not found: {missing:#?}"
        )
        .into());
    }
    is_test_data(&entry.id, archive.dossier.trimmed())
}

/// Fields, and functions whose arguments a plan asks for. What those of others are can't always be
/// told: a register that is no argument may hold the same pointer in every call.
fn is_found_everywhere(what: &str) -> bool {
    let is_asked_about = QUESTIONS.iter().any(|question| question.function == what);
    let is_planned_with = |tracer: Tracer| tracer.functions_asked().contains(&what);
    !is_asked_about || Tracer::all().any(is_planned_with)
}

/// A kernel of another release than the one in the test data has every right to differ.
fn is_test_data(id: &str, dossier: Dossier) -> Result<(), Failed> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/dossiers");
    let Ok(json) = fs::read(dir.join(format!("{id}.json"))) else { return Ok(()) };
    let kept = Dossier::from_json(&json).map_err(|error| chain(&error))?;
    if kept.release == dossier.release && kept != dossier {
        return Err(format!(
            "core/tests/dossiers/{id}.json is not what the kernel says: \
             `cargo xtask kernels dossier {id} --trim core/tests/dossiers` writes it again"
        )
        .into());
    }
    Ok(())
}
