//! On every kernel: what is discovered is what BTF says, and nothing is missing.
//!
//! One test per kernel that is on this machine: `cargo xtask kernels fetch all` brings them all.
//! The others are listed as ignored.

use std::{env, path::PathBuf, process::ExitCode};

use kernlab_vmtest::{
    dossier,
    kernels::{Entry, Kernels, Silent, State, chain},
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
    let tests = kernels.matrix().entries.iter().map(|entry| {
        let here = matches!(kernels.state(entry), State::Stored | State::Local);
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
    let mut tell = |line: String| println!("{line}");
    let report = dossier::layout(&kernels, entry, &guest, &Silent, &mut tell)
        .map_err(|error| chain(&error))?;
    let contradictions = report.contradictions();
    if !contradictions.is_empty() || !report.failures.is_empty() {
        return Err(format!(
            "BTF contradicts {contradictions:?}, and these were not found: {:#?}",
            report.failures
        )
        .into());
    }
    Ok(())
}
