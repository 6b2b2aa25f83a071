//! What kernels have otherwise of functions and tracepoints that no dossier covers, because no tracer of
//! the lab depends on them.

use std::collections::BTreeSet;

use super::{
    Change, Moved, TracepointChange, Whole, WholeDifference,
    explain::{Release, Span, sentences},
    whole::Lines,
};
use crate::dossier::SymbolState;

/// What changed from one kernel to another of all functions and tracepoints that have one of these names:
/// whether they are there, how they are declared, and which arguments moved. One sentence each.
///
/// The releases are those of `uname -r`.
pub fn explain_others(
    (old_release, old): (&str, &Whole),
    (new_release, new): (&str, &Whole),
    names: &BTreeSet<String>,
) -> Vec<String> {
    let span = Span { old: Release::of(old_release), new: Release::of(new_release) };
    let difference = WholeDifference::between(old, new).named(|name| names.contains(name));
    let mut found = BTreeSet::new();
    for change in changes(&difference) {
        found.extend(sentences(&change, &span).into_iter().map(|(_, sentence)| sentence));
    }
    for renamed in &difference.renamed {
        found.insert(format!("`{}` is likely named `{}` {span}", renamed.old, renamed.new));
    }
    found.into_iter().collect()
}

fn changes(difference: &WholeDifference) -> Vec<Change> {
    use SymbolState::{Absent, Present};
    let symbol = |symbol: &String, old, new| Change::Symbol {
        symbol: symbol.clone(),
        old,
        new,
        declaration: None,
    };
    let tracepoint =
        |name: &String, change| Change::Tracepoints { tracepoints: vec![name.clone()], change };
    let gone = difference.functions_gone.iter().map(|name| symbol(name, Present, Absent));
    let new = difference.functions_new.iter().map(|name| symbol(name, Absent, Present));
    let lost = difference.tracepoints_gone.iter();
    let lost = lost.map(|name| tracepoint(name, TracepointChange::Gone));
    let added = difference.tracepoints_new.iter();
    let added = added.map(|name| tracepoint(name, TracepointChange::New));
    let declared = difference.functions.iter().filter_map(|(name, lines)| declared(name, lines));
    gone.chain(new).chain(lost).chain(added).chain(declared).collect()
}

/// Of functions that share a name, nobody can tell which became which.
fn declared(function: &str, Lines { old, new }: &Lines) -> Option<Change> {
    let ([old], [new]) = (&old[..], &new[..]) else { return None };
    Some(Change::Prototype {
        function: function.to_owned(),
        moved: moved(&parameters(old), &parameters(new)),
        old: old.clone(),
        new: new.clone(),
    })
}

fn moved(old: &[&str], new: &[&str]) -> Vec<Moved> {
    let named = (1..).zip(old).filter(|(_, name)| !name.is_empty());
    named
        .filter_map(|(number, name)| {
            let place = new.iter().position(|other| other == name)? + 1;
            (place != number).then(|| Moved {
                parameter: (*name).to_owned(),
                old: number,
                new: place,
            })
        })
        .collect()
}

/// The names of a declaration's parameters: `dir` and `dentry` of
/// `int vfs_unlink(struct inode *dir, struct dentry *dentry)`. Empty for one without a name.
fn parameters(declaration: &str) -> Vec<&str> {
    let Some((_, list)) = declaration.split_once('(') else { return Vec::new() };
    let list = list.strip_suffix(')').unwrap_or(list);
    let mut depth = 0_i32;
    let commas = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    let name = |parameter: &str| {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let start = parameter.trim_end_matches(is_of_name).len();
        // A type alone has no name.
        if start == 0 { 0..0 } else { start..parameter.len() }
    };
    list.split(commas).map(str::trim).map(|parameter| &parameter[name(parameter)]).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::btf::Listing;

    #[rstest]
    #[case("int f()", &[""])]
    #[case("int f(struct inode *dir, struct dentry *dentry)", &["dir", "dentry"])]
    #[case("int f(int (*call)(int a, int b), u32 number, void *)", &["", "number", ""])]
    #[case("nonsense", &[])]
    fn parameters_have_names(#[case] declaration: &str, #[case] expected: &[&str]) {
        assert_eq!(parameters(declaration), expected);
    }

    fn whole(declarations: &[(&str, &str)], tracepoints: &[&str]) -> Whole {
        let functions = declarations
            .iter()
            .map(|(name, text)| ((*name).to_owned(), [(*text).to_owned()].into()));
        let listing = Listing { functions: functions.collect(), ..Listing::default() };
        let mut whole = Whole { types: Some(listing), ..Whole::default() };
        whole.function_names = declarations.iter().map(|(name, _)| (*name).to_owned()).collect();
        whole.offered.tracepoints = tracepoints.iter().map(|name| (*name).to_owned()).collect();
        whole
    }

    #[test]
    fn arguments_that_moved_are_told_of_any_function() {
        let old = whole(
            &[
                ("vfs_unlink", "int vfs_unlink(struct inode *dir, struct dentry *dentry)"),
                ("other", "int other(int a)"),
                ("blk_old", "void blk_old()"),
            ],
            &["block:gone"],
        );
        let new = whole(
            &[
                (
                    "vfs_unlink",
                    "int vfs_unlink(struct user_namespace *ns, struct inode *dir, struct dentry *dentry)",
                ),
                ("other", "int other(long a)"),
            ],
            &[],
        );
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let told = explain_others(
            ("5.10.0", &old),
            ("6.1.0", &new),
            &names(&["vfs_unlink", "blk_old", "gone"]),
        );
        assert_eq!(
            told,
            [
                "`blk_old` is gone on 6.1, was there on 5.10",
                "`vfs_unlink` takes the dentry as 3rd argument on 6.1, was 2nd",
                "`vfs_unlink` takes the dir as 2nd argument on 6.1, was 1st",
                "no tracepoint `block:gone` on 6.1, was there on 5.10",
            ]
        );
        let told = explain_others(("5.10.0", &old), ("6.1.0", &new), &names(&["other"]));
        assert_eq!(told, ["`other` is `int other(long a)` on 6.1, was `int other(int a)`"]);
    }
}
