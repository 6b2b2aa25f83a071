use rstest::rstest;

use super::*;
use crate::{
    catalog::matrix::{BtfArchive, BtfArchivePlace, BtfFile},
    digest::Digest,
};

const HEAD: &str = r#"schema = 1
[repository.debian]
distribution = "debian"
archive = "debian"
keys = [{ file = "keys/a.asc", fingerprint = "1F89983E0081FDE018F3CC9673A4F27B8DD47936" }]
"#;

fn kernel(id: &str, rest: &str) -> String {
    format!(
        "[[kernel]]\nid = \"{id}\"\narch = \"x86_64\"\ntier = \"default\"\nbtf = \
         [\"embedded\"]\nwhy = \"test\"\n{rest}\n"
    )
}

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const DEB: &str = r#"release = "6.1"
source = { kind = "deb", repository = "debian", suite = "s", component = "main", package = "p" }"#;

fn matrix(shared: &str, local: Option<&str>) -> Result<Matrix, DocumentError> {
    let mut matrix = Matrix::default();
    merge(&mut matrix, &Document::new("/lab/kernels.toml", shared), Origin::Shared)?;
    if let Some(local) = local {
        merge(&mut matrix, &Document::new("/lab/kernels.local.toml", local), Origin::Local)?;
    }
    Ok(matrix)
}

#[test]
fn an_entry_is_read_whole() {
    let deviations = r#"[[kernel.deviations]]
scenario = "inotify/long_name"
backend = "aya"
reason = "the hook moved"
link = "https://git.example.org/c/1"
warning = "in do_it"
"#;
    let text = format!("{HEAD}{}{deviations}", kernel("debian-6.1", DEB));
    let matrix = matrix(&text, None).unwrap();
    let [entry] = &matrix.entries[..] else { panic!("{matrix:?}") };
    assert_eq!(entry.release, Some("6.1".parse().unwrap()));
    assert_eq!(entry.source.to_string(), "deb debian s main p");
    assert_eq!(entry.deviations[0].backend, Some(BackendKind::Aya));
    assert_eq!(entry.deviations[0].warning.as_deref(), Some("in do_it"));
    let key = &matrix.repositories["debian"].keys[0];
    assert_eq!(key.path, Path::new("/lab/keys/a.asc"));
}

#[test]
fn the_overlay_replaces_and_adds() {
    let shared = format!("{HEAD}{}{}", kernel("a", DEB), kernel("b", DEB));
    let file = "source = { kind = \"file\", image = \"bzImage\" }";
    let local = format!(
        "schema = 1\n[mirror]\ndebian = [\"http://mirror.example.org/debian/\"]\n{}{}",
        kernel("a", file),
        kernel("c", "source = { kind = \"host\" }")
    );
    let matrix = matrix(&shared, Some(&local)).unwrap();
    let ids: Vec<_> = matrix.entries.iter().map(|e| (e.id.as_str(), e.origin)).collect();
    let expected = [("a", Origin::Local), ("b", Origin::Shared), ("c", Origin::Local)];
    assert_eq!(ids, expected);
    assert_eq!(matrix.entries[0].source.to_string(), "file /lab/bzImage");
    assert_eq!(matrix.mirrors["debian"], ["http://mirror.example.org/debian"]);
}

