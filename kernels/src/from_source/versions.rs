//! Which tool versions a source is known to need.
//!
//! The oldest versions are in its documentation. The newest ones are known for tools whose later
//! versions broke older sources. A source may have the fix as a backport, so this is only advice
//! after a failed build, and refuses nothing.

use std::{fmt::Write as _, fs, path::Path};

use super::{toolchain::Tools, tree::version_in};

/// The file in a source with the table of minimal tool versions.
const MINIMAL: &str = "Documentation/process/changes.rst";
/// The names of programs in that table, and their roles in a build.
const PROGRAMS: [(&str, &str); 4] =
    [("GNU C", "cc"), ("binutils", "ld"), ("GNU make", "make"), ("pahole", "pahole")];

/// The header in a source that defines the BTF kinds it knows.
const BTF_HEADER: &str = "include/uapi/linux/btf.h";

/// A tool version limit of sources before a release.
struct Limit {
    /// The tool's role in the build.
    role: &'static str,
    /// The tool's name in messages.
    name: &'static str,
    /// The newest version that works.
    newest: &'static [u32],
    /// The first release that works with newer versions.
    before: &'static [u32],
    /// What happens with newer versions.
    what: &'static str,
    /// The kernel commit that fixes it.
    commit: &'static str,
}

const LIMITS: [Limit; 5] = [
    Limit {
        role: "cc",
        name: "gcc",
        newest: &[11],
        before: &[5, 17],
        what: "newer ones end in `use-after-free` errors of tools/lib/subcmd",
        commit: "52a9dab6d892",
    },
    Limit {
        role: "cc",
        name: "gcc",
        newest: &[14],
        before: &[6, 14],
        what: "newer ones compile C23, where `bool` and `false` are keywords",
        commit: "ee2ab467bddf",
    },
    Limit {
        role: "as",
        name: "binutils",
        newest: &[2, 35],
        before: &[5, 11],
        what: "newer assemblers leave out symbol tables, and objtool says `missing symbol table`",
        commit: "1d489151e9f9",
    },
    Limit {
        role: "pahole",
        name: "pahole",
        newest: &[1, 20],
        before: &[5, 13],
        what: "newer ones write BTF_KIND_FLOAT, which the kernel refuses",
        commit: "b1828f0b0482",
    },
    Limit {
        role: "pahole",
        name: "pahole",
        newest: &[1, 23],
        before: &[6, 0],
        what: "newer ones write BTF_KIND_ENUM64, which the kernel refuses",
        commit: "6089fb325cf7",
    },
];

/// The known limits for the tools of a source, compared with those of this build: some lines, each
/// after a line feed. Empty if none are known.
pub(super) fn advice(tree: &Path, tools: &Tools) -> String {
    let read = |name: &str| fs::read_to_string(tree.join(name)).unwrap_or_default();
    let Some(release) = version_in(&read("Makefile")) else { return String::new() };
    let version = |role: &str| tools.version(role).and_then(numbers);
    let mut text = String::new();
    let minimal: Vec<_> = minimal(&read(MINIMAL));
    if !minimal.is_empty() {
        let wanted: Vec<_> = minimal
            .iter()
            .map(|(name, _, version)| format!("{name} {}", dotted(version)))
            .collect();
        let used: Vec<_> = ["cc", "as", "ld", "pahole"]
            .iter()
            .filter_map(|role| Some(format!("{role} {}", dotted(&version(role)?))))
            .collect();
        let _ = write!(
            text,
            "\nthis source is {release}; {MINIMAL} requires at least {}; this build had {}",
            wanted.join(", "),
            used.join(", ")
        );
    }
    let of_source = numbers(&release).unwrap_or_default();
    let mut advised = Vec::new();
    for Limit { role, name, newest, before, what, commit } in &LIMITS {
        let Some(used) = version(role).filter(|used| is_newer(used, newest)) else { continue };
        let is_clang = *name == "gcc" && tools.version(role).is_some_and(|v| v.contains("clang"));
        if of_source.as_slice() >= *before || is_clang || advised.contains(role) {
            continue;
        }
        advised.push(*role);
        let _ = write!(
            text,
            "\n{name} {} may be too new: sources before {} need {} or older, unless they have \
             commit {commit}: {what}. Name an older one in the entry's `toolchain`",
            dotted(&used),
            dotted(before),
            dotted(newest),
        );
    }
    text
}

/// The highest BTF kind that a source defines; `None` if it has no such header.
pub(super) fn newest_btf_kind(tree: &Path) -> Option<u32> {
    kinds(&fs::read_to_string(tree.join(BTF_HEADER)).ok()?).max()
}

/// The numbers in `#define BTF_KIND_INT 1`, or in `BTF_KIND_INT = 1,` as of 5.16.
fn kinds(header: &str) -> impl Iterator<Item = u32> {
    header.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("#define").unwrap_or(line).trim_start();
        let mut words = line.split([' ', '\t', ',', '=']).filter(|word| !word.is_empty());
        words.next().filter(|name| name.starts_with("BTF_KIND_"))?;
        words.next()?.parse().ok()
    })
}

