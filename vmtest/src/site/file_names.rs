//! Names of files for things with any name.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

/// Longer names are cut, in bytes.
const LONGEST: usize = 80;

/// A distinct name of a file, without an extension, for each key.
#[derive(Clone, Debug, Default)]
pub(super) struct FileNames(BTreeMap<String, String>);

impl FileNames {
    /// For pairs of a key, and a name that its file would have. Names that are the same but for case,
    /// or that a file can't have, get a part of a hash.
    pub(super) fn of<'a>(wanted: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let wanted: BTreeMap<_, _> = wanted.into_iter().collect();
        let mut names = BTreeMap::new();
        let mut taken = BTreeSet::new();
        let (plain, others): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(_, name)| safe(name) == **name);
        for (key, name) in plain.into_iter().chain(others) {
            let mut file = safe(name);
            if file != name || taken.contains(&file) {
                let digest = digest(key.as_bytes());
                let mut candidates = (8..=digest.len())
                    .map(|length| format!("{}-{}", safe(name), &digest[..length]))
                    .filter(|candidate| !taken.contains(candidate));
                // Two whole digests are never the same.
                file = candidates.next().unwrap_or(digest.clone());
            }
            taken.insert(file.clone());
            names.insert(key.to_owned(), file);
        }
        FileNames(names)
    }

    /// The name for a key that [`Self::of`] was given.
    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("unknown", String::as_str)
    }
}

/// A name of letters, digits, `_`, `-` and `.`, which begins with a letter or digit, is not too long,
/// and is the same on file systems that ignore case.
fn safe(name: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '.' | '-') => c,
        _ => '-',
    };
    let name: String = name.chars().take(LONGEST).map(plain).collect();
    let name = name.trim_start_matches(['.', '-', '_']).trim_end_matches('.');
    if name.is_empty() { "x".to_owned() } else { name.to_owned() }
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(names: &[&str]) -> Vec<String> {
        let all = FileNames::of(names.iter().map(|name| (*name, *name)));
        names.iter().map(|name| all.get(name).to_owned()).collect()
    }

    #[test]
    fn plain_names_stay() {
        assert_eq!(of(&["opens", "debian-6.1", "a_b"]), ["opens", "debian-6.1", "a_b"]);
    }

    #[test]
    fn others_get_a_hash_and_never_the_name_of_another() {
        let opens = of(&["Opens"]).remove(0);
        assert!(opens.starts_with("opens-"), "{opens}");
        // One that is named as the file of another would be.
        let both = of(&["Opens", &opens]);
        assert_eq!(both[1], opens);
        assert_ne!(both[0], opens);
        for hostile in ["..", "../../etc/passwd", "/", "", ".kernlab-site", "a/b", "a\0b", "-rf"] {
            let name = of(&[hostile]).remove(0);
            assert!(!name.contains(['/', '\0']) && !name.starts_with(['.', '-']), "{name}");
        }
        assert!(of(&[&"x".repeat(1000)])[0].len() < 150);
    }

    proptest! {
        #[test]
        fn names_differ_even_without_case(names in prop::collection::btree_set(".{0,12}", 0..20)) {
            let all = FileNames::of(names.iter().map(|name| (name.as_str(), name.as_str())));
            let files: BTreeSet<_> = names.iter().map(|n| all.get(n).to_lowercase()).collect();
            prop_assert_eq!(files.len(), names.len());
        }
    }
}
