//! The package sources configured for apt on this machine.

use std::{fs, path::Path};

/// One source of binary packages: `deb URI SUITE COMPONENTS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AptSource {
    pub(crate) uri: String,
    pub(crate) components: Vec<String>,
}

/// The `ID` and `ID_LIKE` of `/etc/os-release`: `debian`; `linuxmint`, `ubuntu`, `debian`.
pub(crate) fn distributions(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    parse_os_release(&text)
}

/// All enabled sources in `/etc/apt`, in apt's order. Unreadable files are skipped.
pub(crate) fn sources(root: &Path) -> Vec<AptSource> {
    let apt = root.join("etc/apt");
    let mut sources = parse_list(&read(&apt.join("sources.list")));
    let dir = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten();
    let mut paths: Vec<_> = dir.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_list(&read(&path))),
            Some("sources") => sources.extend(parse_deb822(&read(&path))),
            _ => {}
        }
    }
    sources.into_iter().flat_map(|source| expand(root, source)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Expands `mirror+file:/etc/apt/mirrors/debian.list` to the URLs in that file: one per line, each
/// optionally followed by options. See apt-transport-mirror(1).
fn expand(root: &Path, source: AptSource) -> Vec<AptSource> {
    let Some(path) = source.uri.strip_prefix("mirror+file:") else {
        return vec![source];
    };
    let list = read(&root.join(path.trim_start_matches('/')));
    let uris = list.lines().filter_map(|line| line.split_whitespace().next());
    uris.filter(|uri| !uri.starts_with('#'))
        .map(|uri| AptSource { uri: uri.to_owned(), components: source.components.clone() })
        .collect()
}

fn parse_os_release(text: &str) -> Vec<String> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\''])
    };
    value("ID")
        .split_whitespace()
        .chain(value("ID_LIKE").split_whitespace())
        .map(str::to_owned)
        .collect()
}

/// The one-line format of sources.list(5): `deb [ option=value ... ] uri suite component...`.
fn parse_list(text: &str) -> Vec<AptSource> {
    let source = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?;
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?.to_owned();
        let _suite = words.next()?;
        Some(AptSource { uri, components: words.map(str::to_owned).collect() })
    };
    text.lines().filter_map(source).collect()
}

/// The deb822 format of sources.list(5).
fn parse_deb822(text: &str) -> Vec<AptSource> {
    let text: String =
        text.lines().filter(|l| !l.starts_with('#')).flat_map(|l| [l, "\n"]).collect();
    let mut sources = Vec::new();
    for stanza in super::deb::control::stanzas(&text) {
        let words = |field: &str| -> Vec<String> {
            let value = stanza.get(field).unwrap_or_default();
            value.split_whitespace().map(str::to_owned).collect()
        };
        let disabled = stanza.get("Enabled").is_some_and(|value| {
            ["no", "false", "0", "off", "without", "disable"].contains(&value.trim())
        });
        if disabled || !words("Types").contains(&"deb".to_owned()) {
            continue;
        }
        let components = words("Components");
        let source = |uri| AptSource { uri, components: components.clone() };
        sources.extend(words("URIs").into_iter().map(source));
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, components: &str) -> AptSource {
        let components = components.split_whitespace().map(str::to_owned).collect();
        AptSource { uri: uri.to_owned(), components }
    }

    #[test]
    fn the_one_line_format() {
        let text = "\
# deb http://commented.example.org/debian bookworm main
deb http://one.example.org/debian bookworm main contrib # why
deb [arch=amd64 signed-by=/k.gpg] https://two.example.org/debian bookworm main
deb[trusted=yes] http://three.example.org/debian bookworm main
deb-src http://source.example.org/debian bookworm main
deb\thttp://flat.example.org/ ./
deb [ broken
deb
";
        assert_eq!(
            parse_list(text),
            [
                source("http://one.example.org/debian", "main contrib"),
                source("https://two.example.org/debian", "main"),
                source("http://three.example.org/debian", "main"),
                source("http://flat.example.org/", ""),
            ]
        );
    }

    #[test]
    fn the_deb822_format() {
        let text = "\
# A comment
Types: deb deb-src
URIs: http://one.example.org/debian
 http://two.example.org/debian
# In the middle
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Components: main

Types: deb-src
URIs: http://source.example.org/debian
";
        assert_eq!(
            parse_deb822(text),
            [
                source("http://one.example.org/debian", "main contrib"),
                source("http://two.example.org/debian", "main contrib"),
            ]
        );
    }

    #[test]
    fn a_distribution_and_what_it_is_like() {
        let text =
            "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22\"\n";
        assert_eq!(parse_os_release(text), ["linuxmint", "ubuntu", "debian"]);
        assert_eq!(parse_os_release("ID=debian"), ["debian"]);
        assert!(parse_os_release("").is_empty());
    }

    #[test]
    fn a_machine_is_read_from_its_files() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert!(sources(root.path()).is_empty());
        write(
            "etc/apt/sources.list.d/b.sources",
            "Types: deb\nURIs: http://b.example.org/debian\n",
        );
        write(
            "etc/apt/sources.list.d/c.sources.disabled",
            "Types: deb\nURIs: http://c.example.org/\n",
        );
        write(
            "etc/apt/sources.list.d/a.list",
            "deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n",
        );
        write(
            "etc/apt/mirrors/debian.list",
            "# near\nhttp://a.example.org/debian\tpriority:1\nhttp://z.example.org/debian\n",
        );
        assert_eq!(
            sources(root.path()),
            [
                source("http://a.example.org/debian", "main"),
                source("http://z.example.org/debian", "main"),
                source("http://b.example.org/debian", ""),
            ]
        );
    }
}
