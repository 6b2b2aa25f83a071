//! Files of the store that are damaged, or gone.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rstest::rstest;

use super::bench::{Bench, files, run};

/// The files of a kind, by the end of their path in the store.
fn of_kind(bench: &Bench, part: &str, end: &str) -> Vec<PathBuf> {
    let all = files(&bench.store().join(part)).into_iter();
    let found: Vec<_> = all.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    assert!(!found.is_empty(), "the store has no {part}/*{end}");
    found
}

fn flip(path: &Path) {
    let mut byte = [0];
    let file = File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], middle).unwrap();
}

/// The kinds of files that the store makes from packages. Of a kernel, all files are damaged at once:
/// they are unpacked again together.
const KINDS: [(&str, &str); 7] = [
    ("artifacts", ""),
    ("images", ".cpio"),
    ("images", ".json"),
    ("archives", ".tar"),
    ("digests", ".json"),
    ("checkpoints", "/memory"),
    ("checkpoints", "/state.json"),
];

#[rstest]
#[case::a_flipped_bit(flip)]
#[case::gone(|path: &Path| fs::remove_file(path).unwrap())]
fn a_damaged_file_is_made_again(#[case] damage: fn(&Path)) {
    let bench = Bench::new();
    for (part, end) in KINDS {
        of_kind(&bench, part, end).iter().for_each(|path| damage(path));
        let told = run(&mut bench.exec());
        assert_eq!(told.code, Some(0), "{part}/*{end}: {told:?}");
        told.expect_pass();
        assert!(!of_kind(&bench, part, end).is_empty());
    }
    bench.expect_right();
}

/// A package is read when the kernel is unpacked; what is damaged is not used, and downloaded again.
#[test]
fn a_damaged_package_is_never_unpacked() {
    let bench = Bench::with_package();
    let package = files(&bench.store().join("objects")).pop().unwrap();
    flip(&package);
    let told = run(bench.exec().args(["--", "true"]).env("KERNLAB_MIRROR", "http://127.0.0.1:9"));
    let kernel = files(&bench.store().join("artifacts"));
    // Where there is a network, it was downloaded again.
    match &told.cell {
        Some(cell) if cell.outcome == kernlab_core::outcome::Outcome::Pass => bench.expect_right(),
        _ => assert!(kernel.is_empty(), "{told:?}: {kernel:?}"),
    }
    bench.expect_nothing_left();
}

/// No order of times decides what is believed: clocks jump.
#[test]
fn times_of_files_mean_nothing() {
    const YEARS: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
    let bench = Bench::new();
    for shift in 0..2 {
        for (number, file) in files(&bench.store()).iter().enumerate() {
            let now = SystemTime::now();
            let time = if (number + shift) % 2 == 0 { now + YEARS } else { now - YEARS };
            File::open(file).unwrap().set_modified(time).unwrap();
        }
        run(&mut bench.exec()).expect_pass();
    }
    bench.expect_right();
}
