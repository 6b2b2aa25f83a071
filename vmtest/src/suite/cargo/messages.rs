//! What `cargo test --no-run --message-format json` says it has built.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// One line of cargo's: https://doc.rust-lang.org/cargo/reference/external-tools.html.
#[derive(Debug, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(Artifact),
    BuildScriptExecuted(BuildScript),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Artifact {
    package_id: String,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Debug, Deserialize)]
struct BuildScript {
    package_id: String,
    out_dir: PathBuf,
    #[serde(default)]
    linked_paths: Vec<String>,
}

/// The kind of a target with tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The library.
    Lib,
    /// A program.
    Bin,
    /// A file of integration tests.
    Test,
    /// An example.
    Example,
    /// A benchmark.
    Bench,
}

impl Kind {
    fn of(names: &[String]) -> Self {
        let is = |wanted: &str| names.iter().any(|name| name == wanted);
        match () {
            () if is("test") => Kind::Test,
            () if is("bin") => Kind::Bin,
            () if is("example") => Kind::Example,
            () if is("bench") => Kind::Bench,
            // Also `rlib`, `cdylib`, `proc-macro`.
            () => Kind::Lib,
        }
    }
}

/// A program with tests, and what cargo gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestProgram {
    /// Of the package.
    pub package: String,
    /// What has the tests.
    pub kind: Kind,
    /// Of the target.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// The package's directory, in which tests run.
    pub directory: PathBuf,
    /// The environment that cargo adds.
    pub environment: BTreeMap<String, String>,
}

/// The programs with tests, in the order of their packages and kinds. Lines that are not cargo's
/// messages are ignored: a build script's are among them.
pub(crate) fn test_programs(text: &str) -> Vec<TestProgram> {
    let mut artifacts = Vec::new();
    let mut scripts: BTreeMap<String, BuildScript> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        match serde_json::from_str(line) {
            Ok(Message::CompilerArtifact(artifact)) => artifacts.push(artifact),
            Ok(Message::BuildScriptExecuted(script)) => {
                scripts.insert(script.package_id.clone(), script);
            }
            Ok(Message::Other) | Err(_) => {}
        }
    }
    let is_program = |artifact: &&Artifact| {
        !artifact.profile.test && Kind::of(&artifact.target.kind) == Kind::Bin
    };
    let mut programs: Vec<TestProgram> = artifacts
        .iter()
        .filter(|artifact| artifact.profile.test)
        .filter_map(|artifact| {
            let path = artifact.executable.clone()?;
            let (package, version) = package(&artifact.package_id);
            let directory = artifact.manifest_path.parent()?.to_owned();
            let mut environment = BTreeMap::from([
                ("CARGO_MANIFEST_DIR".to_owned(), text_of(&directory)),
                ("CARGO_MANIFEST_PATH".to_owned(), text_of(&artifact.manifest_path)),
                ("CARGO_PKG_NAME".to_owned(), package.clone()),
                ("CARGO_PKG_VERSION".to_owned(), version),
                ("LD_LIBRARY_PATH".to_owned(), library_path(&path, &scripts)),
            ]);
            if let Some(script) = scripts.get(&artifact.package_id) {
                environment.insert("OUT_DIR".to_owned(), text_of(&script.out_dir));
            }
            let kind = Kind::of(&artifact.target.kind);
            if matches!(kind, Kind::Test | Kind::Bench) {
                let of_package = |other: &&Artifact| other.package_id == artifact.package_id;
                for other in artifacts.iter().filter(is_program).filter(of_package) {
                    if let Some(path) = &other.executable {
                        let name = format!("CARGO_BIN_EXE_{}", other.target.name);
                        environment.insert(name, text_of(path));
                    }
                }
            }
            let name = artifact.target.name.clone();
            Some(TestProgram { package, kind, name, path, directory, environment })
        })
        .collect();
    programs.sort_by(|a, b| {
        (&a.package, a.kind, &a.name, &a.path).cmp(&(&b.package, b.kind, &b.name, &b.path))
    });
    programs
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The name and the version in a package's id: `path+file:///dir#name@1.0.0`, in which the name is
/// left out if it is that of the directory; `name 1.0.0 (path+file:///dir)` of cargo before 1.77.
fn package(id: &str) -> (String, String) {
    let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    let Some((source, fragment)) = id.rsplit_once('#') else {
        let mut words = id.split(' ');
        return pair(words.next().unwrap_or_default(), words.next().unwrap_or_default());
    };
    match fragment.split_once('@') {
        Some((name, version)) => pair(name, version),
        None => {
            let source = source.split('?').next().unwrap_or_default();
            pair(source.rsplit('/').next().unwrap_or_default(), fragment)
        }
    }
}

