use std::{fs, path::Path};

use kernlab_core::dossier::{Dossier, diff::Whole};
use rstest::rstest;

use super::*;

fn kernel_of(dossier: &Dossier) -> KnownKernel<'_> {
    KnownKernel { dossier, whole: None }
}

/// A dossier of the test data, by the id of its kernel.
fn dossier(kernel: &str) -> Dossier {
    let dossiers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/dossiers");
    let json = fs::read(dossiers.join(format!("{kernel}.json"))).unwrap();
    Dossier::from_json(&json).unwrap()
}

#[rstest]
#[case("map_type.ringbuf", true, false)]
#[case("!map_type.ringbuf", false, true)]
#[case("helper.probe_read_kernel", true, false)]
#[case("btf", true, false)]
#[case("uprobes", true, true)]
#[case("fentry", true, false)]
#[case("not btf and not helper.ringbuf_output", false, true)]
#[case("symbol.vfs_open", true, true)]
#[case("tracepoint.sys_enter_openat", true, true)]
#[case("five_level_paging or (map_type.hash and !map_type.bloom_filter)", false, true)]
fn a_condition_is_about_features(#[case] text: &str, #[case] new: bool, #[case] old: bool) {
    let condition = FeatureCondition::parse(text).unwrap();
    assert_eq!(condition.holds(kernel_of(&dossier("debian-6.1"))), Ok(new));
    assert_eq!(condition.holds(kernel_of(&dossier("vanilla-5.4-nobtf"))), Ok(old));
}

#[test]
fn what_a_kernel_has_or_lacks_decides() {
    for has in [true, false] {
        let mut dossier = dossier("debian-6.1");
        dossier.features.uprobes = has;
        dossier.five_level_paging = has;
        for feature in ["uprobes", "five_level_paging"] {
            let condition = FeatureCondition::parse(feature).unwrap();
            assert_eq!(condition.holds(kernel_of(&dossier)), Ok(has), "{feature}");
        }
    }
}

#[rstest]
#[case("config.BPF_SYSCALL", true)]
#[case("config.CONFIG_BPF_EVENTS", true)]
#[case("config.HZ", true)]
#[case("config.PREEMPT_RT", false)]
fn an_option_is_on_unless_it_is_off(#[case] text: &str, #[case] expected: bool) {
    let condition = FeatureCondition::parse(text).unwrap();
    assert_eq!(condition.holds(kernel_of(&dossier("debian-6.1"))), Ok(expected));
}

#[test]
fn what_nobody_found_out_is_neither_true_nor_false() {
    let mut dossier = dossier("debian-6.1");
    dossier.features.maps.insert("ringbuf".to_owned(), ProbeResult::CouldNotTell(1));
    dossier.features.helpers.remove("loop");
    dossier.config = None;
    dossier.features.fentry = None;
    let unknown = |text: &str| {
        FeatureCondition::parse(text).unwrap().holds(kernel_of(&dossier)).unwrap_err().to_string()
    };
    let ringbuf = "nothing is known of `map_type.ringbuf` on this kernel: the trial failed for \
                   another reason (errno 1)";
    assert_eq!(unknown("map_type.ringbuf"), ringbuf);
    assert_eq!(unknown("!map_type.ringbuf"), ringbuf);
    assert_eq!(unknown("btf and map_type.ringbuf"), ringbuf);
    assert_eq!(unknown("!btf or map_type.ringbuf"), ringbuf);
    assert_eq!(
        unknown("helper.loop"),
        "nothing is known of `helper.loop` on this kernel: it was not tried when its dossier was taken"
    );
    assert_eq!(
        unknown("config.KEYS"),
        "nothing is known of `config.KEYS` on this kernel: its configuration is not available"
    );
    assert_eq!(
        unknown("fentry"),
        "nothing is known of `fentry` on this kernel: it was not tried when its dossier was taken"
    );
    let known = |text: &str| FeatureCondition::parse(text).unwrap().holds(kernel_of(&dossier));
    assert_eq!(known("map_type.ringbuf or btf"), Ok(true));
    assert_eq!(known("map_type.ringbuf and !btf"), Ok(false));
    dossier.symbols.clear();
    let condition = FeatureCondition::parse("symbol.vfs_open").unwrap();
    condition.holds(kernel_of(&dossier)).unwrap_err();
}

#[rstest]
#[case(
    "map_type.ringbuff",
    "dossiers do not cover `map_type.ringbuff`: did you mean `map_type.ringbuf`?"
)]
#[case("helper.bpf_loop", "dossiers do not cover `helper.bpf_loop`: did you mean `helper.loop`?")]
#[case(
    "map_type.RINGBUF",
    "dossiers do not cover `map_type.RINGBUF`: did you mean `map_type.ringbuf`?"
)]
#[case(
    "map_type.bpf_map_type_ringbuf",
    "dossiers do not cover `map_type.bpf_map_type_ringbuf`: did you mean `map_type.ringbuf`?"
)]
#[case(
    "config.bpf_syscall",
    "dossiers do not cover `config.bpf_syscall`: did you mean `config.BPF_SYSCALL`?"
)]
#[case(
    "config.BPF_SYSCAL",
    "dossiers do not cover `config.BPF_SYSCAL`: did you mean `config.BPF_SYSCALL`?"
)]
#[case("maptype.ringbuf", "unknown feature `maptype`: did you mean `map_type`?")]
#[case("version", "unknown feature `version`: expected `btf`, `uprobes`, `fentry`, ")]
#[case("helper", "expected a name after `helper`: `helper.NAME`, at ")]
#[case("btf >= 5", "expected `and`, `or` or the end, found `>=`, at character 5 of `btf >= 5`")]
#[case("5.4", "expected a feature such as `map_type.ringbuf`, `!` or `(`, found `5.4`, at ")]
fn errors_suggest_what_was_meant(#[case] text: &str, #[case] message: &str) {
    let error = FeatureCondition::parse(text).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
}

#[test]
fn any_function_of_a_kernel_can_be_named() {
    let dossier = dossier("debian-6.1");
    let names = ["do_exotic", "do_split.isra.0"].map(str::to_owned);
    let whole = Whole { function_names: names.into(), ..Whole::default() };
    let kernel = KnownKernel { dossier: &dossier, whole: Some(&whole) };
    let condition = |text| FeatureCondition::parse(text).unwrap();
    assert_eq!(condition("symbol.do_exotic").holds(kernel), Ok(true));
    assert_eq!(condition("symbol.do_exotic.isra.0").holds(kernel), Ok(false));
    assert_eq!(condition("symbol.do_split").holds(kernel), Ok(false), "only a part of it is left");
    // The dossier alone has this one.
    assert_eq!(condition("symbol.vfs_open").holds(kernel), Ok(true));
    let unknown = condition("symbol.do_exotic").holds(kernel_of(&dossier)).unwrap_err().to_string();
    assert!(unknown.starts_with("nothing is known of `symbol.do_exotic`"), "{unknown}");
    let named = condition("!symbol.do_exotic or symbol.vfs_open and btf");
    assert_eq!(named.other_functions(), ["do_exotic"]);
}

#[test]
fn what_conditions_name_is_what_is_said_to_be_unknown() {
    for text in ["map_type.hash", "helper.loop", "symbol.vfs_open", "config.KEYS", "btf", "fentry"]
    {
        assert_eq!(named(text).unwrap().to_string(), text);
    }
}
