//! The package sources configured for dnf or yum on this machine.

use std::{fs, path::Path};

/// The URLs of all enabled sources in `/etc/yum.repos.d`, in which variables such as `$basearch`
/// are kept. Unreadable files are skipped.
pub(crate) fn addresses(root: &Path) -> Vec<String> {
    let dir = fs::read_dir(root.join("etc/yum.repos.d")).into_iter().flatten().flatten();
    let mut paths: Vec<_> = dir.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "repo"));
    paths.sort();
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    paths.into_iter().flat_map(|path| parse(&read(path))).collect()
}

/// The URL of a mirror, taken from the URL of one of its directories: everything up to the
/// archive's name.
pub(crate) fn mirror(address: &str, archive: &str) -> Option<String> {
    let part = format!("/{archive}/");
    let start = address.find("://")? + 3;
    let end = start + address[start..].find(&part)? + part.len() - 1;
    let mirror = &address[..end];
    (!mirror.contains('$')).then(|| mirror.to_owned())
}

/// Parses the format of dnf.conf(5): sections of `key=value`, with further values on indented
/// lines.
fn parse(text: &str) -> Vec<String> {
    let mut addresses = Vec::new();
    let mut section = Section::default();
    for line in text.lines().chain(["[end]"]) {
        if line.starts_with('[') {
            addresses.extend(std::mem::take(&mut section).addresses());
        } else if line.starts_with([' ', '\t']) {
            if section.in_base {
                section.base.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim(), value.trim());
            section.in_base = key == "baseurl";
            match key {
                "baseurl" => value.clone_into(&mut section.base),
                "enabled" => {
                    let value = value.to_lowercase();
                    section.is_off = ["0", "no", "false", "off"].contains(&&*value);
                }
                _ => {}
            }
        }
    }
    addresses
}

/// A section that is still being parsed.
#[derive(Default)]
struct Section {
    base: String,
    in_base: bool,
    is_off: bool,
}

impl Section {
    fn addresses(self) -> Vec<String> {
        if self.is_off {
            return Vec::new();
        }
        let addresses = self.base.split([' ', '\t', ',']).filter(|address| !address.is_empty());
        addresses.map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn addresses_of_what_is_enabled() {
        let root = tempfile::tempdir().unwrap();
        assert!(addresses(root.path()).is_empty());
        let dir = root.path().join("etc/yum.repos.d");
        fs::create_dir_all(&dir).unwrap();
        let text = "\
[baseos]
name=AlmaLinux $releasever - BaseOS
# mirrorlist=https://mirrors.example.org/
baseurl = https://one.example.org/almalinux/$releasever/BaseOS/$basearch/os/,
  https://two.example.org/almalinux/$releasever/BaseOS/$basearch/os/
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY
  https://key.example.org/
enabled=1

[debug]
enabled=0
baseurl=https://off.example.org/almalinux/

[list]
mirrorlist=https://list.example.org/
";
        fs::write(dir.join("b.repo"), text).unwrap();
        fs::write(dir.join("a.repo"), "[a]\nbaseurl=https://a.example.org/fedora/linux/x\n")
            .unwrap();
        fs::write(dir.join("c.rpmsave"), "[c]\nbaseurl=https://c.example.org/\n").unwrap();
        assert_eq!(
            addresses(root.path()),
            [
                "https://a.example.org/fedora/linux/x",
                "https://one.example.org/almalinux/$releasever/BaseOS/$basearch/os/",
                "https://two.example.org/almalinux/$releasever/BaseOS/$basearch/os/",
            ]
        );
    }

    #[rstest]
    #[case("http://x.example.org/almalinux/8/os", Some("http://x.example.org/almalinux"))]
    #[case("http://x.example.org/pub/almalinux/8/os", Some("http://x.example.org/pub/almalinux"))]
    #[case("http://almalinux/8/os", None)]
    #[case("http://x.example.org/$contentdir/almalinux/8", None)]
    #[case("http://x.example.org/almalinux", None)]
    #[case("almalinux", None)]
    fn mirrors(#[case] address: &str, #[case] expected: Option<&str>) {
        assert_eq!(mirror(address, "almalinux").as_deref(), expected);
    }
}
