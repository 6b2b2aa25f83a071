//! The package list of a repository: `primary.xml`.

use std::{collections::BTreeMap, io::BufRead};

use rpm_version::Evr;

use super::xml::{Attributes, Item, XmlError, for_each_item};
use crate::digest::Digest;

/// A package as the package list describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: Evr<'static>,
    pub(crate) arch: String,
    /// Names that other packages may require instead of its own name.
    pub(crate) provides: Vec<Capability>,
    pub(crate) requires: Vec<Capability>,
    /// Relative to the directory that contains `repodata/`; may contain `../`.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
}

/// A name, and the exact version if there is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capability {
    pub(crate) name: String,
    pub(crate) version: Option<Evr<'static>>,
}

/// The packages of one architecture whose names begin with `kernel`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    packages: Vec<Package>,
}

/// A package that is still being parsed.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    version: Option<Evr<'static>>,
    arch: Option<String>,
    checksum_type: Option<String>,
    checksum: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    /// By the name of the element that contains the capabilities.
    capabilities: BTreeMap<String, Vec<Capability>>,
    /// The name of the current such element.
    list: Option<String>,
}

impl Index {
    /// Parses the package list and keeps only kernel packages: some lists have 200 MB.
    pub(crate) fn parse(document: impl BufRead, arch: &str) -> Result<Self, XmlError> {
        let mut index = Index::default();
        let mut draft = Draft::default();
        let mut is_list = false;
        for_each_item(document, |item| {
            match item {
                Item::Begin("metadata", _) => is_list = true,
                Item::Begin("package", _) => draft = Draft::default(),
                Item::End("package", _) => {
                    let draft = std::mem::take(&mut draft);
                    if draft.is_wanted(arch) {
                        index.packages.push(draft.finish()?);
                    }
                }
                Item::Begin(name, attributes) => draft.begin(name, &attributes),
                Item::End(name, text) => draft.end(name, text),
            }
            Ok(())
        })?;
        if !is_list {
            let what = "it is not a package list";
            return Err(XmlError::Damaged { package: String::new(), what });
        }
        Ok(index)
    }

    /// All packages, in no particular order.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter()
    }

    /// The newest package that provides a capability.
    pub(crate) fn provider(&self, wanted: &Capability) -> Option<&Package> {
        let provides = |package: &&Package| package.provides(wanted);
        self.packages.iter().filter(provides).max_by(|a, b| a.version.cmp(&b.version))
    }
}

impl Package {
    fn provides(&self, wanted: &Capability) -> bool {
        let is = |name: &str, version: &Evr<'static>| {
            name == wanted.name && wanted.version.as_ref().is_none_or(|wanted| wanted == version)
        };
        let capability = |capability: &Capability| {
            let version = capability.version.as_ref().or(wanted.version.as_ref());
            capability.name == wanted.name && version.is_none_or(|v| is(&capability.name, v))
        };
        is(&self.name, &self.version) || self.provides.iter().any(capability)
    }
}

