//! Writes archives: tar, ar, and packages made of both.

use std::io::Write as _;

use crate::compression::Compression;

/// A member of a tar archive.
pub(crate) enum Entry<'a> {
    Dir(&'a str),
    File(&'a str, &'a [u8]),
    /// The path and target of a link.
    Link(&'a str, &'a str),
}

/// A tar archive with members of any name, including names that `tar` itself would not write.
pub(crate) fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let (path, kind, content, target) = match entry {
            Entry::Dir(path) => (path, tar::EntryType::Directory, &[][..], ""),
            Entry::File(path, content) => (path, tar::EntryType::Regular, *content, ""),
            Entry::Link(path, target) => (path, tar::EntryType::Symlink, &[][..], *target),
        };
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// An ar archive.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ar::Builder::new(Vec::new());
    for (name, content) in members {
        let header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
        archive.append(&header, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A Debian package with this tar archive as its data.
pub(crate) fn deb(data: &[u8]) -> Vec<u8> {
    let data = compress(Compression::Xz, data);
    // The blocks of an xz file have a length that is a multiple of four: ar adds no padding.
    assert_eq!(data.len() % 2, 0);
    ar(&[("debian-binary", b"2.0\n"), ("data.tar.xz", &data)])
}

/// A package as Ubuntu builds them since 22.04, compressed with zstd.
pub(crate) fn zstd_deb(data: &[u8]) -> Vec<u8> {
    let control = compress(Compression::Zstd, &tar(&[Entry::File("./control", b"Package: x\n")]));
    let data = compress(Compression::Zstd, data);
    let members: [(&str, &[u8]); 3] =
        [("debian-binary", b"2.0\n"), ("control.tar.zst", &control), ("data.tar.zst", &data)];
    // ar(5): members begin at even offsets.
    let mut package = b"!<arch>\n".to_vec();
    for (name, content) in members {
        package.extend(ar(&[(name, content)])[8..].iter());
        if package.len() % 2 == 1 {
            package.push(b'\n');
        }
    }
    package
}

pub(crate) fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
        Compression::Xz => {
            let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
        Compression::Zstd => {
            ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
        }
    }
}
