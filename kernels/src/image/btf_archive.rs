//! BTF from an archive with that of many kernels, laid out as BTFHub's.

use std::{fs, io, path::Path, path::PathBuf};

use super::{error::FilesError, external_btf};
use crate::{
    catalog::matrix::{BtfArchive, BtfArchivePlace},
    digest::Digest,
    repository::download::{Client, TransferError},
    store::{Store, StoreError},
};

/// A kernel's file has one or two megabytes.
const MAX_DOWNLOAD: u64 = 64 << 20;
/// The name of a download in its artifact.
const DOWNLOAD: &str = "download";

/// Extracts the raw BTF of a kernel into the store, by its architecture and release. It is believed as
/// little as that of any file: the memory of the running kernel shows whether it fits.
pub(crate) fn raw(
    store: &Store,
    client: &Client,
    archive: &BtfArchive,
    architecture: &str,
    release: &str,
) -> Result<PathBuf, FilesError> {
    let path = archive.path(architecture, release);
    let missing = |archive: String| FilesError::NotInArchive {
        path: path.clone().unwrap_or_else(|| format!("file for a kernel {release:?}")),
        archive,
    };
    match &archive.place {
        BtfArchivePlace::Dir(dir) => {
            let not_there = || missing(dir.display().to_string());
            let file = dir.join(path.as_ref().ok_or_else(not_there)?);
            match fs::metadata(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_there()),
                _ => external_btf::raw(store, &file, release),
            }
        }
        BtfArchivePlace::Url { url, sha256 } => {
            let file = path.as_ref().ok_or_else(|| missing(url.clone()))?;
            let bytes = download(store, client, &format!("{url}/{file}"), sha256)?;
            external_btf::stored(store, Path::new(&format!("{url}/{file}")), &bytes, release)
        }
    }
}

/// The file at an address, which has this digest. It is downloaded once.
fn download(
    store: &Store,
    client: &Client,
    url: &str,
    sha256: &Digest,
) -> Result<Vec<u8>, FilesError> {
    let failed = |source| FilesError::Download { url: url.to_owned(), source: Box::new(source) };
    let key = Digest::of(format!("btf download {sha256}").as_bytes()).to_string();
    let whole = |dir: &Path| {
        let bytes = fs::read(dir.join(DOWNLOAD)).ok()?;
        (Digest::of(&bytes) == *sha256).then_some(bytes)
    };
    let (_, bytes) = store.artifact(&key, whole, |scratch| {
        let bytes = client.get(url, MAX_DOWNLOAD).map_err(failed)?;
        if Digest::of(&bytes) != *sha256 {
            return Err(failed(TransferError::WrongDigest));
        }
        let path = scratch.join(DOWNLOAD);
        fs::write(&path, bytes).map_err(|e| FilesError::from(StoreError::io("write", &path, e)))
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kernlab_core::outcome::Reason;

    use super::*;
    use crate::{
        compression::Compression,
        test_support::{
            archive::{Entry as Member, compress, tar},
            server::Server,
        },
    };

    const FILE: &str = "ubuntu/18.04/x86_64/5.4.0-42-generic.btf.tar.xz";
    const RELEASE: &str = "5.4.0-42-generic";

    /// BTF without types.
    fn btf() -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24_u32, 0, 0, 0, 1] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.push(0);
        bytes
    }

    fn file() -> Vec<u8> {
        let member = format!("{RELEASE}.btf");
        compress(Compression::Xz, &tar(&[Member::File(&member, &btf())]))
    }

    fn archive(place: BtfArchivePlace) -> BtfArchive {
        let (distribution, version) = ("ubuntu".to_owned(), "18.04".to_owned());
        BtfArchive { place, distribution, version }
    }

    fn find(dir: &Path, archive: &BtfArchive, release: &str) -> Result<Vec<u8>, FilesError> {
        let store = Store::open(dir.join("store")).unwrap();
        let client = Client::direct(Duration::from_secs(10));
        raw(&store, &client, archive, "x86_64", release).map(|path| fs::read(path).unwrap())
    }

    #[test]
    fn a_directory_has_the_kernel_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("hub").join(FILE);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, file()).unwrap();
        let archive = archive(BtfArchivePlace::Dir(dir.path().join("hub")));
        assert_eq!(find(dir.path(), &archive, RELEASE).unwrap(), btf());
        for release in ["5.4.0-43-generic", "../x86_64/5.4.0-42-generic"] {
            let error = find(dir.path(), &archive, release).unwrap_err();
            assert_eq!(error.reason(), Reason::MissingBtf, "{error}");
        }
        // A file of another kernel that was put in its place.
        fs::rename(&place, place.with_file_name("5.4.0-43-generic.btf.tar.xz")).unwrap();
        let error = find(dir.path(), &archive, "5.4.0-43-generic").unwrap_err();
        assert_eq!(error.reason(), Reason::ForeignBtf, "{error}");
    }

    #[test]
    fn an_address_is_asked_once_and_believed_for_its_digest() {
        let (dir, server) = (tempfile::tempdir().unwrap(), Server::start());
        server.put(FILE, file());
        let at = |sha256| archive(BtfArchivePlace::Url { url: server.url(), sha256 });
        let error = find(dir.path(), &at(Digest::of(b"")), RELEASE).unwrap_err();
        assert_eq!(error.reason(), Reason::DigestMismatch, "{error}");
        let right = at(Digest::of(&file()));
        assert_eq!(find(dir.path(), &right, RELEASE).unwrap(), btf());
        server.put(FILE, b"gone".to_vec());
        assert_eq!(find(dir.path(), &right, RELEASE).unwrap(), btf());
        let error = find(dir.path(), &at(Digest::of(b"x")), "5.4.0-1").unwrap_err();
        assert_eq!(error.reason(), Reason::Unreachable, "{error}");
    }
}