impl Draft {
    fn begin(&mut self, name: &str, attributes: &Attributes<'_>) {
        match name {
            "version" => self.version = evr(attributes),
            "checksum" => self.checksum_type = attributes.get("type"),
            "size" => self.size = attributes.get("package").and_then(|size| size.parse().ok()),
            // A base URL of its own would be outside the repository.
            "location" if attributes.get("xml:base").is_none() => {
                self.path = attributes.get("href")
            }
            "provides" | "requires" => self.list = Some(name.to_owned()),
            "entry" => {
                if let (Some(list), Some(name)) = (&self.list, attributes.get("name")) {
                    let exact = attributes.get("flags").as_deref() == Some("EQ");
                    let version = exact.then(|| evr(attributes)).flatten();
                    let list = self.capabilities.entry(list.clone()).or_default();
                    list.push(Capability { name, version });
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &str, text: &str) {
        match name {
            "name" => self.name = Some(text.to_owned()),
            "arch" => self.arch = Some(text.to_owned()),
            "checksum" => self.checksum = Some(text.to_owned()),
            "provides" | "requires" => self.list = None,
            _ => {}
        }
    }

    fn is_wanted(&self, arch: &str) -> bool {
        self.arch.as_deref() == Some(arch)
            && self.name.as_deref().is_some_and(|name| name.starts_with("kernel"))
    }

    fn finish(mut self) -> Result<Package, XmlError> {
        let name = self.name.take().unwrap_or_default();
        let wrong = |what| XmlError::Damaged { package: name.clone(), what };
        if self.checksum_type.as_deref() != Some("sha256") {
            return Err(wrong("its digest is not a SHA-256"));
        }
        let digest = self.checksum.as_deref().and_then(|digest| digest.parse().ok());
        let mut list = |list| self.capabilities.remove(list).unwrap_or_default();
        Ok(Package {
            provides: list("provides"),
            requires: list("requires"),
            version: self.version.ok_or(wrong("version"))?,
            arch: self.arch.unwrap_or_default(),
            path: self.path.ok_or(wrong("location"))?,
            size: self.size.ok_or(wrong("size"))?,
            sha256: digest.ok_or(wrong("digest"))?,
            name,
        })
    }
}

/// `epoch="0" ver="4.18.0" rel="553.el8_10"`.
fn evr(attributes: &Attributes<'_>) -> Option<Evr<'static>> {
    let epoch = attributes.get("epoch").filter(|epoch| epoch != "0").unwrap_or_default();
    let release = attributes.get("rel").unwrap_or_default();
    Some(Evr::new(epoch, attributes.get("ver")?, release))
}

#[cfg(test)]
pub(super) mod tests {
    use std::fmt::Write as _;

    use rstest::rstest;

    use super::*;

    /// A package list as createrepo_c(8) writes it: name, version and release, provides, requires.
    pub(crate) fn document(packages: &[(&str, &str, &[&str], &[&str])]) -> String {
        let mut text = "<metadata xmlns:rpm=\"x\">\n".to_owned();
        for (name, version, provides, requires) in packages {
            let (version, release) = version.split_once('-').unwrap();
            let digest = Digest::of(name.as_bytes());
            let entries = |entries: &[&str]| -> String {
                let entry = |entry: &&str| match entry.split_once(" = ") {
                    None => format!("<rpm:entry name=\"{entry}\"/>"),
                    Some((name, version)) => {
                        let (version, release) = version.split_once('-').unwrap();
                        format!(
                            "<rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" \
                             ver=\"{version}\" rel=\"{release}\"/>"
                        )
                    }
                };
                entries.iter().map(entry).collect()
            };
            writeln!(
                text,
                "<package type=\"rpm\"><name>{name}</name><arch>x86_64</arch>\
                 <version epoch=\"0\" ver=\"{version}\" rel=\"{release}\"/>\
                 <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum>\
                 <description>a &amp; b</description>\
                 <size package=\"3\" installed=\"4\" archive=\"5\"/>\
                 <location href=\"Packages/{name}.rpm\"/>\
                 <format><rpm:provides>{}</rpm:provides><rpm:requires>{}</rpm:requires></format>\
                 </package>",
                entries(provides),
                entries(requires)
            )
            .unwrap();
        }
        text + "</metadata>\n"
    }

    fn index(text: &str) -> Result<Index, XmlError> {
        Index::parse(text.as_bytes(), "x86_64")
    }

    #[test]
    fn kernels_of_the_architecture_are_kept() {
        let text = document(&[
            (
                "kernel",
                "4.18.0-80.el8",
                &["kernel = 4.18.0-80.el8"],
                &["kernel-core-uname-r = 1-1"],
            ),
            ("zsh", "5.5-1", &[], &[]),
        ]);
        let other = text.replace("x86_64", "aarch64").replace("<metadata xmlns:rpm=\"x\">", "");
        let text = text.replace("</metadata>", "") + &other;
        let index = index(&text).unwrap();
        let [package] = &index.packages[..] else { panic!("{index:?}") };
        assert_eq!((&*package.path, package.size), ("Packages/kernel.rpm", 3));
        assert_eq!(package.version.to_string(), "4.18.0-80.el8");
        assert_eq!(package.requires[0].name, "kernel-core-uname-r");
    }

    #[test]
    fn the_newest_provider_is_found() {
        let of = |release| format!("4.18.0-{release}.el8");
        let (a, b) = (of("80"), of("553"));
        let provides = [&a, &b].map(|version| format!("kernel-core-uname-r = {version}.x86_64"));
        let text = document(&[
            ("kernel-core", &b, &[&provides[1]], &[]),
            ("kernel-core", &a, &[&provides[0]], &[]),
        ]);
        let index = index(&text).unwrap();
        let found = |name: &str, version: Option<&str>| {
            let version = version.map(|version| Evr::parse(version).clone());
            let version = version.map(|v| {
                let (epoch, version, release) = v.values();
                Evr::new(epoch.to_owned(), version.to_owned(), release.to_owned())
            });
            let wanted = Capability { name: name.to_owned(), version };
            index.provider(&wanted).map(|package| package.version.to_string())
        };
        assert_eq!(found("kernel-core", None), Some(b.clone()));
        assert_eq!(found("kernel-core", Some(&a)), Some(a.clone()));
        assert_eq!(found("kernel-core-uname-r", Some("4.18.0-80.el8.x86_64")), Some(a));
        assert_eq!(found("kernel-core-uname-r", Some("4.18.0-81.el8.x86_64")), None);
        assert_eq!(found("kernel-modules", None), None);
    }

    #[rstest]
    #[case("sha256", "sha1", "its digest is not a SHA-256")]
    #[case("ver=\"4", "wer=\"4", "version")]
    #[case("size package=\"3\"", "size package=\"many\"", "size")]
    #[case("href=", "xml:base=\"http://elsewhere.example.org\" href=", "location")]
    fn a_damaged_package_is_an_error(#[case] from: &str, #[case] to: &str, #[case] what: &str) {
        let text = document(&[("kernel", "4.18.0-80.el8", &[], &[])]).replace(from, to);
        let error = index(&text).unwrap_err().to_string();
        assert_eq!(error, format!("the document is damaged at \"kernel\": {what}"));
    }

    #[rstest]
    #[case("<html><body>not found</body></html>")]
    #[case("")]
    #[case("<metadata><package>")]
    #[case("<metadata></package>")]
    fn other_documents_are_refused(#[case] text: &str) {
        assert!(index(text).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(<(metadata|package|name|entry|version|/[a-z]{1,8})( [a-z]{1,5}=\"[^\"]{0,9}\")?/?>|[ -~]{0,9}){0,20}") {
            drop(index(&text));
        }
    }
}
