//! Files that others may read at any moment.

use std::{
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// Writes a file in one step: a reader finds all of the new content, or what was there before, even if this
/// process is killed. Who may read and write the file is up to the umask. Its directory must exist.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, 0o666, content)
}

/// Writes a file in one step, like [`replace_file`], that only the user may read.
pub fn replace_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, 0o600, content)
}

fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let permissions = Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(dir)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        replace_file(&file, b"old").unwrap();
        let reader = fs::File::open(&file).unwrap();
        replace_file(&file, b"new").unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "old", "an open file keeps its content");
        assert_eq!(fs::read(&file).unwrap(), b"new");

        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        let by_umask = dir.path().join("made");
        fs::write(&by_umask, "").unwrap();
        assert_eq!(mode(&file), mode(&by_umask));
        replace_private_file(&file, b"new").unwrap();
        assert_eq!(mode(&file), 0o600);

        // A rename does not replace a directory by a file.
        let place = dir.path().join("directory");
        fs::create_dir(&place).unwrap();
        assert!(replace_private_file(&place, b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left");
    }
}
