//! Disks that are full, and stores that can't be written.
//!
//! A test mounts a small file system in a mount namespace of its own, where nobody else sees it. That
//! takes root, a user namespace, or sudo without a password; a CI system must have one of them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use kernlab_core::outcome::Outcome;
use kernlab_vmtest::report::Report;
use rstest::rstest;

use super::bench::{Bench, Told, run};

/// The words that begin a command in a mount namespace of its own. None if this machine allows none.
fn in_namespace() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 3] = [
        &["unshare", "--mount"],
        &["unshare", "--map-root-user", "--mount"],
        &["sudo", "--non-interactive", "unshare", "--mount"],
    ];
    let works = |words: &&&[&str]| {
        let mut probe = Command::new(words[0]);
        probe.args(&words[1..]).args(["mount", "-t", "tmpfs", "none", "/tmp"]);
        probe.output().is_ok_and(|output| output.status.success())
    };
    let way = WAYS.iter().find(works).copied();
    if way.is_none() {
        let why = "this machine lets nobody mount a file system: faults of disks are not tested";
        assert!(env::var_os("CI").is_none(), "{why}");
        eprintln!("{why}");
    }
    way
}

/// Runs a script in a mount namespace. `run NAME` in it runs the program of the bench, and keeps what
/// came of it under this name; `$STORE`, `$PACKAGES`, `$PROJECT` are directories.
fn script(bench: &Bench, packages: &Path, text: &str) -> bool {
    let Some(words) = in_namespace() else { return false };
    let exec = bench.exec();
    let quote = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let line: Vec<_> = [exec.get_program()].into_iter().chain(exec.get_args()).map(quote).collect();
    let mut head = String::from("set -u\n");
    let inherited = ["KERNLAB_GUEST", "PATH", "HOME"].map(|name| (name, env::var_os(name)));
    let inherited = inherited.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let own = exec.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?)));
    for (name, value) in inherited.chain(own) {
        head.push_str(&format!("export {name}={}\n", quote(value)));
    }
    let dirs = [("STORE", bench.store()), ("PROJECT", bench.project())];
    for (name, dir) in
        dirs.iter().map(|(name, dir)| (*name, &**dir)).chain([("PACKAGES", packages)])
    {
        head.push_str(&format!("{name}={}\n", quote(dir.as_os_str())));
    }
    let results = results(bench);
    fs::create_dir_all(&results).unwrap();
    head.push_str(&format!(
        "RESULTS={}\nrun() {{ cd \"$PROJECT\" && {} > \"$RESULTS/$1.out\" 2> \"$RESULTS/$1.err\"; \
         echo $? > \"$RESULTS/$1.code\"; }}\n",
        quote(results.as_os_str()),
        line.join(" ")
    ));
    // What sudo made is the user's.
    let tail = format!(
        "\n[ -z \"${{SUDO_UID:-}}\" ] || chown -R \"$SUDO_UID\" {}\n",
        quote(bench.path().as_os_str())
    );
    let file = results.join("script");
    fs::write(&file, head + text + &tail).unwrap();
    let output = Command::new(words[0]).args(&words[1..]).arg("sh").arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    true
}

fn results(bench: &Bench) -> PathBuf {
    bench.path().join("results")
}

fn result(bench: &Bench, name: &str) -> Told {
    let read = |end: &str| fs::read(results(bench).join(format!("{name}.{end}"))).unwrap();
    let report: Option<Report> = serde_json::from_slice(&read("out")).ok();
    Told {
        code: String::from_utf8_lossy(&read("code")).trim().parse().ok(),
        cell: report.and_then(|report| report.cells.into_iter().next()),
        stderr: String::from_utf8_lossy(&read("err")).trim().to_owned(),
    }
}

/// Asserts that a run either passed, or says that there is no space.
fn expect_pass_or_no_space(told: &Told) {
    assert!(!told.stderr.contains("panicked"), "{told:?}");
    let message = told.cell.as_ref().map_or("", |cell| &cell.message);
    match &told.cell {
        // What passed may have been printed, and not written.
        Some(cell) if cell.outcome == Outcome::Pass && told.code == Some(0) => {}
        _ => {
            assert!(matches!(told.code, Some(3 | 125)), "{told:?}");
            let says_why = |text: &str| text.to_lowercase().contains("no space left");
            assert!(says_why(message) || says_why(&told.stderr), "{told:?}");
        }
    }
}

