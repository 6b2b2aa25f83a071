//! What `kernlab test` and `kernlab ci test` test.

use std::{path::Path, sync::Arc};

use kernlab_cli::{Selected, TestOptions};
use kernlab_core::outcome::Outcome;
use kernlab_kernels::{Entry, Kernels, Silent, chain};
use kernlab_vmtest::{
    run::{Outcomes, RunObserver},
    suite::{
        cargo::{CargoError, Expanded, ListingError},
        data::DataRule,
        invocation::Invocation,
        job::RunContext,
        manifest::{CargoSuite, CargoTests, FILE_NAME, Project, Subject, Suite},
        payload::Machine,
        run::{self, Suites},
    },
};

use crate::{
    failure::Failure,
    selection::GuestPrograms,
    show::Terminal,
    test::{build, read},
};

/// The suites of a project, a command, or the tests of a cargo project.
pub(crate) struct Tested {
    pub(crate) project: Project,
    at: RunContext,
    invocation: Invocation,
    /// What users should know of the suites.
    remarks: Vec<String>,
}

impl Tested {
    /// The suites of the file `config`, or of the nearest one.
    pub(crate) fn project(config: Option<&Path>) -> Result<Self, Failure> {
        let project = read(config, &std::env::current_dir()?)?;
        let at = RunContext::of_project(&std::path::absolute(project.dir())?);
        let invocation = Invocation::Suites { config: config.map(Path::to_owned) };
        Ok(Tested { project, at, invocation, remarks: Vec::new() })
    }

    /// A command that tests itself.
    pub(crate) fn command(argv: &[String]) -> Result<Self, Failure> {
        let suites = vec![Suite::command(argv.to_vec())];
        Self::of_command_line(suites, Vec::new(), Invocation::Command { argv: argv.to_vec() })
    }

    /// The tests of the cargo project in this directory.
    pub(crate) fn cargo(tests: CargoTests) -> Result<Self, Failure> {
        let (options, args) = tests.words();
        let template = Suite { name: String::new(), ..Suite::command(Vec::new()) };
        let suites = vec![CargoSuite { template, tests }];
        Self::of_command_line(Vec::new(), suites, Invocation::Cargo { options, args })
    }

    fn of_command_line(
        suites: Vec<Suite>,
        cargo: Vec<CargoSuite>,
        invocation: Invocation,
    ) -> Result<Self, Failure> {
        let here = std::env::current_dir()?;
        let path = here.join(FILE_NAME);
        let project = Project { path, kernels: Vec::new(), build: None, suites, cargo };
        let at = RunContext::of_process(&here, None);
        Ok(Tested { project, at, invocation, remarks: Vec::new() })
    }

    /// Runs the project's build command, and builds cargo's tests: each becomes a suite.
    pub(crate) fn build(
        &mut self,
        rule: Option<&DataRule>,
        kernels: Listers<'_>,
    ) -> Result<(), Failure> {
        build(&self.project)?;
        let expanded = with_cargo_tests(&self.project, &self.at, rule, kernels)?;
        self.project.suites = expanded.suites;
        self.project.cargo.clear();
        self.remarks = expanded.remarks;
        Ok(())
    }

    /// What users should know of the suites.
    pub(crate) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// For a run.
    pub(crate) fn suites(&self) -> Suites<'_> {
        Suites {
            suites: &self.project.suites,
            kernels: &self.project.kernels,
            at: self.at.clone(),
            invocation: self.invocation.clone(),
            remarks: self.remarks.clone(),
            runs: None,
        }
    }
}

/// The suites of a project, with a suite for each of cargo's tests, which are built for this.
pub(crate) fn with_cargo_tests(
    project: &Project,
    at: &RunContext,
    rule: Option<&DataRule>,
    listers: Listers<'_>,
) -> Result<Expanded, Failure> {
    let mut all = Expanded { suites: project.suites.clone(), ..Expanded::default() };
    let in_guest = |suite: Suite| listers.run(suite, at, &project.kernels);
    for CargoSuite { template, tests } in &project.cargo {
        let prefix = Some(template.name.as_str()).filter(|name| !name.is_empty());
        let expanded = tests.expand(&at.directory, prefix, template, rule, &in_guest);
        let expanded = expanded.map_err(|error| {
            let message = chain(&error);
            match error {
                CargoError::Build { .. } | CargoError::Listing { .. } => Failure::failed(message),
                CargoError::NoCargo { .. } => Failure::infrastructure(&error),
                CargoError::Argument(_) | CargoError::Data(_) | CargoError::NoTests { .. } => {
                    Failure::usage(message)
                }
            }
        })?;
        all.suites.extend(expanded.suites);
        all.remarks.extend(expanded.remarks);
    }
    Ok(all)
}

/// Kernels in whose guests test programs list their tests that this machine can't run.
#[derive(Clone, Copy)]
pub(crate) struct Listers<'a> {
    pub(crate) kernels: &'a Kernels,
    pub(crate) guest: &'a GuestPrograms,
    /// Which kernels are selected; without any, those of the project.
    pub(crate) options: &'a TestOptions,
}

impl Listers<'_> {
    /// What a program prints in a guest of the first selected kernel that can run it.
    fn run(
        self,
        suite: Suite,
        at: &RunContext,
        project: &[String],
    ) -> Result<String, ListingError> {
        let Listers { kernels, guest, options } = self;
        let failed = |failure: Failure| ListingError::Guest(failure.to_string());
        let Subject::Run(command) = &suite.subject else { unreachable!("a test is a program") };
        let argv = command.argv();
        let entries = run::entries(kernels, options, project, &Silent);
        let entries = entries.map_err(|error| failed(error.into()))?;
        let machine = Machine::of_file(Path::new(&argv[0]))?;
        let is_fitting = |entry: &&Entry| machine == Some(Machine::Known(entry.arch));
        let Some(entry) = entries.iter().find(is_fitting) else {
            let message = match machine {
                Some(machine) => format!("no kernel of {machine} is selected"),
                None => "it is not an ELF program".to_owned(),
            };
            return Err(ListingError::Guest(message));
        };
        let scratch = tempfile::tempdir()?;
        let suites = Suites {
            suites: &[suite],
            kernels: &[],
            at: at.clone(),
            invocation: Invocation::Runner { options: Vec::new(), argv },
            remarks: Vec::new(),
            runs: Some(scratch.path().to_owned()),
        };
        let selected = Selected { kernels: vec![entry.selector()], ..Selected::default() };
        let options = TestOptions { selected, ..TestOptions::default() };
        let guest = guest.dir(kernels).map_err(|error| failed(error.into()))?;
        let show: Arc<dyn RunObserver> = Arc::new(Terminal::quiet());
        let outcomes = run::run(kernels, &options, &suites, &guest, &show, &|_, _, _| {});
        let Outcomes { report, dir } = outcomes.map_err(|error| failed(error.into()))?;
        let [cell] = &report.cells[..] else { unreachable!("one suite runs on one kernel") };
        match cell.outcome {
            Outcome::Pass => {
                let (stdout, _) = dir.output_of(cell);
                Ok(String::from_utf8_lossy(&stdout).into_owned())
            }
            _ => {
                let (id, message) = (&entry.id, &cell.message);
                Err(ListingError::Guest(format!("{id}: {}: {message}", cell.verdict())))
            }
        }
    }
}
