//! Which function that is new is likely one that is gone, by another name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::Whole;

/// A function that is gone, and one that is new and may be the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// Its name in the old kernel.
    pub old: String,
    /// In the new one.
    pub new: String,
    /// How the new kernel declares it, if its BTF does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declaration: Option<String>,
    /// Whether both are declared with the same parameters and result; none if BTF doesn't tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_prototype: Option<bool>,
}

/// How similar names must be, from 0 to 1, of functions with the same prototype.
const SIMILAR: f64 = 0.45;

/// And of others.
const VERY_SIMILAR: f64 = 0.75;

/// Words in more names than this say nothing about a function.
const COMMON: usize = 200;

/// Pairs of functions each of which is most like the other.
pub(super) fn likely(old: &Whole, new: &Whole, gone: &[String], added: &[String]) -> Vec<Renamed> {
    let words = Words::of(gone.iter().chain(added));
    let mut with_word: HashMap<&str, Vec<&String>> = HashMap::new();
    for name in added {
        for word in words_of(name) {
            with_word.entry(word).or_default().push(name);
        }
    }
    let mut pairs: Vec<(f64, &String, &String, Option<bool>)> = Vec::new();
    // What rustc mangles has another name after every build, because its crate has.
    for old_name in gone.iter().filter(|name| !name.starts_with("_R")) {
        let rare = words_of(old_name).into_iter().filter(|word| words.count(word) <= COMMON);
        let candidates: BTreeSet<&String> =
            rare.filter_map(|word| with_word.get(word)).flatten().copied().collect();
        for new_name in candidates {
            let same = same_prototype(old, old_name, new, new_name);
            let similarity = words.similarity(old_name, new_name);
            let enough = if same == Some(true) { SIMILAR } else { VERY_SIMILAR };
            if similarity >= enough {
                let bonus = if same == Some(true) { 1.0 } else { 0.0 };
                pairs.push((similarity + bonus, old_name, new_name, same));
            }
        }
    }
    pairs.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(other.1)));
    let (mut taken_old, mut taken_new) = (BTreeSet::new(), BTreeSet::new());
    let mut renamed = Vec::new();
    for (_, old_name, new_name, same_prototype) in pairs {
        if taken_old.contains(old_name) || taken_new.contains(new_name) {
            continue;
        }
        taken_old.insert(old_name);
        taken_new.insert(new_name);
        let declaration = declarations(new, new_name).and_then(|all| all.first().cloned());
        let (old, new) = (old_name.clone(), new_name.clone());
        renamed.push(Renamed { old, new, declaration, same_prototype });
    }
    renamed.sort_by(|one, other| one.old.cmp(&other.old));
    renamed
}

fn declarations<'a>(kernel: &'a Whole, name: &str) -> Option<&'a BTreeSet<String>> {
    kernel.types.as_ref()?.functions.get(name)
}

fn same_prototype(old: &Whole, old_name: &str, new: &Whole, new_name: &str) -> Option<bool> {
    let of = |kernel, name: &str| -> Option<BTreeSet<String>> {
        let unnamed = format!(" {name}(");
        // A result that is a pointer has no blank before the name.
        let pointer = format!("*{name}(");
        let declarations = declarations(kernel, name)?.iter();
        Some(
            declarations.map(|line| line.replace(&unnamed, " (").replace(&pointer, "*(")).collect(),
        )
    };
    Some(of(old, old_name)? == of(new, new_name)?)
}

/// The words of a name, without what the compiler added.
fn words_of(name: &str) -> BTreeSet<&str> {
    let name = name.split_once('.').map_or(name, |(name, _)| name);
    name.split('_').filter(|word| !word.is_empty()).collect()
}

/// In how many names each word is.
struct Words<'a> {
    counts: BTreeMap<&'a str, usize>,
    names: usize,
}

