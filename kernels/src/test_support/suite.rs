//! A suite with the layout of Debian and Ubuntu.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::{
    archive::compress,
    author::Author,
    repository::{Package, index},
    server::Server,
};
use crate::{compression::Compression, digest::Digest};

/// The properties of a suite, other than its packages.
#[derive(Clone, Copy)]
pub(crate) struct Suite<'a> {
    /// The path on the server: empty, or a date of a dated archive.
    pub(crate) root: &'a str,
    pub(crate) name: &'a str,
    pub(crate) codename: &'a str,
    /// The date of the release file and its signature.
    pub(crate) date: Timestamp,
    pub(crate) valid_for: Option<SignedDuration>,
    /// The compressions in which the index is available.
    pub(crate) compressions: &'a [Compression],
    /// Whether the index is available only under its digest, as during an update of a mirror.
    pub(crate) only_by_hash: bool,
}

impl Suite<'_> {
    /// Publishes the suite and its packages on a server.
    pub(crate) fn publish(&self, server: &Server, author: &Author, packages: &[Package]) {
        let path = |path: &str| match self.root {
            "" => path.to_owned(),
            root => format!("{root}/{path}"),
        };
        for package in packages {
            server.put(&path(&package.path()), package.content.clone());
        }
        let dir = format!("dists/{}", self.name);
        let mut list = String::new();
        for compression in self.compressions {
            let content = compress(*compression, index(packages).as_bytes());
            let (digest, size) = (Digest::of(&content), content.len());
            let name = format!("main/binary-amd64/Packages{}", compression.suffix());
            writeln!(list, " {digest} {size:16} {name}").unwrap();
            let by_hash = format!("{dir}/main/binary-amd64/by-hash/SHA256/{digest}");
            server.put(&path(&by_hash), content.clone());
            if !self.only_by_hash {
                server.put(&path(&format!("{dir}/{name}")), content);
            }
        }
        let text = |time: Timestamp| time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
        let until = self.valid_for.map(|lifetime| text(self.date + lifetime));
        let until = until.map(|until| format!("Valid-Until: {until}\n")).unwrap_or_default();
        let release = format!(
            "Origin: Sample\nLabel: Sample\nSuite: {}\nVersion: 20.04\nCodename: {}\nDate: {}\n\
             {until}Architectures: amd64 i386\nComponents: main universe\nDescription: Sample \
             20.04\nMD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages\n\
             SHA256:\n{list}Acquire-By-Hash: yes\n",
            self.name.trim_end_matches("/updates"),
            self.codename,
            text(self.date),
        );
        let signed = author.sign_at(&release, self.date);
        server.put(&path(&format!("{dir}/InRelease")), signed);
    }
}
