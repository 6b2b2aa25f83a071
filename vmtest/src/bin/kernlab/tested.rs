//! What `kernlab test` and `kernlab ci test` test.

use std::path::Path;

use kernlab_kernels::chain;
use kernlab_vmtest::suite::{
    cargo::{CargoError, Expanded},
    data::DataRule,
    invocation::Invocation,
    job::Circumstances,
    manifest::{CargoSuite, CargoTests, FILE_NAME, Project, Suite},
    run::Suites,
};

use crate::{
    failure::Failure,
    test::{build, read},
};

/// The suites of a project, a command, or the tests of a cargo project.
pub(crate) struct Tested {
    pub(crate) project: Project,
    at: Circumstances,
    invocation: Invocation,
    /// What users should know of the suites.
    remarks: Vec<String>,
}

impl Tested {
    /// The suites of the file `config`, or of the nearest one.
    pub(crate) fn project(config: Option<&Path>) -> Result<Self, Failure> {
        let project = read(config, &std::env::current_dir()?)?;
        let at = Circumstances::of_project(&std::path::absolute(project.dir())?);
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
        let at = Circumstances::of_process(&here, None);
        Ok(Tested { project, at, invocation, remarks: Vec::new() })
    }

    /// Runs the project's build command, and builds cargo's tests: each becomes a suite.
    pub(crate) fn build(&mut self, rule: Option<&DataRule>) -> Result<(), Failure> {
        build(&self.project)?;
        let expanded = with_cargo_tests(&self.project, &self.at.directory, rule)?;
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
    directory: &Path,
    rule: Option<&DataRule>,
) -> Result<Expanded, Failure> {
    let mut all = Expanded { suites: project.suites.clone(), ..Expanded::default() };
    for CargoSuite { template, tests } in &project.cargo {
        let prefix = Some(template.name.as_str()).filter(|name| !name.is_empty());
        let expanded = tests.expand(directory, prefix, template, rule).map_err(|error| {
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
