//! The program of a test harness: what it needs beside its libraries, and whether it can list its
//! tests on this machine.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use memchr::memmem;

use super::{
    data::{Data, DataError, DataRule},
    payload::Machine,
};

/// Variables whose values are programs of the package that tests run: cargo and nextest set them.
const PROGRAMS: [&str; 2] = ["CARGO_BIN_EXE_", "NEXTEST_BIN_EXE_"];

/// Where a test program finds what it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The project's directory, whose data files the guest gets.
    pub project: Option<PathBuf>,
    /// The directory with what the package's build script wrote.
    pub generated: Option<PathBuf>,
    /// Programs that tests run.
    pub programs: Vec<PathBuf>,
    /// Where tests put temporary files.
    pub scratch: Option<PathBuf>,
    /// The directory for what is built, which is not data: runs can be kept there.
    pub build: Option<PathBuf>,
}

impl Surroundings {
    /// The surroundings of a program that runs in the directory `here` with this environment.
    /// `exists` tells whether there is a file or a directory.
    pub fn of(
        program: &Path,
        here: &Path,
        environment: &[(String, String)],
        exists: &dyn Fn(&Path) -> bool,
    ) -> Self {
        let value = |wanted: &str| {
            let found = environment.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| PathBuf::from(value)).filter(|path| path.is_absolute())
        };
        let package = value("CARGO_MANIFEST_DIR").filter(|dir| exists(dir));
        let module = || here.ancestors().find(|dir| exists(&dir.join("go.mod")));
        let is_home = value("HOME").is_some_and(|home| here == home);
        // A whole machine or home directory is nobody's test data.
        let itself = || Some(here).filter(|dir| !is_home && dir.parent().is_some());
        let project = package.or_else(|| module().or_else(itself).map(Path::to_owned));
        let is_program = |name: &str| PROGRAMS.iter().any(|prefix| name.starts_with(prefix));
        let programs = environment.iter().filter(|(name, _)| is_program(name));
        let mut programs: Vec<_> = programs.map(|(_, value)| PathBuf::from(value)).collect();
        programs.retain(|file| file.is_absolute() && exists(file));
        programs.sort();
        programs.dedup();
        // Cargo tells programs the directory for temporary files only when it compiles them.
        let scratch = program.parent().filter(|dir| dir.ends_with("deps")).and_then(|dir| {
            let built = dir.parent()?.parent()?;
            Some(built.join("tmp")).filter(|dir| exists(dir))
        });
        let build = program.ancestors().skip(1).find(|dir| exists(&dir.join("CACHEDIR.TAG")));
        Surroundings {
            project,
            generated: value("OUT_DIR").filter(|dir| exists(dir)),
            programs,
            scratch,
            build: build.map(Path::to_owned),
        }
    }

    /// What a guest gets of it. Without a rule, no data.
    pub fn data(&self, rule: Option<&DataRule>) -> Result<Data, DataError> {
        let mut all = Data::default();
        if let Some(rule) = rule {
            let project = self.project.as_deref().map(|dir| rule.of_project(dir)).transpose()?;
            let generated = self.generated.as_deref().map(|dir| rule.of_dir(dir)).transpose()?;
            for data in project.into_iter().chain(generated) {
                all.files.extend(data.files);
                all.notices.extend(data.notices);
            }
        }
        all.files.extend(self.programs.iter().chain(&self.scratch).cloned());
        Ok(all)
    }
}

/// What the harness that rustc adds to tests has in it. With all of these, a program with the
/// argument `--list` lists its tests and runs none. Other programs might run something.
const LIBTEST: [&str; 4] =
    ["RUST_TEST_THREADS", "RUST_TEST_NOCAPTURE", "RUST_TEST_SHUFFLE_SEED", "test result: "];

/// Whether this machine can make a program list its tests, and nothing else.
pub fn lists_here(program: &Path) -> io::Result<bool> {
    Ok(Machine::of_file(program)?.is_some_and(Machine::is_own) && is_libtest(program)?)
}

/// Whether a program's harness is that of rustc.
pub fn is_libtest(program: &Path) -> io::Result<bool> {
    let mut bytes = Vec::new();
    File::open(program)?.read_to_end(&mut bytes)?;
    Ok(has_libtest(&bytes))
}

fn has_libtest(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
        && LIBTEST.iter().all(|text| memmem::find(bytes, text.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(program: &str, here: &str, environment: &[(&str, &str)], there: &[&str]) -> Surroundings {
        let environment: Vec<_> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let exists = |path: &Path| there.contains(&path.to_str().unwrap());
        Surroundings::of(Path::new(program), Path::new(here), &environment, &exists)
    }

    #[test]
    fn a_test_of_cargo_gets_its_package_and_what_its_environment_names() {
        let environment = [
            ("CARGO_MANIFEST_DIR", "/w/p"),
            ("CARGO_BIN_EXE_tool", "/w/target/debug/tool"),
            ("NEXTEST_BIN_EXE_gone", "/w/target/debug/gone"),
            ("OUT_DIR", "/w/target/debug/build/p-1/out"),
            ("PATH", "/usr/bin"),
        ];
        let there = [
            "/w/p",
            "/w/target/debug/tool",
            "/w/target/debug/build/p-1/out",
            "/w/target/tmp",
            "/w/target/CACHEDIR.TAG",
            "/usr/bin",
        ];
        let surroundings = of("/w/target/debug/deps/t-1", "/w/p", &environment, &there);
        let expected = Surroundings {
            project: Some("/w/p".into()),
            generated: Some("/w/target/debug/build/p-1/out".into()),
            programs: vec!["/w/target/debug/tool".into()],
            scratch: Some("/w/target/tmp".into()),
            build: Some("/w/target".into()),
        };
        assert_eq!(surroundings, expected);
    }

    #[test]
    fn a_test_of_go_gets_its_module() {
        let surroundings =
            of("/tmp/b001/p.test", "/w/m/pkg", &[("HOME", "/w")], &["/w/m/go.mod", "/w/m/pkg"]);
        let project = Some(PathBuf::from("/w/m"));
        assert_eq!(surroundings, Surroundings { project, ..Surroundings::default() });
    }

    #[test]
    fn nothing_but_a_directory_of_its_own_is_taken_for_a_project() {
        let project = |here, home| of("/x", here, &[("HOME", home)], &[here]).project;
        assert_eq!(project("/w/p", "/w"), Some(PathBuf::from("/w/p")));
        assert_eq!(project("/w", "/w"), None);
        assert_eq!(project("/", "/w"), None);
        let elsewhere = of("/x", "/w", &[("CARGO_MANIFEST_DIR", "p")], &["/w", "p"]);
        assert_eq!(elsewhere.project, Some(PathBuf::from("/w")), "a relative path names nothing");
    }

    #[test]
    fn only_the_harness_of_rustc_lists_here() {
        let own = std::env::current_exe().unwrap();
        assert!(lists_here(&own).unwrap());
        let foreign = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = std::fs::read(&own).unwrap();
        // EM_RISCV.
        bytes[18..20].copy_from_slice(&[243, 0]);
        std::fs::write(foreign.path(), bytes).unwrap();
        assert!(is_libtest(foreign.path()).unwrap() && !lists_here(foreign.path()).unwrap());
        assert!(!is_libtest(Path::new("/bin/sh")).unwrap());
        assert!(!has_libtest(LIBTEST.concat().as_bytes()), "a text that names them");
    }
}
