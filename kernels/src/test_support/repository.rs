//! A signed repository of kernel packages.

use std::fmt::Write as _;

use super::{author::Author, server::Server};
use crate::{compression::Compression, digest::Digest, test_support::archive::compress};

/// A package that will be published.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) depends: &'static str,
    pub(crate) content: Vec<u8>,
}

impl Package {
    pub(crate) fn path(&self) -> String {
        format!("pool/{}_{}_amd64.deb", self.name, self.version)
    }
}

/// The index of these packages.
pub(crate) fn index(packages: &[Package]) -> String {
    let mut text = String::new();
    for package in packages {
        write!(
            text,
            "Package: {}\nVersion: {}\nDepends: {}\nFilename: {}\nSize: {}\nSHA256: {}\n\n",
            package.name,
            package.version,
            package.depends,
            package.path(),
            package.content.len(),
            Digest::of(&package.content)
        )
        .unwrap();
    }
    text
}

/// A release file that is dated today and describes this index.
pub(crate) fn release(suite: &str, index: &[u8]) -> String {
    let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S UTC");
    format!(
        "Suite: {suite}\nDate: {now}\nSHA256:\n {} {} main/binary-amd64/Packages.xz\n",
        Digest::of(index),
        index.len()
    )
}

/// Puts a suite and its packages on a server.
pub(crate) fn publish(server: &Server, author: &Author, suite: &str, packages: &[Package]) {
    for package in packages {
        server.put(&package.path(), package.content.clone());
    }
    let index = compress(Compression::Xz, index(packages).as_bytes());
    let release = release(suite, &index);
    server.put(&format!("dists/{suite}/InRelease"), author.sign(&release));
    server.put(&format!("dists/{suite}/main/binary-amd64/Packages.xz"), index);
}
