//! A guest in which a cell of a suite has just been run, for someone who looks around in it.

use std::path::{Path, PathBuf};

use kernlab_core::cell::{BackendKind, BtfMode};
use kernlab_kernels::{Entry, Kernels, Observer};
use kernlab_proto::suite::ARCHIVES;
use kernlab_splat::AllowList;

use super::{
    cell::{self, PlanError, Setting, SuiteCell},
    job::RunContext,
    manifest::Suite,
    observed::Observed,
    packed::{self, PackError},
    payload::{ArchiveError, Payload},
    platform::Platform,
    start,
    unmatched::SharedRules,
};
use crate::{
    guest_programs::{self, GuestProgramsError},
    lab::{Guest, Job, LabError, Ready, Stream},
    qemu::InjectedFile,
    report::TracerReport,
};

/// Why there is no such guest.
#[derive(Debug, thiserror::Error)]
pub enum AfterError {
    /// The kernel is not available, or does not have the BTF mode.
    #[error(transparent)]
    Kernel(#[from] kernlab_kernels::Error),
    /// The suite's files can't be given to a guest.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The machine can't be set up.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There are no programs for its guests.
    #[error(transparent)]
    Programs(#[from] GuestProgramsError),
    /// The visitor's own files can't be packed.
    #[error(transparent)]
    Files(#[from] ArchiveError),
    /// The guest failed. It is boxed because it carries its evidence.
    #[error(transparent)]
    Guest(Box<LabError>),
}

/// The cell to run, and what the visitor brings.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The kernel.
    pub kernel: &'a Entry,
    /// Its BTF mode.
    pub btf: BtfMode,
    /// The loader of an object.
    pub backend: Option<BackendKind>,
    /// The suite.
    pub suite: &'a Suite,
    /// Where the suite's programs run, and with what.
    pub at: &'a RunContext,
    /// What runs the guest's programs.
    pub platform: &'a Platform,
    /// The visitor's files.
    pub files: &'a Payload,
    /// A character device of QEMU that a debugger may connect to.
    pub debugger: Option<&'a str>,
    /// Boot a guest instead of restoring a saved one.
    pub cold: bool,
    /// The directory of the guest's programs.
    pub programs: &'a Path,
}

/// What a cell left behind.
#[derive(Debug)]
pub struct Left {
    /// The guest, which is ready for more.
    pub guest: Guest<Ready>,
    /// How the tracer ended, if it was started.
    pub tracer: Option<TracerReport>,
    /// The environment of the suite's programs.
    environment: Vec<(String, String)>,
    /// What is hidden from them.
    hidden: Vec<String>,
    /// Their working directory.
    directory: PathBuf,
}

impl Left {
    /// A job that finds what the suite's programs found: their directory, their environment, and the
    /// same files hidden. It needs the guest's shell.
    pub fn job(&self, argv: &[String]) -> Job {
        let directory = self.directory.display().to_string();
        let words = ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", &directory].map(str::to_owned);
        let job = Job::new(words.into_iter().chain(argv.iter().cloned()));
        let job = self.environment.iter().fold(job, |job, (name, value)| job.env(name, value));
        self.hidden.iter().fold(job, |job, path| job.hide(path))
    }
}

/// Runs the cell, and keeps its guest. `heard` gets what the suite's programs write.
pub fn run(
    kernels: &Kernels,
    visit: &Visit<'_>,
    observer: &dyn Observer,
    heard: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Left, AfterError> {
    let Visit { at, btf, backend, platform, .. } = *visit;
    let suite = &visit.suite.clone().on_arch(visit.kernel.arch);
    let own = guest_programs::of_arch(visit.programs, visit.kernel.arch)?;
    let packed = packed::pack(suite, at, kernels, &own, platform, observer)?;
    let kernel = kernels.prepare(visit.kernel, observer)?;
    kernel.check_mode(visit.kernel, btf)?;
    let store = kernels.store();
    let more = [InjectedFile {
        guest: format!("{ARCHIVES}4-visitor.tar"),
        host: visit.files.archive(store)?,
    }];
    let cell = SuiteCell {
        id: &suite.name,
        suite,
        packed: &packed,
        kernel: &kernel,
        btf,
        backend,
        dossier: None,
        examination_failure: None,
        whole: None,
        more: &more,
    };
    let setting = Setting {
        kernels,
        guest: visit.programs,
        // No verdict is made.
        allow: &AllowList::default(),
        cold: visit.cold,
        timeout: None,
        proposals: None,
        shared: &SharedRules::default(),
        directory: &at.directory,
    };
    let mut planned = cell::plan(&cell, &setting, observer)?;
    let mebibytes = u32::try_from(visit.files.size() >> 20).unwrap_or(u32::MAX / 4);
    planned.bootable.machine.memory_mib += mebibytes * 3 / 2;
    planned.bootable.machine.debugger = visit.debugger.map(str::to_owned);
    let lost = |error| AfterError::Guest(Box::new(error));
    let started = start::start(&cell, &setting, &planned, observer).map_err(lost)?;
    let mut reports = Vec::new();
    let ran = started.run(&mut |stream, bytes| match stream {
        Stream::Result => reports.extend_from_slice(bytes),
        stream => heard(stream, bytes),
    });
    let (guest, _) = ran.map_err(lost)?;
    let observed = Observed::read(&reports);
    Ok(Left {
        guest,
        tracer: Some(TracerReport::of(&observed)).filter(|_| observed.started),
        hidden: cell::hidden(&cell),
        environment: packed.job.environment,
        directory: at.directory.clone(),
    })
}
