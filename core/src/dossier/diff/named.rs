//! What kernels have otherwise of what a tracer names. Of a tracer that is not one of the lab's
//! own, only the names in its output and those of its BPF objects are known.

use std::collections::BTreeSet;

use super::{
    Change, Difference, FENTRY,
    explain::{Release, Span, sentences},
};
use crate::{
    dossier::{Dossier, SymbolState},
    facts::ProbeResult,
    tracer::{wanted_symbols, wanted_tracepoints},
};

/// What changed from one kernel to another of all that has one of these names, and whether the
/// kernels have type information; one sentence each, without an order.
pub fn explain_named(old: &Dossier, new: &Dossier, names: &BTreeSet<String>) -> Vec<String> {
    let difference = Difference::between(old, new);
    let span = Span { old: Release::of(&old.release), new: Release::of(&new.release) };
    let mut found = BTreeSet::new();
    for change in &difference.general {
        if let Change::Feature { feature, old, new } = change
            && (feature == "BTF"
                || names.contains(last_word(feature))
                || feature == FENTRY && attaches_by_btf(names))
        {
            found.insert(format!("{feature}: {new} {span}, {old} on {}", span.old));
        }
    }
    for change in difference.tracers.values().flatten().filter(|change| is_named(change, names)) {
        found.extend(sentences(change, &span).into_iter().map(|(_, sentence)| sentence));
    }
    found.into_iter().collect()
}

/// What a kernel lacks of all that has one of these names, and whether it lacks type information.
pub fn lacking(dossier: &Dossier, names: &BTreeSet<String>) -> Vec<String> {
    let mut lacking = Vec::new();
    if dossier.types.is_none() {
        lacking.push("no BTF".to_owned());
    }
    let features = &dossier.features;
    if features.fentry == Some(ProbeResult::No) && attaches_by_btf(names) {
        lacking.push(format!("no {FENTRY}"));
    }
    for (name, probe) in &features.maps {
        if *probe == ProbeResult::No && names.contains(name) {
            lacking.push(format!("no map type `{name}`"));
        }
    }
    for (name, probe) in &features.helpers {
        if *probe == ProbeResult::No && names.contains(&format!("bpf_{name}")) {
            lacking.push(format!("no helper `bpf_{name}` for kprobe programs"));
        }
    }
    let symbols: BTreeSet<_> =
        wanted_symbols(dossier.arch()).filter(|name| names.contains(*name)).collect();
    for name in symbols {
        match dossier.symbol(name) {
            SymbolState::Present => {}
            SymbolState::Absent => lacking.push(format!("no function or variable `{name}`")),
            state => lacking.push(format!("`{name}`: {state}")),
        }
    }
    let tracepoints: BTreeSet<_> = wanted_tracepoints()
        .filter(|name| names.contains(*name) && !dossier.tracepoints.contains_key(*name))
        .collect();
    lacking.extend(tracepoints.into_iter().map(|name| format!("no tracepoint `{name}`")));
    for (option, value) in dossier.config.iter().flatten() {
        if value == "n" && names.contains(option) {
            lacking.push(format!("built without {option}"));
        }
    }
    lacking
}

/// Whether a tracer with these names has programs that are attached to functions by their BTF: the kinds of
/// their sections, and the words of bpftrace. (Their type, `tracing`, is also that of other programs.)
pub fn attaches_by_btf(names: &BTreeSet<String>) -> bool {
    let words = ["fentry", "fexit", "fmod_ret", "lsm", "kfunc", "kretfunc"];
    words.into_iter().any(|word| names.contains(word))
}

/// `ringbuf` of `map type ringbuf`.
fn last_word(feature: &str) -> &str {
    feature.rsplit(' ').next().unwrap_or(feature)
}

fn is_named(change: &Change, names: &BTreeSet<String>) -> bool {
    match change {
        Change::Plan { .. } | Change::Size { .. } | Change::Feature { .. } => false,
        Change::Symbol { symbol, .. } => names.contains(symbol),
        Change::Prototype { function, .. } => names.contains(function),
        Change::Field { field, .. } => {
            field.split_once('.').is_some_and(|(_, field)| names.contains(field))
        }
        Change::Tracepoints { tracepoints, .. } => {
            tracepoints.iter().any(|name| names.contains(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn dossier(json: &[u8]) -> Dossier {
        Dossier::from_json(json).unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_named_is_told() {
        let older = dossier(include_bytes!("../../../tests/dossiers/debian-6.18.json"));
        let newer = dossier(include_bytes!("../../../tests/dossiers/debian-6.19.json"));
        let told = explain_named(&older, &newer, &names(&["vfs_create", "no_such_function"]));
        assert_eq!(
            told,
            [
                "`vfs_create` takes the dentry as 2nd argument from 6.19, was 3rd",
                "`vfs_create` takes the mode as 3rd argument from 6.19, was 4th",
            ]
        );
        assert_eq!(explain_named(&older, &newer, &names(&[])), [""; 0]);
    }

    #[rstest]
    #[case::section("fexit", true)]
    #[case::bpftrace("kfunc", true)]
    #[case::kprobes("kprobe", false)]
    #[case::a_tracepoint_by_btf("tracing", false)]
    fn fentry_is_told_to_those_who_use_it(#[case] word: &str, #[case] is_told: bool) {
        let new = dossier(include_bytes!("../../../tests/dossiers/debian-6.1.json"));
        let mut old = new.clone();
        old.features.fentry = Some(ProbeResult::No);
        assert_eq!(new.features.fentry, Some(ProbeResult::Yes));
        let named = names(&[word]);
        let expected = |sentence: &str| if is_told { vec![sentence.to_owned()] } else { vec![] };
        assert_eq!(lacking(&old, &named), expected("no fentry, fexit"));
        assert_eq!(lacking(&new, &named), [""; 0]);
        let told = explain_named(&old, &new, &named);
        assert_eq!(told, expected("fentry, fexit: yes on 6.1, no on 6.1"));
    }

    #[test]
    fn what_a_kernel_lacks_is_told() {
        let old = dossier(include_bytes!("../../../tests/dossiers/vanilla-4.18.json"));
        let new = dossier(include_bytes!("../../../tests/dossiers/debian-6.18.json"));
        let named = names(&["ringbuf", "bpf_probe_read_kernel", "hash"]);
        let expected = [
            "no BTF",
            "no map type `ringbuf`",
            "no helper `bpf_probe_read_kernel` for kprobe programs",
        ];
        assert_eq!(lacking(&old, &named), expected);
        assert_eq!(lacking(&new, &named), [""; 0]);
        let told = explain_named(&old, &new, &named);
        assert!(told.contains(&"map type ringbuf: yes on 6.18, no on 4.18".to_owned()), "{told:?}");
    }
}
