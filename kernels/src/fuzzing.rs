//! What must hold for all bytes that a repository, a package, an image or a file of the user's says.
//!
//! These functions are compiled for tests and for fuzzing only; `fuzz/` has a target for each. They
//! return whether the bytes were understood, so that tests can tell a seed that no longer is one.

use std::{
    cmp::Ordering,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use kernlab_core::btf::Btf;

use crate::{
    catalog::{
        built_in::BuiltIn,
        lock::Lock,
        manifest,
        matrix::{Key, Matrix, Origin},
    },
    compression::Compression,
    document::Document,
    from_source::{Config, check::Suitability},
    image::{
        external_btf,
        members::Content,
        modules,
        vmlinux::{BzImage, ElfKernel, is_elf, newest_btf_kind, version_of},
    },
    package::{self, Limits, PackageError, rpm::Preamble},
    repository::{
        deb::{self, control, release},
        rpm::{self, proof},
    },
    signature::{AsOf, Keyring, SignatureError},
};

/// What a package may unpack to here, in bytes: a fuzzer finds bombs, and they take their time.
const UNPACKED: u64 = 1 << 20;

/// A kernel that packages are of.
const RELEASE: &str = "6.1.0-56-cloud-amd64";

/// A package or an archive: Debian's, RPM, tar, in any compression.
pub fn package(bytes: &[u8]) -> bool {
    let mut total = 0;
    let limits = Limits { unpacked: UNPACKED };
    let read = package::for_each_member_within(&mut &bytes[..], limits, |member| {
        let path = member.path;
        assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."), "{path:?}");
        if let Some(Content::Module(name)) = Content::of(path, RELEASE) {
            assert!(name.len() <= path.len() && !name.contains('/'), "{name:?}");
        }
        match member.read(1 << 16) {
            Ok(content) => total += content.len() as u64,
            Err(PackageError::NotAFile(_) | PackageError::LinkOut { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok::<_, PackageError>(())
    });
    // A bare image is as large as the file.
    assert!(total <= UNPACKED.max(bytes.len() as u64), "{total} bytes");
    if let Ok(Preamble { signatures, header }) = Preamble::read(&mut &bytes[..]) {
        assert!(signatures.bytes().len() + header.bytes().len() <= bytes.len());
        drop(proof::prove_header(&mut &bytes[..], &KEYS));
        drop(proof::prove(&mut &bytes[..], &KEYS));
    }
    read.is_ok()
}

/// A kernel's image, a module, or type information in a file of its own.
pub fn image(bytes: &[u8]) -> bool {
    let mut understood = false;
    let stated = version_of(bytes);
    assert!(stated.is_none_or(|version| version.chars().count() <= 64));
    let plain = |release: Option<&String>| {
        release.is_none_or(|release| release.len() < 128 && !release.contains(' '))
    };
    if let Ok(image) = BzImage::parse(bytes) {
        understood = true;
        assert!(plain(image.release.as_ref()));
        if image.size() <= UNPACKED
            && let Ok(Some(kernel)) = image.extract()
        {
            assert!(is_elf(&kernel));
            assert!(kernel.len() as u64 <= UNPACKED.max(bytes.len() as u64));
            drop(ElfKernel::parse(&kernel));
        }
    }
    if let Ok(kernel) = ElfKernel::parse(bytes) {
        understood = true;
        assert!(plain(kernel.release.as_ref()));
        let kind = newest_btf_kind(bytes);
        assert!(kind.is_none_or(|kind| kernel.has_btf && kind <= 19));
    }
    if let Ok(depends) = modules::depends("module", bytes) {
        understood = true;
        assert!(depends.iter().map(String::len).sum::<usize>() <= 3 * bytes.len());
    }
    if Compression::of_content(bytes) == Compression::None
        && let Ok(btf) = external_btf::extract(bytes, RELEASE)
    {
        understood = true;
        assert!(btf.len() <= bytes.len() && Btf::parse(btf).is_ok());
    }
    understood
}

/// A document of a repository: Debian's release file and index, an RPM repository's metadata and package
/// list, signed or not.
pub fn repository(document: &[u8]) -> bool {
    let as_of = AsOf::Now(jiff::Timestamp::UNIX_EPOCH);
    let stranger = |verified| matches!(verified, Err(SignatureError::UnknownSigner { .. }));
    let signed = stranger(KEYS.verify_inline(document, as_of).map(drop))
        | stranger(KEYS.verify_detached(b"another document", document, as_of).map(drop));
    assert!(KEYS.verify_packets(b"another document", &[document]).is_err());
    let of_rpm = metadata(document) | signed;
    let Ok(text) = str::from_utf8(document) else { return of_rpm };
    let of_deb = suite(text) | index(text);
    of_rpm || of_deb
}

fn metadata(document: &[u8]) -> bool {
    if let Ok(primary) = rpm::repomd::Primary::parse(document) {
        assert!(!primary.path.contains("://"));
        return true;
    }
    let Ok(index) = rpm::primary::Index::parse(document, "x86_64") else { return false };
    for wanted in ["kernel", "kernel-core*"] {
        if let Ok(found) = rpm::dependencies::resolve(&index, wanted) {
            assert!(!found.packages.is_empty());
        }
    }
    assert!(index.packages().all(|package| package.name.starts_with("kernel")));
    true
}

fn suite(text: &str) -> bool {
    let Ok(suite) = release::Release::parse(text, "bookworm") else { return false };
    drop(suite.check_date(AsOf::Now(suite.date)));
    true
}

fn index(text: &str) -> bool {
    for stanza in control::stanzas(text).take(64) {
        assert!(stanza.get("Package").is_none_or(|name| name.len() <= text.len()));
    }
    let Ok(index) = deb::index::Index::parse(text) else { return false };
    let packages: Vec<_> = index.packages().take(16).collect();
    for one in &packages {
        assert!(!one.path.starts_with('/') && one.path.split('/').all(|part| part != ".."));
        assert!(one.name.starts_with("linux-"));
        for other in &packages {
            assert_eq!(one.version.cmp(&other.version), other.version.cmp(&one.version).reverse());
            for third in &packages {
                let (first, second) =
                    (one.version.cmp(&other.version), other.version.cmp(&third.version));
                if first == second {
                    assert_eq!(one.version.cmp(&third.version), first, "no order");
                }
                if first == Ordering::Equal {
                    assert_eq!(one.version.cmp(&third.version), second, "no order");
                }
            }
        }
    }
    for wanted in ["linux-image-amd64", "linux-image-*-{cloud-,}amd64"] {
        if let Ok(found) = deb::dependencies::resolve(&index, wanted) {
            assert!(!found.packages.is_empty());
        }
        drop(deb::dependencies::source(&index, wanted));
    }
    !packages.is_empty()
}

/// A file of the matrix, a lock, or a kernel's configuration.
pub fn matrix(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    let document = Document::new("kernels.toml", text);
    let is_config = match Config::parse(text) {
        Ok(config) => {
            let suitability = Suitability::of(&config);
            assert!(suitability.suits() || !suitability.unsatisfied.is_empty());
            true
        }
        Err(error) => {
            assert!(error.to_string().len() <= 1024);
            false
        }
    };
    let is_lock = match Lock::parse(&document) {
        Ok(lock) => {
            let written = lock.render(std::iter::empty());
            let again = Lock::parse(&Document::new("kernels.lock", written.as_str()));
            assert_eq!(again.ok().as_ref(), Some(&lock), "{written}");
            assert!(lock.changes(&lock).is_empty());
            for change in Lock::default().changes(&lock) {
                drop(change.to_string());
            }
            true
        }
        Err(error) => {
            assert!(error.to_string().starts_with("kernels.toml:"), "{error}");
            false
        }
    };
    is_config | is_lock | entries(&document, Matrix::default()) | entries(&document, built_in())
}

/// Whether a document can be merged into a matrix; twice, which changes nothing.
fn entries(document: &Document, mut matrix: Matrix) -> bool {
    let before = matrix.entries.len();
    if let Err(error) = manifest::merge(&mut matrix, document, Origin::Shared) {
        assert!(error.to_string().starts_with("kernels.toml:"), "{error}");
        return false;
    }
    let own = matrix.entries.iter().filter(|entry| entry.origin == Origin::Shared);
    for entry in own {
        assert!(!entry.id.is_empty() && !entry.btf.is_empty());
        assert!(!entry.id.contains(['/', ' ']) && !entry.source.to_string().is_empty());
    }
    assert!(matrix.entries.len() >= before);
    let mut again = matrix.clone();
    manifest::merge(&mut again, document, Origin::Local).expect("it was merged before");
    assert_eq!(again.entries.len(), matrix.entries.len());
    true
}

fn built_in() -> Matrix {
    static MATRIX: LazyLock<Matrix> = LazyLock::new(|| {
        let mut matrix = Matrix::default();
        let built_in = BuiltIn::of_this_program();
        manifest::merge(&mut matrix, &built_in.matrix, Origin::BuiltIn).expect("it is tested");
        matrix
    });
    MATRIX.clone()
}

/// The key of a repository.
static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    let key = Key {
        path: PathBuf::from(Path::new("debian-12-archive.asc")),
        built_in: Some(include_str!("../keys/debian-12-archive.asc")),
        fingerprint: "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8".to_owned(),
    };
    Keyring::load(&[key]).expect("it is tested")
});

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn seeds_of_package(
        #[files("../fuzz/seeds/package/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(package(seed));
    }

    #[rstest]
    fn seeds_of_image(
        #[files("../fuzz/seeds/image/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(image(seed));
    }

    #[rstest]
    fn seeds_of_repository(
        #[files("../fuzz/seeds/repository/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(repository(seed));
    }

    #[rstest]
    fn seeds_of_matrix(
        #[files("../fuzz/seeds/matrix/*")]
        #[files("../kernels.toml")]
        #[files("../kernels.lock")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(matrix(seed));
    }
}
