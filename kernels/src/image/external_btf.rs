//! BTF from a separate file, for kernels that contain none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use kernlab_core::btf::Btf;
use object::{Object as _, ObjectSection as _};

use crate::{
    compression::{Compression, read_bounded},
    digest::Digest,
    image::error::{ExternalBtfError, FilesError},
    image::vmlinux::{banner_release, is_elf},
    store::{Store, StoreError},
};

/// A vmlinux with full debugging information has half of this.
const MAX_FILE: u64 = 2 << 30;

/// Part of the key of artifacts. Raise it with every change of how a file is read.
const VERSION: u32 = 1;

const RAW: &str = "btf";

/// Extracts the raw BTF of a file into the store. If the file contains a kernel release, it must be
/// that of the kernel. Otherwise only the memory of the running kernel shows whether the BTF fits.
pub(crate) fn raw(store: &Store, path: &Path, release: &str) -> Result<PathBuf, FilesError> {
    let unreadable = |source| FilesError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    stored(store, path, &bytes, release)
}

/// Extracts the raw BTF of a file with this content into the store.
pub(super) fn stored(
    store: &Store,
    path: &Path,
    bytes: &[u8],
    release: &str,
) -> Result<PathBuf, FilesError> {
    let unusable = |source| FilesError::Btf { path: path.to_owned(), source };
    let key = format!("btf {VERSION} {release} {}", Digest::of(bytes));
    let key = Digest::of(key.as_bytes()).to_string();
    let whole = |dir: &Path| {
        let metadata = fs::metadata(dir.join(RAW)).ok()?;
        (metadata.len() > 0).then_some(())
    };
    let (dir, ()) = store.artifact(&key, whole, |scratch| {
        let btf = extract(bytes, release).map_err(unusable)?;
        let path = scratch.join(RAW);
        fs::write(&path, btf).map_err(|e| FilesError::from(StoreError::io("write", &path, e)))
    })?;
    Ok(dir.join(RAW))
}

/// The raw BTF in the content of a file.
pub(crate) fn extract(bytes: &[u8], release: &str) -> Result<Vec<u8>, ExternalBtfError> {
    let bytes = Compression::of_content(bytes)
        .decompress(bytes, MAX_FILE)
        .map_err(ExternalBtfError::Compression)?;
    let bytes = if is_tar(&bytes) { member(&bytes, release)? } else { bytes };
    if !is_elf(&bytes) {
        Btf::parse(bytes.clone()).map_err(ExternalBtfError::NotBtf)?;
        return Ok(bytes);
    }
    if let Some(theirs) = banner_release(&bytes).filter(|theirs| theirs != release) {
        return Err(ExternalBtfError::OtherRelease { theirs, ours: release.to_owned() });
    }
    let elf = object::File::parse(&*bytes).map_err(ExternalBtfError::Elf)?;
    let section = elf.section_by_name(".BTF").ok_or(ExternalBtfError::NoSection)?;
    let btf = section.data().map_err(ExternalBtfError::Elf)?.to_vec();
    Btf::parse(btf.clone()).map_err(ExternalBtfError::NotBtf)?;
    Ok(btf)
}

/// Whether the content is that of a tar archive, by the magic of POSIX and of GNU.
fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// The file `RELEASE.btf` of an archive, as BTFHub packs them.
fn member(archive: &[u8], release: &str) -> Result<Vec<u8>, ExternalBtfError> {
    let expected = format!("{release}.btf");
    let mut found = Vec::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(ExternalBtfError::Compression)? {
        let mut entry = entry.map_err(ExternalBtfError::Compression)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if name == expected {
            // An entry is a part of the archive, whose size is limited.
            return read_bounded(&mut entry, MAX_FILE).map_err(ExternalBtfError::Compression);
        }
        found.push(name.to_owned());
    }
    match found.as_slice() {
        [only] if only.ends_with(".btf") => {
            let theirs = only.trim_end_matches(".btf").to_owned();
            Err(ExternalBtfError::OtherRelease { theirs, ours: release.to_owned() })
        }
        names => Err(ExternalBtfError::OtherMembers { expected, found: listed(names) }),
    }
}

/// The first names of a list.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names.len() {
        0 => "none".to_owned(),
        few if few <= SHOWN => names.join(", "),
        many => format!("{} and {} more", names[..SHOWN].join(", "), many - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use object::{SectionKind, write::Object};
    use rstest::rstest;

    use super::*;
    use crate::test_support::archive::{Entry as Member, compress, tar};

    fn archived(name: &str) -> Vec<u8> {
        compress(Compression::Xz, &tar(&[Member::Dir("./"), Member::File(name, &btf())]))
    }

    /// BTF without types.
    fn btf() -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24_u32, 0, 0, 0, 1] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.push(0);
        bytes
    }

    fn elf(section: &str, content: &[u8]) -> Vec<u8> {
        let (format, architecture) = (object::BinaryFormat::Elf, object::Architecture::X86_64);
        let mut object = Object::new(format, architecture, object::Endianness::Little);
        for (name, content) in [(".rodata", &b"Linux version 6.1.7 (me)"[..]), (section, content)] {
            let kind = SectionKind::ReadOnlyData;
            let section = object.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
            object.append_section_data(section, content, 1);
        }
        object.write().unwrap()
    }

    #[rstest]
    #[case::raw(btf())]
    #[case::xz(compress(Compression::Xz, &btf()))]
    #[case::zstd(compress(Compression::Zstd, &btf()))]
    #[case::elf(elf(".BTF", &btf()))]
    #[case::compressed_elf(compress(Compression::Xz, &elf(".BTF", &btf())))]
    #[case::archived(archived("6.1.7.btf"))]
    #[case::archived_in_a_directory(archived("./x86_64/6.1.7.btf"))]
    fn btf_is_found(#[case] file: Vec<u8>) {
        assert_eq!(extract(&file, "6.1.7").unwrap(), btf());
    }

    #[rstest]
    #[case::nothing(Vec::new(), "expected raw BTF")]
    #[case::text(b"BTF is in the next file".to_vec(), "expected raw BTF")]
    #[case::damaged(compress(Compression::Xz, &btf())[..20].to_vec(), "can't be decompressed")]
    #[case::no_elf(b"\x7fELF".to_vec(), "not a readable ELF")]
    #[case::no_section(elf(".data", &btf()), "no .BTF section")]
    #[case::no_btf(elf(".BTF", b"?"), "expected raw BTF")]
    #[case::of_another(archived("6.1.8.btf"), "it is for kernel 6.1.8, but this kernel is 6.1.7")]
    #[case::of_something_else(archived("README"), "without a file 6.1.7.btf: it has README")]
    #[case::nothing_in_it(tar(&[Member::Dir("./")]), "it has none")]
    #[case::a_damaged_archive(tar(&[Member::File("a", &[0; 2000])])[..700].to_vec(), "decompressed")]
    fn what_is_no_btf_is_refused(#[case] file: Vec<u8>, #[case] expected: &str) {
        let error = extract(&file, "6.1.7").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_vmlinux_tells_whose_it_is() {
        let error = extract(&elf(".BTF", &btf()), "6.1.8").unwrap_err().to_string();
        assert_eq!(error, "it is for kernel 6.1.7, but this kernel is 6.1.8");
    }
}
