//! Embeds the programs that run in guests into a release build, so that an installed `kernlab` works
//! without a checkout, and the commit that it was built from. Everything else is in
//! `src/guest_programs.rs`.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const GUEST_VARIABLE: &str = "KERNLAB_GUEST";
/// The architectures whose programs can be in directories of their own.
const OTHERS: [&str; 2] = ["aarch64", "x86_64"];
/// Names the commit where there is no checkout of git.
const COMMIT_VARIABLE: &str = "KERNLAB_COMMIT";
/// The file with the list of the embedded programs, an expression of Rust.
const LIST: &str = "guest_programs.rs";

/// What to do if the guest's programs can't be built.
const NO_GUEST_PROGRAMS: &str = "

The programs that run in guests are a part of a release build of kernlab, and can't be built here: the
lines above say what is missing.
- In a checkout, `cargo xtask install` installs what is missing, and then kernlab.
- `KERNLAB_GUEST=DIR cargo install ...` takes the programs that are in DIR, such as those that `cargo
  xtask guest` built on another machine.
- A release has an archive and a Debian package, which need no build.
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(variable("OUT_DIR"));
    // Fuzz targets run no guest.
    let is_fuzzed = env::var_os("CARGO_CFG_FUZZING").is_some();
    let programs = match variable("PROFILE").as_str() {
        "release" if !is_fuzzed => {
            println!("cargo::rerun-if-env-changed={GUEST_VARIABLE}");
            programs(&guest_dir(&out))
        }
        // Debug builds are for `cargo xtask`, which names the directory of the programs when it runs them.
        _ => Vec::new(),
    };
    println!("cargo::rustc-env=KERNLAB_COMMIT_IN_VERSION={}", commit_in_version());
    let entries = programs.iter().map(|(name, program)| embed(name, program, &out));
    let list = format!("&[{}]", entries.collect::<Vec<_>>().join(", "));
    write(&out.join(LIST), list.as_bytes());
}

/// ` (0123456789ab)`, or nothing if the commit is not known. Debug builds have none: they would be
/// compiled again after every commit.
fn commit_in_version() -> String {
    println!("cargo::rerun-if-env-changed={COMMIT_VARIABLE}");
    if variable("PROFILE") != "release" {
        return String::new();
    }
    let commit = env::var(COMMIT_VARIABLE).ok().or_else(commit_of_checkout).unwrap_or_default();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match commit.chars().all(is_word) && !commit.is_empty() {
        true => format!(" ({commit})"),
        false => String::new(),
    }
}

/// The commit of the checkout, if git knows it, with `-dirty` if files differ from it.
fn commit_of_checkout() -> Option<String> {
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("..");
    // A package that was unpacked inside of somebody's repository is not of that repository.
    if !root.join(".git").exists() {
        return None;
    }
    let describe = ["describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"];
    let git = Command::new("git").args(describe).current_dir(&root).output().ok()?;
    let commit = String::from_utf8(git.stdout).ok().filter(|_| git.status.success())?;
    Some(commit.trim().to_owned())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The directory of the programs that run in guests: the one in the environment, or the one that
/// `cargo xtask guest` builds.
fn guest_dir(out: &Path) -> PathBuf {
    if let Some(dir) = env::var_os(GUEST_VARIABLE).filter(|dir| !dir.is_empty()) {
        return dir.into();
    }
    // Cargo knows when the programs have to be built again: this script asks it each time.
    println!("cargo::rerun-if-changed={}", out.join("no such file").display());
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("..");
    // Its directories differ from those of a release build, so that neither waits for the other.
    let output = Command::new(variable("CARGO"))
        .args(["xtask", "guest", "--embed"])
        .current_dir(&root)
        // Clippy sets it, and programs that run need code.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("cargo does not start: {error}"));
    assert!(output.status.success(), "{NO_GUEST_PROGRAMS}");
    let stdout = String::from_utf8(output.stdout).expect("the directory is in UTF-8");
    stdout.lines().last().expect("`cargo xtask guest` prints the directory").into()
}

/// The programs of a directory with their names: those for guests of this machine's architecture, and of
/// others, in directories that are named for them.
fn programs(dir: &Path) -> Vec<(String, PathBuf)> {
    let own = executables(dir);
    assert!(!own.is_empty(), "there are no programs in {}", dir.display());
    let of = |prefix: &str, programs: Vec<PathBuf>| -> Vec<(String, PathBuf)> {
        let name = |program: &PathBuf| {
            let name = program.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
            format!("{prefix}{name}")
        };
        programs.into_iter().map(|program| (name(&program), program)).collect()
    };
    let mut programs = of("", own);
    for arch in OTHERS {
        let dir = dir.join(arch);
        println!("cargo::rerun-if-changed={}", dir.display());
        if dir.is_dir() {
            programs.extend(of(&format!("{arch}/"), executables(&dir)));
        }
    }
    programs
}

/// The executables of a directory, ordered by name.
fn executables(dir: &Path) -> Vec<PathBuf> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut programs: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| {
            fs::symlink_metadata(path)
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
        .collect();
    programs.sort();
    programs
}

/// Compresses a program, and returns its entry in the list.
fn embed(name: &str, program: &Path, out: &Path) -> String {
    println!("cargo::rerun-if-changed={}", program.display());
    let content =
        fs::read(program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let compressed = out.join(format!("{}.lz4", name.replace('/', "-")));
    write(&compressed, &lz4_flex::compress_prepend_size(&content));
    let compressed = compressed.to_str().expect("a path in UTF-8");
    format!("({name:?}, include_bytes!({compressed:?}) as &[u8])")
}

/// Writes a file, unless it has this content: what is not newer is not compiled again.
fn write(path: &Path, content: &[u8]) {
    if fs::read(path).is_ok_and(|found| found == content) {
        return;
    }
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
