//! Conditions that hold on one kernel and on none of others, for an expectation of a suite that fails
//! there and passes on them.

use std::collections::BTreeSet;

use kernlab_core::{
    config::OPTIONS,
    dossier::{diff::attaches_by_btf, missing::KnownKernel},
    tracer::{wanted_symbols, wanted_tracepoints},
};

use super::feature::FeatureCondition;

/// How many conditions are offered.
const MOST: usize = 3;

/// Conditions that separate a kernel from all others: those on something that the tracer names; if there
/// is none, those on anything, which may separate them by chance. None without other kernels.
pub fn separating(
    names: &BTreeSet<String>,
    kernel: KnownKernel<'_>,
    others: &[KnownKernel<'_>],
) -> Separation {
    let of = |features: BTreeSet<String>| {
        let conditions = features.into_iter().filter_map(|feature| {
            [feature.clone(), format!("!{feature}")]
                .into_iter()
                .find(|text| separates(text, kernel, others))
        });
        conditions.take(MOST).collect::<Vec<_>>()
    };
    if others.is_empty() {
        return Separation::default();
    }
    let named = of(features_named(names, kernel, others));
    match named.is_empty() {
        true => Separation { conditions: of(all_features(kernel)), by_chance: true },
        false => Separation { conditions: named, by_chance: false },
    }
}

/// What separates a kernel from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Separation {
    /// As `when` of an expectation takes them.
    pub conditions: Vec<String>,
    /// Whether they are about nothing that the tracer names.
    pub by_chance: bool,
}

fn separates(text: &str, kernel: KnownKernel<'_>, others: &[KnownKernel<'_>]) -> bool {
    let Ok(condition) = FeatureCondition::parse(text) else { return false };
    condition.holds(kernel) == Ok(true)
        && others.iter().all(|other| condition.holds(*other) == Ok(false))
}

fn features_named(
    names: &BTreeSet<String>,
    kernel: KnownKernel<'_>,
    others: &[KnownKernel<'_>],
) -> BTreeSet<String> {
    let functions = |name: &str| {
        let kernels = [kernel].into_iter().chain(others.iter().copied());
        let mut wholes = kernels.filter_map(|kernel| kernel.whole);
        wholes.any(|whole| whole.function_names.contains(name))
            || wanted_symbols(kernel.dossier.arch()).any(|known| known == name)
    };
    let mut features: BTreeSet<String> = ["btf".to_owned()].into();
    if attaches_by_btf(names) {
        features.insert("fentry".to_owned());
    }
    for name in names {
        if functions(name) {
            features.insert(format!("symbol.{name}"));
        }
        if wanted_tracepoints().any(|known| known == name) {
            features.insert(format!("tracepoint.{name}"));
        }
        if let Some(helper) = name.strip_prefix("bpf_") {
            features.insert(format!("helper.{helper}"));
        }
        if let Some(option) = name.strip_prefix("CONFIG_") {
            features.insert(format!("config.{option}"));
        }
        features.insert(format!("map_type.{name}"));
    }
    features
}

fn all_features(kernel: KnownKernel<'_>) -> BTreeSet<String> {
    let features = &kernel.dossier.features;
    let helpers = features.helpers.keys().map(|name| format!("helper.{name}"));
    let maps = features.maps.keys().map(|name| format!("map_type.{name}"));
    let options = OPTIONS.iter().map(|option| option.replacen("CONFIG_", "config.", 1));
    helpers.chain(maps).chain(options).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use kernlab_core::dossier::{Dossier, diff::Whole};

    use super::*;

    fn dossier(kernel: &str) -> Dossier {
        let dossiers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/dossiers");
        let json = fs::read(dossiers.join(format!("{kernel}.json"))).unwrap();
        Dossier::from_json(&json).unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_the_tracer_names_comes_first() {
        let (old, new) = (dossier("vanilla-4.18"), dossier("debian-6.18"));
        let whole = Whole { function_names: names(&["do_new"]), ..Whole::default() };
        let (none, with) = (Whole::default(), Some(&whole));
        let old = KnownKernel { dossier: &old, whole: Some(&none) };
        let new = KnownKernel { dossier: &new, whole: with };
        let found = separating(&names(&["ringbuf", "do_new", "no_such_thing"]), old, &[new]);
        let expected = ["!btf", "!map_type.ringbuf", "!symbol.do_new"].map(str::to_owned);
        assert_eq!(found, Separation { conditions: expected.into(), by_chance: false });
        let found = separating(&names(&["do_new"]), new, &[old]);
        assert_eq!(found.conditions, ["btf", "symbol.do_new"]);
    }

    #[test]
    fn anything_is_better_than_nothing() {
        let (old, new) = (dossier("debian-6.1"), dossier("debian-6.18"));
        let [old, new] = [&old, &new].map(|dossier| KnownKernel { dossier, whole: None });
        let found = separating(&names(&["vfs_open"]), old, &[new]);
        assert!(found.by_chance && !found.conditions.is_empty(), "{found:?}");
        for text in &found.conditions {
            let condition = FeatureCondition::parse(text).unwrap();
            assert_eq!((condition.holds(old), condition.holds(new)), (Ok(true), Ok(false)));
        }
        assert_eq!(separating(&names(&[]), old, &[old]).conditions, [""; 0]);
        assert_eq!(separating(&names(&[]), old, &[]), Separation::default());
    }
}
