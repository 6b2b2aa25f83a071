//! The list of splats that have no consequence.

use std::path::Path;

use kernlab_splat::AllowList;

use kernlab_kernels::{Document, DocumentError};

/// The list of known splats, beside `kernels.toml`.
const ALLOW_FILE: &str = "splats.toml";

/// The splats that kernels may print without consequence. Empty if the checkout has no list.
///
/// # Errors
///
/// The list exists, but can't be read or is not valid.
pub(crate) fn read(root: &Path) -> Result<AllowList, DocumentError> {
    let document = Document::read_if_there(&root.join(ALLOW_FILE))?;
    document.map_or_else(|| Ok(AllowList::default()), |document| document.parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_splats_are_listed_beside_the_matrix() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()).unwrap(), AllowList::default());
        let entry = "[[allow]]\ntitle = \"WARNING in a\"\nreason = \"b\"\nlink = \"https://c\"\n";
        let file = root.path().join(ALLOW_FILE);
        std::fs::write(&file, entry).unwrap();
        assert_eq!(read(root.path()).unwrap().allow[0].title, "WARNING in a");
        std::fs::write(&file, entry.replace("https:", "see ")).unwrap();
        let error = read(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("splats.toml:4:8: ") && error.contains("an http or https"),
            "{error}"
        );
    }
}
