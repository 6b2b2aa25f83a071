//! The golden snapshots: one per scenario, shared by all kernels and both backends, written and
//! compared by insta.

use std::{
    fs, io, panic,
    path::{Path, PathBuf},
};

use kernlab_core::scenario::Scenario;

/// The directory of the snapshots in a checkout.
pub fn dir(root: &Path) -> PathBuf {
    root.join("fixtures/snapshots")
}

/// The name of a scenario's own snapshot.
pub fn shared_name(scenario: &Scenario) -> String {
    scenario.to_string().replace('/', "__")
}

/// The text of a snapshot; none if it does not exist.
pub fn read(dir: &Path, name: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(path(dir, name)) {
        Ok(file) => Ok(Some(contents(&file).to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.snap"))
}

/// The text after insta's header: `---`, metadata, `---`.
fn contents(file: &str) -> &str {
    file.strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .map_or(file, |(_, contents)| contents)
}

/// Writes `text` as the snapshot `name`.
///
/// insta writes only with `INSTA_UPDATE=always`, so this process must run with it. Without it
/// nothing is written, and the error says so.
pub fn write(dir: &Path, name: &str, text: &str) -> Result<(), NotWritten> {
    // insta reports a snapshot that it did not write by panicking.
    panic::catch_unwind(|| {
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path(dir);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, text));
    })
    .map_err(|_| NotWritten)?;
    match read(dir, name) {
        Ok(Some(written)) if written == text => Ok(()),
        _ => Err(NotWritten),
    }
}

/// A snapshot could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot was not written: is INSTA_UPDATE=always, and the directory writable?")]
pub struct NotWritten;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_not_part_of_a_snapshot() {
        assert_eq!(contents("---\nsource: a\n---\none\n---\ntwo\n"), "one\n---\ntwo\n");
    }

    #[test]
    fn every_golden_snapshot_belongs_to_a_scenario() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let names: Vec<String> = Scenario::ALL.iter().map(shared_name).collect();
        for entry in fs::read_dir(dir(root)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.strip_suffix(".snap").unwrap_or_else(|| panic!("stray file {name}"));
            let scenario = name.split('@').next().unwrap();
            assert!(names.iter().any(|known| known == scenario), "{name} belongs to no scenario");
        }
    }
}
