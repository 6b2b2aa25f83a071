//! Where an entry's BTF for the mode `external` is.

use std::path::PathBuf;

use crate::digest::Digest;

/// BTF that did not come with the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BtfFile {
    /// A file: raw BTF, or an ELF file with a `.BTF` section, optionally compressed, or a tar archive
    /// with one.
    File(PathBuf),
    /// Of an archive with the BTF of many kernels.
    Archive(BtfArchive),
}

/// The files of one distribution in an archive that is laid out as BTFHub's:
/// `DISTRIBUTION/VERSION/ARCHITECTURE/RELEASE.btf.tar.xz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BtfArchive {
    /// Where the archive is.
    pub place: BtfArchivePlace,
    /// As the archive calls it: `ubuntu`, `amzn`.
    pub distribution: String,
    /// Its version: `18.04`.
    pub version: String,
}

/// Where an archive of BTF is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BtfArchivePlace {
    /// In a directory.
    Dir(PathBuf),
    /// At an address.
    Url {
        /// Without a slash at its end.
        url: String,
        /// The digest of the kernel's file.
        sha256: Digest,
    },
}

impl BtfArchive {
    /// The path of a kernel's file in the archive; none for a release that is no name of a file.
    pub fn path(&self, architecture: &str, release: &str) -> Option<String> {
        let BtfArchive { distribution, version, .. } = self;
        let path = format!("{distribution}/{version}/{architecture}/{release}.btf.tar.xz");
        is_name(release).then_some(path)
    }
}

/// Whether a text can be the name of a directory or a file: a path with it leads nowhere else.
pub(crate) fn is_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    text.chars().all(is_allowed) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_s_file_is_named_after_its_release() {
        let archive = BtfArchive {
            place: BtfArchivePlace::Dir("btfhub-archive".into()),
            distribution: "ubuntu".to_owned(),
            version: "18.04".to_owned(),
        };
        let expected = "ubuntu/18.04/x86_64/5.4.0-42-generic.btf.tar.xz";
        assert_eq!(archive.path("x86_64", "5.4.0-42-generic").as_deref(), Some(expected));
        for release in ["", "../../etc/passwd", ".hidden", "a/b", "a b"] {
            assert_eq!(archive.path("x86_64", release), None, "{release}");
        }
    }
}