#[rstest]
#[case::no_schema("", "kernels.toml:1:1: missing field `schema`")]
#[case::other_schema("schema = 2", ":1:10: unknown schema 2: expected 1")]
#[case::syntax("schema = 1\n[[kernel]\n", "kernels.toml:2:10: ")]
#[case::unknown_key("schema = 1\nkernels = []", ":2:1: unknown field `kernels`, expected")]
#[case::fingerprint(
    "schema = 1\n[repository.x]\ndistribution = \"x\"\narchive = \"x\"\n\
     keys = [{ file = \"f\", fingerprint = \"12\" }]",
    ":5:37: expected a fingerprint of 40 hexadecimal digits"
)]
#[case::snapshot(
    "schema = 1\n[repository.x]\ndistribution = \"x\"\narchive = \"x\"\nkeys = []\n\
     snapshot = \"ftp://x\"",
    ":6:12: expected an http or https address with {timestamp} in it"
)]
#[case::public(
    "schema = 1\n[repository.x]\ndistribution = \"x\"\narchive = \"x\"\nkeys = []\n\
     public = [\"ftp://x\"]",
    ":6:11: \"ftp://x\" is not an http or https address"
)]
#[case::signs(
    "schema = 1\n[repository.x]\ndistribution = \"x\"\narchive = \"x\"\nkeys = []\n\
     signs = \"nothing\"",
    "unknown variant `nothing`, expected `index` or `packages`"
)]
#[case::mirror("schema = 1\n[mirror]\nx = []", ":3:1: unknown repository \"x\"")]
fn a_malformed_file_says_where_and_what(#[case] text: &str, #[case] expected: &str) {
    let error = matrix(text, None).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[rstest]
#[case::slash("a/b", DEB, ":7:6: \"a/b\" is not an id")]
#[case::all("all", DEB, ":7:6: \"all\" can't be an id, because it selects all kernels: add a word")]
#[case::default("default", DEB, "because it selects the kernels of the default tier")]
#[case::host("host", DEB, "because it selects the running kernel of this machine")]
#[case::like_a_release("6.1", DEB, "because it selects the kernels of a release")]
#[case::release("a", &DEB.replace("6.1", "six"), ":12:11: \"six\" is not a release")]
#[case::kind("a", "source = { kind = \"ftp\" }", ":12:19: unknown variant `ftp`, expected")]
#[case::repository("a", &DEB.replace("\"debian\"", "\"x\""), ":13:10: unknown repository \"x\"")]
#[case::field("a", "source = { kind = \"host\", image = \"x\" }", ":12:10: unknown field `image`")]
#[case::memory(
    "a",
    "source = { kind = \"host\" }\nmemory_mib = 64",
    ":13:14: expected 128 to 65536 mebibytes of memory"
)]
#[case::processors(
    "a",
    "source = { kind = \"host\" }\nprocessors = 0",
    ":13:14: expected 1 to 64 processors"
)]
#[case::btf_file(
    "a",
    "source = { kind = \"host\" }\nbtf_file = \"x\"",
    ":13:12: `btf_file` is for the BTF mode `external`, which"
)]
#[case::rpm_dir(
    "a",
    "source = { kind = \"rpm\", repository = \"debian\", package = \"kernel\" }",
    ":12:10: expected either `path` or `mirror_list`"
)]
#[case::url(
    "a",
    &format!("source = {{ kind = \"url\", url = \"ftp://x\", sha256 = \"{EMPTY}\" }}"),
    ":12:10: \"ftp://x\" is not an http or https address"
)]
#[case::digest(
    "a",
    "source = { kind = \"url\", url = \"http://x\", sha256 = \"12\" }",
    "\"12\" is not a SHA-256 digest"
)]
#[case::no_such_tree(
    "a",
    "source = { kind = \"build\", tree = { kind = \"git\", path = \"linux\" } }",
    ":12:10: unknown variant `git`, expected one of `deb`, `url`, `archive`, `folder`"
)]
#[case::no_such_tool(
    "a",
    "source = { kind = \"build\", tree = { kind = \"folder\", path = \"linux\" }, toolchain = { gcc = \"x\" } }",
    ":12:10: unknown field `gcc`, expected one of `prefix`, `cc`, `hostcc`, `ld`, `as`, `pahole`"
)]
#[case::missing("a", "source = { kind = \"file\" }", ":12:10: missing field `image`")]
#[case::no_source("a", "", ":6:1: missing field `source`")]
#[case::scenario(
    "a",
    "source = { kind = \"host\" }\n[[kernel.deviations]]\nscenario = \"x\"\nreason = \"r\"\n\
     link = \"l\"",
    ":14:12: unknown scenario \"x\""
)]
fn a_malformed_entry_says_where_and_what(
    #[case] id: &str,
    #[case] rest: &str,
    #[case] expected: &str,
) {
    let error = matrix(&format!("{HEAD}{}", kernel(id, rest)), None).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn external_btf_is_a_file() {
    let entry = kernel("a", DEB).replace("\"embedded\"", "\"external\"");
    let error = matrix(&format!("{HEAD}{entry}"), None).unwrap_err().to_string();
    assert!(error.contains(":10:7: the BTF mode `external` needs `btf_file`"), "{error}");
    let entry = entry.replace("why =", "btf_file = \"a.btf\"\nwhy =");
    let matrix = matrix(&format!("{HEAD}{entry}"), None).unwrap();
    assert_eq!(matrix.entries[0].btf_file, Some(BtfFile::File("/lab/a.btf".into())));
}

#[rstest]
#[case::dir("archive = \"hub\"", Ok(BtfArchivePlace::Dir("/lab/hub".into())))]
#[case::address(
    &format!("archive = \"https://x/hub/\", sha256 = \"{EMPTY}\""),
    Ok(BtfArchivePlace::Url { url: "https://x/hub".to_owned(), sha256: Digest::of(b"") })
)]
#[case::unproven("archive = \"https://x\"", Err("an archive at an address needs `sha256`"))]
#[case::two_archives("archive = \"x\", arch = \"y\"", Err("unknown field `arch`"))]
#[case::a_way_out("archive = \"x\", version = \"../..\"", Err("duplicate key"))]
fn external_btf_may_be_of_an_archive(
    #[case] place: &str,
    #[case] expected: Result<BtfArchivePlace, &str>,
) {
    let table =
        format!("btf_archive = {{ distribution = \"ubuntu\", version = \"18.04\", {place} }}");
    let entry = kernel("a", DEB).replace("why =", &format!("{table}\nwhy ="));
    let unwanted = matrix(&format!("{HEAD}{entry}"), None).unwrap_err().to_string();
    let entry = entry.replace("\"embedded\"", "\"external\"");
    let read = matrix(&format!("{HEAD}{entry}"), None);
    match expected {
        Ok(place) => {
            assert!(unwanted.contains("`btf_archive` is for the BTF mode"), "{unwanted}");
            let version = "18.04".to_owned();
            let archive = BtfArchive { place, distribution: "ubuntu".to_owned(), version };
            assert_eq!(read.unwrap().entries[0].btf_file, Some(BtfFile::Archive(archive)));
            let both = entry.replace("why =", "btf_file = \"x\"\nwhy =");
            let error = matrix(&format!("{HEAD}{both}"), None).unwrap_err().to_string();
            assert!(error.contains("expected either `btf_file` or `btf_archive`"), "{error}");
            let out = entry.replace("18.04", "..");
            let error = matrix(&format!("{HEAD}{out}"), None).unwrap_err().to_string();
            assert!(error.contains("\"..\" is not the name of a directory"), "{error}");
        }
        Err(expected) => {
            let error = read.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

#[test]
fn a_kernel_is_built_with_type_information_or_without() {
    let tree = "tree = { kind = \"folder\", path = \"linux\" }, config = \"own.config\"";
    let toolchain = "toolchain = { prefix = \"gcc-10/bin/\", as = \"as-2.35\" }";
    let source = format!("source = {{ kind = \"build\", {tree}, {toolchain} }}");
    let entry = |modes| format!("{HEAD}{}", kernel("a", &source).replace("\"embedded\"", modes));
    for (modes, has_btf) in [("\"embedded\", \"masked\"", true), ("\"absent\"", false)] {
        let matrix = matrix(&entry(modes), None).unwrap();
        assert_eq!(matrix.entries[0].has_btf(), has_btf);
        let expected = BuildSource {
            tree: TreeSource::Dir("/lab/linux".into()),
            config: Some("/lab/own.config".into()),
            toolchain: Toolchain {
                prefix: Some("/lab/gcc-10/bin/".into()),
                assembler: Some("as-2.35".into()),
                ..Toolchain::default()
            },
        };
        assert_eq!(matrix.entries[0].source, Source::Build(expected));
    }
    let error = matrix(&entry("\"absent\", \"masked\""), None).unwrap_err().to_string();
    assert!(error.contains(":10:7: a kernel is built with BTF"), "{error}");
}

#[test]
fn a_btf_mode_is_listed_once() {
    let entry = kernel("a", DEB).replace("\"embedded\"", "\"masked\", \"absent\", \"masked\"");
    let error = matrix(&format!("{HEAD}{entry}"), None).unwrap_err().to_string();
    assert!(error.contains(":10:7: the BTF mode masked is listed twice: remove one"), "{error}");
}

#[test]
fn an_id_is_unique_within_a_file() {
    let text = format!("{HEAD}{}{}", kernel("a", DEB), kernel("a", DEB));
    let error = matrix(&text, None).unwrap_err().to_string();
    assert!(error.contains(":15:6: the id \"a\" is taken by an entry above"), "{error}");
}