/// Each size is the end of another write: of the unpacked kernel, the initramfs, the saved guest.
#[rstest]
#[case::no_inodes("size=1g,nr_inodes=30")]
#[case::the_kernel("size=110m")]
#[case::a_part_of_a_saved_guest("size=150m")]
fn a_full_store_is_named_and_the_next_run_is_right(#[case] options: &str) {
    let bench = Bench::with_package();
    let packages = bench.store().join("objects");
    // The file system is mounted above the store, so its content is elsewhere.
    let elsewhere = bench.path().join("packages");
    fs::rename(&packages, &elsewhere).unwrap();
    let is_run = script(
        &bench,
        &elsewhere,
        &format!(
            "mount -t tmpfs -o {options} none \"$STORE\" && cp -r \"$PACKAGES\" \"$STORE/objects\"\n\
             run full\n\
             mount -o remount,size=2g,nr_inodes=100000 \"$STORE\"\n\
             run after\n\
             run again\n\
             cd / && find \"$STORE\" -name '.tmp*' -o -name '.new-*' > \"$RESULTS/left\"\n\
             find \"$STORE/scratch\" \"$STORE/partial\" -mindepth 1 >> \"$RESULTS/left\"\n"
        ),
    );
    if is_run {
        expect_pass_or_no_space(&result(&bench, "full"));
        result(&bench, "after").expect_pass();
        let again = result(&bench, "again");
        again.expect_pass();
        assert_eq!(again.stderr, "");
        assert_eq!(fs::read_to_string(results(&bench).join("left")).unwrap(), "");
        bench.expect_nothing_left();
    }
}

/// Each size is the end of another write of the run's own directory.
#[rstest]
#[case::no_directory("nr_inodes=1")]
#[case::no_plan("size=4k")]
#[case::no_report("size=24k")]
fn a_full_project_is_named(#[case] options: &str) {
    let bench = Bench::new();
    let is_run = script(
        &bench,
        Path::new("/nonexistent"),
        &format!(
            "mount -t tmpfs -o {options} none \"$PROJECT\"\nrun full\n\
             mount -o remount,size=2g,nr_inodes=100000 \"$PROJECT\"\nrun after\n"
        ),
    );
    if is_run {
        expect_pass_or_no_space(&result(&bench, "full"));
        result(&bench, "after").expect_pass();
        bench.expect_right();
    }
}

/// Each limit is below the length of another file: a payload, an initramfs, a guest's memory.
#[test]
fn a_limit_of_file_sizes_is_no_fault_of_the_user() {
    let bench = Bench::with_package();
    for blocks in [0, 100, 3_000, 200_000] {
        let line = format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" \"$@\"");
        let told = run(&mut bench.exec_by(&["sh", "-c", &line]));
        assert!(matches!(told.code, Some(3 | 125)), "{blocks}: {told:?}");
        assert!(!told.stderr.contains("panicked"), "{told:?}");
        bench.expect_nothing_left();
    }
    bench.expect_right();
}

#[test]
fn a_store_that_is_read_only_is_named() {
    let bench = Bench::new();
    let text =
        "mount --bind \"$STORE\" \"$STORE\" && mount -o remount,bind,ro \"$STORE\"\nrun ro\n";
    if script(&bench, Path::new("/nonexistent"), text) {
        let told = result(&bench, "ro");
        assert!(matches!(told.code, Some(3 | 125)), "{told:?}");
        assert!(told.stderr.contains("Read-only file system"), "{told:?}");
        bench.expect_right();
    }
}

/// A store that may be read, and belongs to somebody else.
#[test]
fn a_store_of_somebody_else_is_named() {
    let bench = Bench::new();
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let mut command = match nix::unistd::geteuid().is_root() {
        true => {
            // Tests run where nobody else may look.
            for dir in [bench.path().to_owned(), bench.project(), bench.path().join("tmp")] {
                nix::unistd::chown(&dir, Some(65534.into()), Some(65534.into())).unwrap();
            }
            bench.exec_by(&nobody)
        }
        false => {
            let chmod = ["-R", "a-w"].map(Into::into);
            let done = Command::new("chmod").args(chmod.iter().chain([&bench.store()])).status();
            assert!(done.unwrap().success());
            bench.exec()
        }
    };
    let told = run(&mut command);
    let give_back = ["-R", "u+w"].map(PathBuf::from);
    Command::new("chmod").args(give_back.iter().chain([&bench.store()])).status().unwrap();
    assert!(matches!(told.code, Some(3 | 125)), "{told:?}");
    assert!(told.stderr.contains("Permission denied"), "{told:?}");
    assert!(told.stderr.contains(bench.store().to_str().unwrap()), "{told:?}");
    bench.expect_right();
}
