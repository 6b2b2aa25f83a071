//! Writes a site into a directory, and removes from it what an earlier site had and this one has not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    run::dir::RunDir,
    untrusted::{self, Links},
};

/// The file that marks a directory as a site, and lists the files of it.
const MARKER: &str = ".kernlab-site";
/// The version of the marker.
const SCHEMA: u32 = 1;
/// The largest marker that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// A directory that a site can't be written to.
#[derive(Debug, thiserror::Error)]
pub enum IntoError {
    /// It is somebody else's.
    #[error(
        "{0} is neither empty nor a site of kernlab (it has no {MARKER}): name another directory"
    )]
    NotASite(PathBuf),
    /// The marker is not one.
    #[error("{0} is not the list of a site's files")]
    Marker(PathBuf),
    /// A file is in the way.
    #[error("{0} was not written by kernlab: remove it, or name another directory")]
    NotOurs(PathBuf),
    /// The file system refuses.
    #[error("failed to {action} {path}")]
    Io {
        /// What failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Marker {
    schema: u32,
    files: BTreeSet<String>,
}

pub(super) fn write(files: &BTreeMap<String, Vec<u8>>, into: &Path) -> Result<(), IntoError> {
    if into.exists() && !into.is_dir() {
        return Err(IntoError::NotASite(into.to_owned()));
    }
    fs::create_dir_all(into).map_err(failed("create", into))?;
    let known = known(into)?;
    let dir = RunDir::open(into.to_owned());
    for file in files.keys() {
        let place = into.join(file);
        let is_ours = known.contains(file);
        match fs::symlink_metadata(&place) {
            // A link on the way, or a file in the place of a directory.
            _ if dir.existing(file).is_none() => return Err(IntoError::NotOurs(place)),
            Ok(found) if !found.is_file() || !is_ours => return Err(IntoError::NotOurs(place)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("look at", &place)(source)),
        }
    }
    // An interrupted call leaves a directory in which the next one knows every file.
    let names: BTreeSet<String> = files.keys().cloned().collect();
    mark(into, known.union(&names).cloned().collect())?;
    for (file, bytes) in files {
        write_file(&into.join(file), bytes)?;
    }
    for file in known.difference(&names) {
        if let Some(place) = dir.existing(file) {
            remove(into, &place)?;
        }
    }
    mark(into, names)
}

/// The files that an earlier call wrote.
fn known(into: &Path) -> Result<BTreeSet<String>, IntoError> {
    let place = into.join(MARKER);
    let file = match untrusted::open(&place, Links::Refuse) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(into).map_err(failed("read", into))?;
            return match entries.next() {
                None => Ok(BTreeSet::new()),
                Some(_) => Err(IntoError::NotASite(into.to_owned())),
            };
        }
        Err(source) => return Err(failed("read", &place)(source)),
    };
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).map_err(failed("read", &place))?;
    match serde_json::from_slice::<Marker>(&text) {
        Ok(marker) if marker.schema == SCHEMA => Ok(marker.files),
        _ => Err(IntoError::Marker(place)),
    }
}

fn mark(into: &Path, files: BTreeSet<String>) -> Result<(), IntoError> {
    let marker = serde_json::to_vec_pretty(&Marker { schema: SCHEMA, files });
    let mut text = marker.map_err(|error| failed("write", &into.join(MARKER))(error.into()))?;
    text.push(b'\n');
    write_file(&into.join(MARKER), &text)
}

fn write_file(place: &Path, bytes: &[u8]) -> Result<(), IntoError> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
    }
    let mut options = File::options();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(place).map_err(failed("write", place))?;
    file.write_all(bytes).map_err(failed("write", place))
}

/// Removes a file, and the directories that are empty without it.
fn remove(into: &Path, place: &Path) -> Result<(), IntoError> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_file() => fs::remove_file(place).map_err(failed("remove", place))?,
        _ => return Ok(()),
    }
    let parents = place.ancestors().skip(1).take_while(|parent| *parent != into);
    for parent in parents {
        if fs::remove_dir(parent).is_err() {
            break;
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IntoError {
    let path = path.to_owned();
    move |source| IntoError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn site(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn all(dir: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn only_its_own_files_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let into = root.path().join("new/site");
        write(&site(&[("index.html", "1"), ("tools/a.html", "2")]), &into).unwrap();
        fs::write(into.join("CNAME"), "example.org").unwrap();
        write(&site(&[("index.html", "3")]), &into).unwrap();
        assert_eq!(all(&into), [".kernlab-site", "CNAME", "index.html"].map(Into::into).into());
        assert_eq!(fs::read_to_string(into.join("index.html")).unwrap(), "3");
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.txt"), "all of it").unwrap();
        let error = write(&site(&[("index.html", "")]), root.path()).unwrap_err();
        assert!(error.to_string().contains("is neither empty nor a site of kernlab"), "{error}");
        assert_eq!(all(root.path()).len(), 1);
        let file = root.path().join("thesis.txt");
        assert!(matches!(write(&site(&[]), &file), Err(IntoError::NotASite(_))));
    }

    #[test]
    fn a_file_of_somebody_else_in_a_site_is_refused() {
        let root = tempfile::tempdir().unwrap();
        write(&site(&[("index.html", "1")]), root.path()).unwrap();
        fs::write(root.path().join("feed.xml"), "mine").unwrap();
        let error = write(&site(&[("feed.xml", "2")]), root.path()).unwrap_err();
        assert!(matches!(error, IntoError::NotOurs(_)), "{error}");
        assert_eq!(fs::read_to_string(root.path().join("feed.xml")).unwrap(), "mine");
    }

    #[test]
    fn nothing_is_written_or_removed_through_links() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("a.html");
        fs::write(&secret, "mine").unwrap();
        write(&site(&[("index.html", "1")]), root.path()).unwrap();
        symlink(outside.path(), root.path().join("tools")).unwrap();
        assert!(write(&site(&[("tools/a.html", "2")]), root.path()).is_err());
        let marker =
            r#"{"schema": 1, "files": ["tools/a.html", "../a.html", "/etc/passwd", "index.html"]}"#;
        fs::write(root.path().join(MARKER), marker).unwrap();
        write(&site(&[("index.html", "3")]), root.path()).unwrap();
        assert_eq!(fs::read_to_string(secret).unwrap(), "mine");
    }

    #[test]
    fn a_broken_marker_is_no_marker() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(MARKER), "{}").unwrap();
        assert!(matches!(write(&site(&[]), root.path()), Err(IntoError::Marker(_))));
    }
}