impl<'a> Words<'a> {
    fn of(names: impl Iterator<Item = &'a String>) -> Self {
        let mut words = Words { counts: BTreeMap::new(), names: 0 };
        for name in names {
            words.names += 1;
            for word in words_of(name) {
                *words.counts.entry(word).or_default() += 1;
            }
        }
        words
    }

    fn count(&self, word: &str) -> usize {
        self.counts.get(word).copied().unwrap_or(0)
    }

    /// A rare word weighs more: sharing `init` means nothing.
    fn weight(&self, word: &str) -> f64 {
        ((self.names + 1) as f64 / self.count(word).max(1) as f64).ln()
    }

    /// The weight of the words that two names share, in proportion to that of all of both.
    fn similarity(&self, one: &str, other: &str) -> f64 {
        let (one, other) = (words_of(one), words_of(other));
        let sum = |words: &mut dyn Iterator<Item = &&str>| -> f64 {
            words.map(|word| self.weight(word)).sum()
        };
        let all = sum(&mut one.iter()) + sum(&mut other.iter());
        let shared = 2.0 * sum(&mut one.intersection(&other));
        if all > 0.0 { shared / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::btf::Listing;

    /// A kernel with these functions, declared with what follows the name; without parentheses, not.
    fn kernel(functions: &[&str]) -> Whole {
        let mut whole = Whole { types: Some(Listing::default()), ..Whole::default() };
        for function in functions {
            let name = function.split('(').next().unwrap().to_owned();
            if function.contains('(') {
                let declarations = [format!("int {function}")].into();
                whole.types.as_mut().unwrap().functions.insert(name.clone(), declarations);
            }
            whole.function_names.insert(name);
        }
        whole
    }

    /// Besides, many functions that say what they do in the same word.
    const OTHERS: [&str; 12] = [
        "a_init(void)",
        "b_init(void)",
        "c_init(void)",
        "d_init(void)",
        "e_init(void)",
        "f_init(void)",
        "do_a(int a)",
        "do_b(int a)",
        "do_c(int a)",
        "do_d(int a)",
        "do_e(int a)",
        "do_f(int a)",
    ];

    #[rstest]
    #[case::another_prefix(
        &["do_unlinkat(int dfd, struct filename *name)"],
        &["filename_unlinkat(int dfd, struct filename *name)", "vfs_other(int dfd)"],
        &["do_unlinkat -> filename_unlinkat Some(true)"]
    )]
    #[case::the_same_words_and_another_prototype(
        &["vfs_open_path(int a)"],
        &["__vfs_open_path(long a)"],
        &["vfs_open_path -> __vfs_open_path Some(false)"]
    )]
    #[case::a_copy_of_the_compiler(
        &["key_lookup(int a)"],
        &["key_lookup.isra"],
        &["key_lookup -> key_lookup.isra None"]
    )]
    #[case::another_prototype_and_another_name(
        &["do_unlinkat(int dfd)"],
        &["filename_unlinkat(long dfd)"],
        &[]
    )]
    #[case::mangled_by_rustc(&["_RNvMsB_Cs2lKf_4core"], &["_RNvMsB_Cs3abc_4core"], &[])]
    #[case::a_common_word(&["quota_init(void)"], &["socket_init(void)"], &[])]
    #[case::each_only_once(
        &["do_mkdirat(int a)", "do_mkdirat_locked(int a)"],
        &["filename_mkdirat(int a)"],
        &["do_mkdirat -> filename_mkdirat Some(true)"]
    )]
    fn likely_renames_are_linked(
        #[case] gone: &[&str],
        #[case] added: &[&str],
        #[case] expected: &[&str],
    ) {
        let (old, new) = (kernel(&[gone, &OTHERS].concat()), kernel(added));
        let of = |whole: &Whole| whole.function_names.iter().cloned().collect::<Vec<_>>();
        let renamed: Vec<_> = likely(&old, &new, &of(&old), &of(&new))
            .iter()
            .map(|found| format!("{} -> {} {:?}", found.old, found.new, found.same_prototype))
            .collect();
        assert_eq!(renamed, expected);
    }
}
