//! Plans on real kernels, without booting them: `dossiers/` has what `cargo xtask kernels dossier ID
//! --trim core/tests/dossiers` wrote.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use kernlab_core::{
    cell::BackendKind,
    discovery::{FileAction, QUESTIONS},
    dossier::{
        Dossier, GivenTypes,
        availability::availabilities,
        dependencies_of,
        diff::{Difference, explain},
    },
    facts::Dependency,
    needs::{Needs, ObjectNeeds},
    plan::ProbePlan,
    scenario::Scenario,
    tracer::Tracer,
    tracer::{wanted_functions, wanted_symbols, wanted_tracepoints},
};
use rstest::rstest;

fn read(path: &Path) -> Dossier {
    Dossier::from_json(&fs::read(path).unwrap()).unwrap()
}

fn dossier(id: &str) -> Dossier {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dossiers");
    read(&dir.join(format!("{id}.json")))
}

fn id(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

const MODES: [(&str, GivenTypes<'_>); 2] =
    [("embedded", GivenTypes::Own), ("masked", GivenTypes::None)];

/// Whoever changes a plan sees here what that means on each kernel.
#[rstest]
fn every_scenario_is_decided_as_before(#[files("tests/dossiers/*.json")] path: PathBuf) {
    let dossier = read(&path);
    let mut text = String::new();
    for (mode, types) in MODES {
        writeln!(text, "{mode}").unwrap();
        for scenario in Scenario::ALL {
            writeln!(text, "  {scenario}: {}", dossier.predict(scenario, types)).unwrap();
        }
    }
    insta::assert_snapshot!(format!("decisions-{}", id(&path)), text);
}

/// What a plan asks about and a dossier doesn't cover would look as if it weren't there.
#[rstest]
fn a_dossier_has_whatever_plans_ask(#[files("tests/dossiers/*.json")] path: PathBuf) {
    let dossier = read(&path);
    for (tracer, dependencies) in dependencies_of(&dossier) {
        for dependency in dependencies {
            let covered = match &dependency {
                Dependency::Symbol(name) => {
                    wanted_symbols(dossier.arch()).any(|wanted| wanted == name)
                }
                Dependency::Tracepoint(name) => wanted_tracepoints().any(|wanted| wanted == name),
                Dependency::Prototype(name) => {
                    wanted_functions(dossier.arch()).any(|wanted| wanted == name)
                }
                Dependency::Field(structure, field) => {
                    dossier.types.as_ref().is_none_or(|types| types.covers_field(structure, field))
                }
            };
            assert!(
                covered,
                "{tracer} asks about {dependency:?}: add it to core/src/tracer/{tracer}.rs"
            );
        }
    }
}

/// What calls are searched for is among the arguments that are looked at, and each of those is one: beyond
/// them is whatever the caller left.
#[rstest]
fn a_search_looks_at_arguments_only(#[files("tests/dossiers/*.json")] path: PathBuf) {
    let dossier = read(&path);
    for question in &QUESTIONS {
        let Some(prototype) = dossier.prototype(question.function) else { continue };
        let (has, looked_at) = (prototype.parameters.len(), question.arguments);
        assert!(looked_at <= has, "{}: {prototype}", question.function);
        let wanted: &[&[&str]] = match question.action {
            FileAction::Rename => &[&["mask"], &["cookie"], &["name", "file_name"]],
            FileAction::Create | FileAction::Unlink => &[&["dentry"]],
        };
        for names in wanted {
            let (number, _) = prototype.position(names).unwrap();
            assert!(number as usize <= looked_at, "{}: {prototype}", question.function);
        }
    }
}

/// With BTF and by searching memory, programs are told the same offsets and arguments.
#[rstest]
fn discovery_and_btf_make_the_same_plan(#[files("tests/dossiers/*.json")] path: PathBuf) {
    let dossier = read(&path);
    if dossier.types.is_none() {
        return;
    }
    for scenario in Scenario::ALL {
        let (Some(with), Some(without)) =
            (planned(&dossier, scenario, MODES[0].1), planned(&dossier, scenario, MODES[1].1))
        else {
            continue;
        };
        // Where the dentry is, the program finds out for itself if the plan can't say; for that it
        // has more fields, and fewer where it needs none.
        if with.tracer.name() == "filelife" {
            continue;
        }
        assert_eq!(with.config, without.config, "{scenario}");
        assert_eq!(with.attach, without.attach, "{scenario}");
    }
}

fn planned(dossier: &Dossier, scenario: &Scenario, types: GivenTypes<'_>) -> Option<ProbePlan> {
    dossier.plan(scenario, types).0.ok()
}

/// The dentry of vfs_create and vfs_unlink among their arguments; `f_op` and `private_data` in struct
/// file; `files` in struct task_struct.
#[rstest]
#[case::of_5_4("vanilla-5.4", (2, 2), (40, 200), 1360)]
#[case::of_5_15("vanilla-5.15", (3, 3), (40, 200), 1520)]
#[case::of_6_18("debian-6.18", (3, 3), (8, 24), 3320)]
#[case::of_5_10("debian-5.10", (2, 2), (40, 200), 2808)]
#[case::of_6_1("debian-6.1", (3, 3), (40, 200), 3048)]
#[case::of_6_1_rt("debian-6.1-rt", (3, 3), (40, 264), 3112)]
#[case::of_6_12("debian-6.12", (3, 3), (16, 32), 3048)]
#[case::of_6_19("debian-6.19", (2, 3), (8, 24), 3320)]
#[case::of_7_3("debian-backports", (2, 3), (8, 24), 3488)]
fn plans_follow_what_changed_between_releases(
    #[case] id: &str,
    #[case] dentries: (u32, u32),
    #[case] file: (u32, u32),
    #[case] files: u32,
) {
    let dossier = dossier(id);
    let config =
        |id| planned(&dossier, Scenario::by_id(id).unwrap(), GivenTypes::Own).unwrap().config;
    let filelife = config("filelife/create_unlink");
    assert_eq!((filelife.create_dentry_argument, filelife.unlink_dentry_argument), dentries);
    let layout = config("socket_write/tcp4").layout;
    assert_eq!((layout.file_f_op, layout.file_private_data), file);
    assert_eq!(layout.task_struct_files, files);
}

/// A kernel without BTF has no mode but `absent`.
#[rstest]
#[case("vanilla-5.4-nobtf", "vanilla-5.15-nobtf", &["absent"])]
#[case("vanilla-5.4", "vanilla-5.15-nobtf", &["embedded -> absent", "masked -> absent"])]
#[case("vanilla-5.4-nobtf", "debian-6.1", &["absent -> embedded", "absent -> masked"])]
fn changed_plans_name_the_modes_that_the_kernels_have(
    #[case] old: &str,
    #[case] new: &str,
    #[case] expected: &[&str],
) {
    let text = Difference::between(&dossier(old), &dossier(new)).to_string();
    let label = |line: &str| {
        let (label, _) = line.trim().strip_prefix("planned otherwise (")?.split_once("):")?;
        Some(label.to_owned())
    };
    let labels: BTreeSet<String> = text.lines().filter_map(label).collect();
    assert!(!labels.is_empty(), "{text}");
    assert!(labels.iter().all(|label| expected.contains(&&**label)), "{labels:?}: {text}");
}

#[rstest]
#[case("vanilla-5.4", "debian-5.10")]
#[case("debian-5.10", "debian-6.1")]
#[case("debian-6.1", "debian-6.12")]
#[case("debian-6.12", "debian-backports")]
#[case("debian-6.1", "debian-6.1-rt")]
#[case("debian-6.1", "debian-6.1-arm64")]
fn what_changed_between_two_kernels(#[case] old: &str, #[case] new: &str) {
    let difference = Difference::between(&dossier(old), &dossier(new));
    insta::assert_snapshot!(format!("diff-{old}-{new}"), difference);
}

/// BTF in a file is believed as far as a search of memory agrees.
#[test]
fn a_file_of_another_kernel_is_refused() {
    let (ours, other) = (dossier("debian-6.1"), dossier("debian-6.12"));
    let scenario = Scenario::by_id("socket_write/tcp4").unwrap();
    let with = |file: &Dossier| {
        let types = file.types.clone().unwrap();
        ours.predict(scenario, GivenTypes::File(&types)).to_string()
    };
    assert!(with(&ours).ends_with("layout external)"), "{}", with(&ours));
    assert!(with(&other).starts_with("unsupported (foreign-btf): "), "{}", with(&other));
}

/// Without BTF the arguments come from calls that were watched.
#[rstest]
#[case::of_4_18("vanilla-4.18", "inotify_handle_event", (3, 6, 7))]
#[case::of_5_4("vanilla-5.4-nobtf", "inotify_handle_event", (3, 6, 7))]
#[case::of_5_15("vanilla-5.15-nobtf", "inotify_handle_inode_event", (2, 5, 6))]
fn kernels_without_btf_are_planned_for_by_what_a_search_found(
    #[case] id: &str,
    #[case] handler: &str,
    #[case] arguments: (u32, u32, u32),
) {
    let inotify = Scenario::by_id("inotify/rename_same_dir").unwrap();
    let plan = planned(&dossier(id), inotify, GivenTypes::Own).unwrap();
    assert_eq!(plan.attach[0].target.to_string(), format!("kprobe {handler}"));
    let config = plan.config;
    assert_eq!((config.mask_argument, config.name_argument, config.cookie_argument), arguments);
}

#[test]
fn a_kernel_does_not_differ_from_itself() {
    let dossier = dossier("debian-6.12");
    let difference = Difference::between(&dossier, &dossier);
    assert!(difference.tracers.is_empty() && difference.general.is_empty(), "{difference}");
}

#[test]
fn a_dossier_of_another_schema_is_refused() {
    let json = serde_json::json!({"schema": 2, "anything": []}).to_string();
    let error = Dossier::from_json(json.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "a dossier of schema 2, expected 1");
    assert_eq!(Dossier::from_json(b"{}").unwrap_err().to_string(), "not a dossier");
}

/// What `cargo xtask deps` shows, for objects that need one thing of each kind.
#[test]
fn kernels_stand_to_what_tracers_depend_on() {
    let needs = |helper: &str, map: &str, fields: &[(&str, &str)]| Needs {
        helpers: [helper.to_owned()].into(),
        maps: [map.to_owned()].into(),
        fields: fields
            .iter()
            .map(|&(structure, field)| (structure.to_owned(), [field.to_owned()].into()))
            .collect(),
        ..Needs::default()
    };
    let filelife = Tracer::by_name("filelife").unwrap();
    let object = |backend, variant: &str, needs| ObjectNeeds {
        backend,
        tracer: filelife,
        variant: variant.to_owned(),
        needs,
    };
    let objects = [
        object(
            BackendKind::Libbpf,
            "ring.core",
            needs("loop", "bloom_filter", &[("file", "f_mode"), ("file", "nowhere")]),
        ),
        object(BackendKind::Libbpf, "ring.layout", needs("loop", "ringbuf", &[])),
        object(BackendKind::Aya, "ring", needs("#77", "ringbuf", &[])),
    ];
    let dossiers = ["debian-5.10", "debian-6.1-rt", "debian-6.19"].map(|id| (id, dossier(id)));
    let kernels = dossiers.iter().map(|(id, dossier)| (*id, dossier)).collect();
    let all = availabilities(&kernels, &objects);
    let text: String = all[&filelife].iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text);
}

/// Sentences are about what the scenario itself depends on.
#[test]
fn a_changed_signature_explains_what_it_breaks() {
    let (old, new) = (dossier("debian-6.18"), dossier("debian-6.19"));
    let explained = |scenario| {
        let scenario = Scenario::by_id(scenario).unwrap();
        let changes = explain(&old, &new, scenario).into_iter().map(|(_, change)| change);
        format!("{scenario}\n{}\n", changes.collect::<Vec<_>>().join("\n"))
    };
    let scenarios = ["filelife/create_unlink", "sys_write/threads", "user_args/eight_ints"];
    insta::assert_snapshot!(scenarios.map(explained).concat(), @r"
    filelife/create_unlink
    `vfs_create` takes the dentry as 2nd argument from 6.19, was 3rd
    `vfs_create` takes the mode as 3rd argument from 6.19, was 4th
    `vfs_unlink` is `int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct delegated_inode *delegated_inode)` from 6.19, was `int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)`
    sys_write/threads
    tracepoint `sys_enter_write` has other fields on 6.19 than on 6.18
    user_args/eight_ints
    ");
}
