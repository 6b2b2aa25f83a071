//! `kernlab shell --after`: a shell in a guest in which a cell of a suite has just been run.

use std::process::ExitCode;

use kernlab_cli::{Selected, TestOptions};
use kernlab_core::cell::{BackendKind, BtfMode};
use kernlab_kernels::{Kernels, chain};
use kernlab_vmtest::{
    report::TracerReport,
    run::RunObserver as _,
    suite::{
        after::{self, AfterError, Visit},
        data::DataRule,
        job::RunContext,
        manifest::{FILE_NAME, Project},
        payload::Payload,
        platform::Platform,
        run::SUITE,
    },
};
use tempfile::NamedTempFile;

use super::{Arguments, Shell, at_terminal, piped};
use crate::{
    failure::Failure,
    passed_on::write_to,
    report, selection,
    show::Terminal,
    test,
    tested::{self, Listers},
    why,
};

/// A cell of a suite, by the parts of its name.
#[derive(Debug, PartialEq, Eq)]
struct CellAddress {
    kernel: String,
    btf: BtfMode,
    /// The loader of an object.
    backend: Option<BackendKind>,
    suite: String,
}

/// Runs the cell, then the shell.
pub(super) fn run(kernels: &Kernels, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let given = arguments.after.as_deref().unwrap_or_default();
    let id = match given.contains(['*', '?', '[', '{']) {
        true => {
            let (report, _) = report::read(None)?;
            why::find(&report, given)?.id()
        }
        false => given.to_owned(),
    };
    let CellAddress { kernel, btf, backend, suite } = parse(&id).map_err(Failure::usage)?;
    let here = std::env::current_dir()?;
    let project = test::read(arguments.config.as_deref(), &here)?;
    let is_test = |name: &str| suite.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    let tests = project.cargo.iter().map(|tests| &tests.template);
    let tests = tests.filter(|template| is_test(&template.name));
    let described = project.suites.iter().filter(|known| known.name == suite).chain(tests).next();
    let no_suite = || Failure::usage(no_suite(&id, &suite, &project));
    let described = described.ok_or_else(no_suite)?;
    let entry = selection::only(kernels, &arguments.scope, &kernel)?;
    let script = piped()?;
    let (platform, files) = if described.root.is_some() {
        let platform = Platform::without_tools(entry.arch);
        let files = Payload::for_root(&platform);
        (platform, files)
    } else {
        let platform = Platform::of(kernels, &entry, &Terminal::new())?;
        let files = Payload::beside(&platform);
        (platform, files)
    };
    let script = script.as_ref().map(NamedTempFile::path);
    let shell =
        Shell::prepare(arguments, script, files).map_err(|error| Failure::usage(chain(&error)))?;
    let programs = arguments.guest.dir(kernels)?;
    test::build(&project)?;
    let at = RunContext::of_project(&std::path::absolute(project.dir())?);
    let suites = match described.name == suite {
        // What is not needed is not built.
        true => vec![described.clone()],
        false => {
            let selected =
                Selected { kernels: vec![entry.selector()], scope: arguments.scope.clone() };
            let options = &TestOptions { selected, ..TestOptions::default() };
            let listers = Listers { kernels, guest: &arguments.guest, options };
            tested::with_cargo_tests(&project, &at, Some(&DataRule::default()), listers)?.suites
        }
    };
    let suite = suites.iter().find(|known| known.name == suite).ok_or_else(no_suite)?;
    let visit = Visit {
        kernel: &entry,
        btf,
        backend,
        suite,
        at: &at,
        platform: &platform,
        files: &shell.files,
        debugger: arguments.gdb.as_deref(),
        cold: arguments.cold,
        programs: &programs,
    };
    let terminal = Terminal::new();
    let left = after::run(kernels, &visit, &terminal, &mut |stream, bytes| {
        // A progress bar would be drawn over the output.
        terminal.end();
        write_to(stream, bytes);
    });
    terminal.end();
    let left = left.map_err(|error| match error {
        AfterError::Pack(_) => Failure::usage(chain(&error)),
        error => Failure::infrastructure(&error),
    })?;
    let release = &left.guest.hello().release;
    say!("{id}, {release}: {}; Ctrl-] ends the guest", end(left.tracer.as_ref()));
    let job = left.job(&shell.argv);
    at_terminal(left.guest, job).map_err(|error| Failure::infrastructure(error.as_ref()))
}

/// The parts of a cell's name.
fn parse(id: &str) -> Result<CellAddress, String> {
    // The name of a test of cargo has slashes.
    let has_slashes = id.split('/').nth(2) == Some(SUITE);
    let parts: Vec<_> = id.splitn(if has_slashes { 4 } else { 6 }, '/').collect();
    match parts[..] {
        [kernel, btf, loader @ (SUITE | "libbpf" | "aya"), suite] => Ok(CellAddress {
            kernel: kernel.to_owned(),
            backend: loader.parse().ok(),
            btf: btf.parse().map_err(|error| format!("{id:?} is not a cell: {error}"))?,
            suite: suite.to_owned(),
        }),
        [kernel, _, "libbpf" | "aya", _, _] => Err(format!(
            "{id} is a cell of one of the lab's own tracers, not of a suite: `kernlab shell --kernel \
             {kernel}` opens a shell with their programs in /bin"
        )),
        _ => Err(format!("{id:?} is not a cell of a suite: expected KERNEL/BTF/{SUITE}/NAME")),
    }
}

/// Why the project has no such suite.
fn no_suite(id: &str, suite: &str, project: &Project) -> String {
    let file = project.path.display();
    let cargo = project.cargo.iter().map(|cargo| &cargo.template);
    let known: Vec<_> =
        project.suites.iter().chain(cargo).map(|known| known.name.as_str()).collect();
    let known = known.join(", ");
    // The name that all commands have.
    match suite {
        "command" => format!(
            "{id} is a cell of a command, which is not kept: describe it in {FILE_NAME}, or open a \
             shell with `kernlab shell --kernel KERNEL --file PROGRAM`"
        ),
        _ => format!("{file} has no suite {suite:?}: the suites are {known}"),
    }
}

/// How the tracer ended, in words.
fn end(tracer: Option<&TracerReport>) -> String {
    match tracer.map(TracerReport::end) {
        None => "its program was not started".to_owned(),
        Some(Some(end)) => format!("its program ended: {end}"),
        Some(None) => "its program's end was not seen".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_cell_has_a_kernel_a_mode_and_a_suite() {
        let expected = CellAddress {
            kernel: "debian-6.1".to_owned(),
            btf: BtfMode::Masked,
            backend: None,
            suite: "opens.2".to_owned(),
        };
        assert_eq!(parse("debian-6.1/masked/suite/opens.2"), Ok(expected));
        let loaded = parse("debian-6.1/masked/aya/probe").unwrap();
        assert_eq!(loaded.backend, Some(BackendKind::Aya));
    }

    #[rstest]
    #[case("debian-6.1/masked/aya/inotify/unwatched", "`kernlab shell --kernel debian-6.1` opens")]
    #[case("debian-6.1", "expected KERNEL/BTF/suite/NAME")]
    #[case("debian-6.1/hidden/suite/opens", "is not a cell: ")]
    fn other_cells_are_refused(#[case] id: &str, #[case] expected: &str) {
        let error = parse(id).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