/// Where cargo lets programs look for libraries: what build scripts have linked, and beside them.
fn library_path(program: &Path, scripts: &BTreeMap<String, BuildScript>) -> String {
    let linked = scripts.values().flat_map(|script| &script.linked_paths);
    let linked = linked.map(|path| path.split_once('=').map_or(&**path, |(_, path)| path));
    let linked: BTreeSet<String> = linked.map(str::to_owned).collect();
    let beside = program.ancestors().skip(1).take(2).map(text_of);
    linked.into_iter().chain(beside).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("path+file:///w/demo#0.1.0", "demo", "0.1.0")]
    #[case("path+file:///w/here#demo@0.1.0", "demo", "0.1.0")]
    #[case("git+https://x.org/demo?branch=a#1.0.0-rc.1", "demo", "1.0.0-rc.1")]
    #[case("registry+https://github.com/rust-lang/crates.io-index#a@1.0.0+b", "a", "1.0.0+b")]
    #[case("demo 0.1.0 (path+file:///w/here)", "demo", "0.1.0")]
    fn an_id_has_a_name_and_a_version(#[case] id: &str, #[case] name: &str, #[case] version: &str) {
        assert_eq!(package(id), (name.to_owned(), version.to_owned()));
    }

    fn artifact(kind: &str, name: &str, test: bool, executable: Option<&str>) -> String {
        let executable = serde_json::to_string(&executable).unwrap();
        format!(
            "{{\"reason\":\"compiler-artifact\",\"package_id\":\"path+file:///w/p#0.1.0\",\
             \"manifest_path\":\"/w/p/Cargo.toml\",\"target\":{{\"kind\":[\"{kind}\"],\
             \"crate_types\":[\"bin\"],\"name\":\"{name}\"}},\"profile\":{{\"opt_level\":\"0\",\
             \"test\":{test}}},\"executable\":{executable},\"fresh\":true}}\n"
        )
    }

    #[test]
    fn programs_with_tests_get_what_cargo_gives_them() {
        let text = [
            "{\"reason\":\"build-script-executed\",\"package_id\":\"path+file:///w/p#0.1.0\",\
             \"linked_libs\":[],\"linked_paths\":[\"native=/w/target/lib\"],\"cfgs\":[],\"env\":[],\
             \"out_dir\":\"/w/target/debug/build/p-1/out\"}\n"
                .to_owned(),
            "warning: a build script's\n{not json\n".to_owned(),
            artifact("custom-build", "build-script-build", false, None),
            artifact("lib", "p", false, None),
            artifact("bin", "tool", false, Some("/w/target/debug/tool")),
            artifact("test", "it", true, Some("/w/target/debug/deps/it-1")),
            artifact("rlib", "p", true, Some("/w/target/debug/deps/p-1")),
            "{\"reason\":\"build-finished\",\"success\":true}\n".to_owned(),
        ]
        .concat();
        let [lib, it] = &test_programs(&text)[..] else { panic!("{:?}", test_programs(&text)) };
        assert_eq!((lib.kind, lib.name.as_str(), lib.package.as_str()), (Kind::Lib, "p", "p"));
        assert!(!lib.environment.contains_key("CARGO_BIN_EXE_tool"));
        assert_eq!(
            (it.kind, it.path.as_path()),
            (Kind::Test, Path::new("/w/target/debug/deps/it-1"))
        );
        assert_eq!(it.directory, Path::new("/w/p"));
        for (name, value) in [
            ("CARGO_MANIFEST_DIR", "/w/p"),
            ("CARGO_PKG_VERSION", "0.1.0"),
            ("OUT_DIR", "/w/target/debug/build/p-1/out"),
            ("CARGO_BIN_EXE_tool", "/w/target/debug/tool"),
            ("LD_LIBRARY_PATH", "/w/target/lib:/w/target/debug/deps:/w/target/debug"),
        ] {
            assert_eq!(it.environment[name], value);
        }
    }
}