/// The rows of the table that matter to builds: name, role, version.
fn minimal(table: &str) -> Vec<(&'static str, &'static str, Vec<u32>)> {
    let row = |line: &str| {
        let (name, role) = PROGRAMS.iter().find(|(name, _)| line.starts_with(name))?;
        let rest = line[name.len()..].trim_start();
        let rest = rest.strip_prefix("(optional)").unwrap_or(rest);
        let version = numbers(rest.split_whitespace().next()?)?;
        Some((*name, *role, version))
    };
    // Lines further down start with the same names, but without a version.
    let mut rows: Vec<_> = table.lines().filter_map(row).collect();
    rows.dedup_by_key(|(name, ..)| *name);
    rows
}

/// Whether a version is newer than a whole series: 2.35.2 is not newer than 2.35.
fn is_newer(version: &[u32], newest: &[u32]) -> bool {
    version > newest && !version.starts_with(newest)
}

/// The version in a program's version line: `12.2.0` of `gcc (Debian 12.2.0-14) 12.2.0`. Text in
/// parentheses is the distribution's and is skipped.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let mut depth = 0_usize;
    let plain: String = text
        .chars()
        .filter(|c| {
            depth += usize::from(*c == '(');
            let is_plain = depth == 0;
            depth = depth.saturating_sub(usize::from(*c == ')'));
            is_plain
        })
        .collect();
    plain.split_whitespace().find_map(|word| {
        let word = word.strip_prefix('v').unwrap_or(word);
        let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let numbers = word[..end].split('.').filter(|number| !number.is_empty());
        let numbers: Option<Vec<u32>> = numbers.map(|number| number.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() > 1)
    })
}

fn dotted(numbers: &[u32]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    numbers.join(".")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::debian("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", &[12, 2, 0])]
    #[case::red_hat("gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-26)", &[8, 5, 0])]
    #[case::assembler("GNU assembler (GNU Binutils for Debian) 2.35.2", &[2, 35, 2])]
    #[case::linker("GNU ld version 2.30-125.el8_10", &[2, 30])]
    #[case::pahole("v1.24", &[1, 24])]
    #[case::release("5.4.0-rc1", &[5, 4, 0])]
    fn a_program_says_its_version(#[case] said: &str, #[case] expected: &[u32]) {
        assert_eq!(numbers(said).as_deref(), Some(expected));
    }

    const CHANGES: &str = "\
====================== ===============  ========================================
        Program        Minimal version       Command to check the version
====================== ===============  ========================================
GNU C                  4.6              gcc --version
GNU make               3.81             make --version
binutils               2.21             ld -v
pahole (optional)      1.16             pahole --version
====================== ===============  ========================================

GNU make or later is needed to build the kernel.
";

    fn source(release: &str) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let [version, patch] = [0, 1].map(|at| release.split('.').nth(at).unwrap());
        let makefile = format!("VERSION = {version}\nPATCHLEVEL = {patch}\nSUBLEVEL = 7\n");
        fs::write(tree.path().join("Makefile"), makefile).unwrap();
        fs::create_dir_all(tree.path().join(MINIMAL).parent().unwrap()).unwrap();
        fs::write(tree.path().join(MINIMAL), CHANGES).unwrap();
        tree
    }

    #[test]
    fn a_source_is_known_to_want_other_tools() {
        let (tree, tools) = (source("5.4"), Tools::named("gcc (Debian 12.2.0-14) 12.2.0"));
        insta::assert_snapshot!(advice(tree.path(), &tools), @"
        this source is 5.4.7; Documentation/process/changes.rst requires at least GNU C 4.6, GNU make 3.81, binutils 2.21, pahole 1.16; this build had cc 12.2.0
        gcc 12.2.0 may be too new: sources before 5.17 need 11 or older, unless they have commit 52a9dab6d892: newer ones end in `use-after-free` errors of tools/lib/subcmd. Name an older one in the entry's `toolchain`
        ");
        let other = |release: &str, version: &str| {
            advice(source(release).path(), &Tools::named(version)).lines().count()
        };
        assert_eq!(other("5.4", "gcc (Debian 11.3.0-1) 11.3.0"), 2, "old enough");
        assert_eq!(other("5.17", "gcc (Debian 12.2.0-14) 12.2.0"), 2, "new enough");
        assert_eq!(other("5.4", "Debian clang version 14.0.6"), 2, "no gcc");
        assert_eq!(advice(Path::new("/nowhere"), &tools), "");
    }

    #[rstest]
    #[case::defined(
        "#define BTF_KIND_VAR\t14\t/* */\n#define BTF_KIND_MAX\t\tBTF_KIND_VAR\n",
        Some(14)
    )]
    #[case::enumerated("enum {\n\tBTF_KIND_TYPE_TAG\t= 18,\t/* */\n\n\tNR_BTF_KINDS,\n", Some(18))]
    #[case::a_comment(" * BTF_KIND_INT 77\n", None)]
    fn a_header_tells_the_kinds(#[case] header: &str, #[case] newest: Option<u32>) {
        assert_eq!(kinds(header).max(), newest);
    }
}
