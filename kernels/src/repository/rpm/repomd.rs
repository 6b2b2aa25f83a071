//! The index of a repository's metadata: `repodata/repomd.xml`.

use super::xml::{Item, XmlError, for_each_item};
use crate::{compression::Compression, digest::IndexDigest};

/// Path, size and digests of the package list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Primary {
    /// Relative to the directory that contains `repodata/`.
    pub(crate) path: String,
    pub(crate) digest: IndexDigest,
    /// In bytes, if the document states it.
    pub(crate) size: Option<u64>,
    pub(crate) compression: Compression,
}

/// The content of the `<data>` element of the package list.
#[derive(Default)]
struct Data {
    is_primary: bool,
    checksum_type: Option<String>,
    checksum: Option<String>,
    path: Option<String>,
    size: Option<u64>,
}

impl Primary {
    /// Finds the package list in the document.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let mut data = Data::default();
        let mut primary = None;
        let mut is_repomd = false;
        for_each_item(document, |item| {
            match item {
                Item::Begin("repomd", _) => is_repomd = true,
                Item::Begin("data", attributes) => {
                    let is_primary = attributes.get("type").as_deref() == Some("primary");
                    data = Data { is_primary, ..Data::default() };
                }
                Item::Begin("checksum", attributes) => data.checksum_type = attributes.get("type"),
                Item::Begin("location", attributes) => data.path = attributes.get("href"),
                Item::End("checksum", text) => data.checksum = Some(text.to_owned()),
                Item::End("size", text) => data.size = text.parse().ok(),
                Item::End("data", _) if data.is_primary => {
                    primary = Some(std::mem::take(&mut data))
                }
                _ => {}
            }
            Ok(())
        })?;
        let wrong = |what| XmlError::Damaged { package: String::new(), what };
        let data = match primary {
            _ if !is_repomd => return Err(wrong("it is not a repomd.xml")),
            None => return Err(wrong("it names no package list")),
            Some(data) => data,
        };
        let kind = data.checksum_type.filter(|kind| matches!(kind.as_str(), "sha256" | "sha512"));
        let Some(kind) = kind else {
            return Err(wrong("the digest of the package list is not SHA-256 or SHA-512"));
        };
        let path = data.path.filter(|path| !path.contains("://")).ok_or(wrong("location"))?;
        let compression = match path.rsplit_once('.') {
            Some((_, "xml" | "gz" | "xz" | "zst")) => Compression::of_name(&path),
            _ => return Err(wrong("the package list is compressed in an unknown way")),
        };
        let digest = data.checksum.and_then(|digest| IndexDigest::parse(&kind, &digest));
        let digest = digest.ok_or(wrong("digest"))?;
        Ok(Primary { path, digest, size: data.size, compression })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn document() -> String {
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo">
  <revision>1795539500</revision>
  <data type="filelists"><checksum type="sha256">x</checksum><location href="f.xml.gz"/></data>
  <data type="primary">
    <checksum type="sha256">{EMPTY}</checksum>
    <open-checksum type="sha256">y</open-checksum>
    <location href="repodata/p-primary.xml.zst"/>
    <size>851</size>
    <open-size>4017</open-size>
  </data>
  <data type="primary_db"><checksum type="sha">z</checksum><location href="p.sqlite.bz2"/></data>
</repomd>"#
        )
    }

    #[test]
    fn the_list_of_packages_is_found() {
        let primary = Primary::parse(document().as_bytes()).unwrap();
        let expected = Primary {
            path: "repodata/p-primary.xml.zst".to_owned(),
            digest: IndexDigest::parse("sha256", EMPTY).unwrap(),
            size: Some(851),
            compression: Compression::Zstd,
        };
        assert_eq!(primary, expected);
    }

    #[rstest]
    #[case("type=\"primary\"", "type=\"other\"", "it names no package list")]
    #[case(
        "type=\"sha256\">e3",
        "type=\"sha1\">e3",
        "the digest of the package list is not SHA-256 or SHA-512"
    )]
    #[case("type=\"sha256\">e3", "type=\"sha512\">e3", "digest")]
    #[case(EMPTY, "12", "digest")]
    #[case(".xml.zst", ".xml.bz2", "the package list is compressed in an unknown way")]
    #[case("repodata/p-", "http://elsewhere.example.org/p-", "location")]
    #[case("repomd", "html", "it is not a repomd.xml")]
    fn a_damaged_document_is_an_error(#[case] from: &str, #[case] to: &str, #[case] what: &str) {
        let text = document().replace(from, to);
        let error = Primary::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("the document is damaged: {what}"));
    }

    #[test]
    fn a_document_cut_anywhere_is_an_error() {
        let text = document();
        for length in 0..text.len() {
            assert!(Primary::parse(&text.as_bytes()[..length]).is_err(), "{length}");
        }
    }
}
