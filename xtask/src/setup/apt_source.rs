//! Makes an apt source for another suite of the archive that this machine's apt already trusts.
//!
//! The mirror, its options and its keyring are the machine's own; only the suite is replaced.

/// One entry of sources.list(5), in its original format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AptSource {
    /// The text of the entry.
    pub(crate) text: String,
    /// The extension that a file with this entry must have.
    pub(crate) extension: &'static str,
}

/// The entry of `file` that installs binary packages from `archive`, with another suite.
///
/// `name` is the file's name, which decides how apt reads it.
pub(crate) fn with_suite(name: &str, file: &str, archive: &str, suite: &str) -> Option<AptSource> {
    if name.ends_with(".sources") {
        let mut stanzas = file.split("\n\n").filter_map(|stanza| deb822(stanza, archive, suite));
        stanzas.next().map(|text| AptSource { text, extension: "sources" })
    } else {
        let mut lines = file.lines().filter_map(|line| one_line(line, archive, suite));
        lines.next().map(|text| AptSource { text, extension: "list" })
    }
}

/// `deb [options] archive suite component...`
fn one_line(line: &str, archive: &str, suite: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            rest.split_once(']').map(|(options, rest)| (format!("[{options}] "), rest))?
        }
        None => (String::new(), rest),
    };
    let uri = rest.split_whitespace().next()?;
    same_archive(uri, archive).then(|| format!("deb {options}{uri} {suite} main\n"))
}

/// Fields of a stanza; a line that starts with a blank continues the field above it.
fn deb822(stanza: &str, archive: &str, suite: &str) -> Option<String> {
    let mut fields = Vec::<(String, String)>::new();
    for line in stanza.lines().filter(|line| !line.starts_with('#')) {
        if let Some((_, value)) = fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            value.push('\n');
            value.push_str(line);
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| fields.iter().find(|(other, _)| other == name).map(|(_, value)| value);
    let uri = field("uris")?.split_whitespace().find(|uri| same_archive(uri, archive))?.to_owned();
    let binary = field("types")?.split_whitespace().any(|kind| kind == "deb");
    let enabled = field("enabled").is_none_or(|enabled| enabled != "no");
    for (name, value) in &mut fields {
        match name.as_str() {
            "types" => *value = "deb".to_owned(),
            "uris" => *value = uri.clone(),
            "suites" => *value = suite.to_owned(),
            "components" => *value = "main".to_owned(),
            _ => {}
        }
    }
    let text = fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    (binary && enabled).then_some(text)
}

fn same_archive(uri: &str, archive: &str) -> bool {
    uri.trim_end_matches('/') == archive.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ARCHIVE: &str = "http://mirror.example/debian/";

    #[rstest]
    #[case::plain(
        "deb http://mirror.example/debian bookworm main contrib",
        Some("deb http://mirror.example/debian sid main\n")
    )]
    #[case::options(
        "# ours\ndeb-src http://mirror.example/debian bookworm main\n\
         deb [signed-by=/k.gpg arch=amd64] http://mirror.example/debian/ bookworm main",
        Some("deb [signed-by=/k.gpg arch=amd64] http://mirror.example/debian/ sid main\n")
    )]
    #[case::commented_out("# deb http://mirror.example/debian bookworm main", None)]
    #[case::another_archive("deb http://other.example/debian bookworm main", None)]
    #[case::truncated("deb [signed-by=/k.gpg", None)]
    fn one_line_entries(#[case] file: &str, #[case] expected: Option<&str>) {
        let source = with_suite("sources.list", file, ARCHIVE, "sid");
        assert_eq!(source.as_ref().map(|source| source.text.as_str()), expected);
        assert!(source.is_none_or(|source| source.extension == "list"));
    }

    #[rstest]
    #[case::two_stanzas(
        "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: s\nComponents: main\n\n\
         Types: deb deb-src\n# dated\nURIs: http://mirror.example/debian\n\
         Suites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By: /k.gpg\n",
        Some(
            "types: deb\nuris: http://mirror.example/debian\nsuites: sid\ncomponents: main\n\
             signed-by: /k.gpg\n"
        )
    )]
    #[case::key_inside(
        "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\nComponents: main\n\
         Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n",
        Some(
            "types: deb\nuris: http://mirror.example/debian/\nsuites: sid\ncomponents: main\n\
             signed-by: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n"
        )
    )]
    #[case::disabled(
        "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\nEnabled: no\n",
        None
    )]
    #[case::sources_only("Types: deb-src\nURIs: http://mirror.example/debian/\nSuites: s\n", None)]
    #[case::empty("", None)]
    fn deb822_entries(#[case] file: &str, #[case] expected: Option<&str>) {
        let source = with_suite("debian.sources", file, ARCHIVE, "sid");
        assert_eq!(source.as_ref().map(|source| source.text.as_str()), expected);
        assert!(source.is_none_or(|source| source.extension == "sources"));
    }
}
