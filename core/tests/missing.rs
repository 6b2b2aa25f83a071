//! What kernels lack of what objects need.

use std::{collections::BTreeSet, fs};

use kernlab_core::{
    btf::Listing,
    dossier::{
        Dossier, Offered,
        diff::Whole,
        missing::{KnownKernel, Need, State, missing, needed},
    },
    facts::ProbeResult,
    needs::{Needs, ProgramNeeds, embedded_objects},
    section::{Place, Section},
};
use rstest::rstest;

fn dossier(id: &str) -> Dossier {
    let path = format!("{}/tests/dossiers/{id}.json", env!("CARGO_MANIFEST_DIR"));
    Dossier::from_json(&fs::read(path).unwrap()).unwrap()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A kernel with a little of everything.
fn whole() -> Whole {
    let lines = ["64 bytes", "8 int exit_signal", "16 struct list_head *tasks"].map(str::to_owned);
    let answers = |all: &[(&str, ProbeResult)]| {
        all.iter().map(|&(name, result)| (name.to_owned(), result)).collect()
    };
    let trials = [("loop", ProbeResult::No), ("redirect", ProbeResult::Yes)];
    Whole {
        types: Some(Listing {
            functions: [("do_unlinkat".to_owned(), names(&["int do_unlinkat(int dfd)"]))].into(),
            structures: [("task_struct".to_owned(), [lines.to_vec()].into())].into(),
        }),
        function_names: names(&["do_unlinkat", "nfs_read", "merged.isra", "__x64_sys_getcwd"]),
        offered: Offered {
            helpers: [("xdp".to_owned(), answers(&trials))].into(),
            maps: answers(&[("queue", ProbeResult::Yes), ("arena", ProbeResult::CouldNotTell(1))]),
            program_types: answers(&[("xdp", ProbeResult::Yes), ("netfilter", ProbeResult::No)]),
            tracepoints: names(&["sched:sched_switch", "raw_syscalls:sys_enter"]),
        },
    }
}

/// What a section's program needs of this kernel, of which everything is known.
#[rstest]
#[case("kprobe/do_unlinkat", "present: int do_unlinkat(int dfd)")]
#[case("kprobe/nfs_read+0x10", "present")]
#[case("kprobe/filename_unlinkat", "missing: there is no such function")]
#[case("kretprobe/merged", "missing: only as merged.isra")]
#[case("kprobe.multi/vfs_*", "unknown: patterns are not looked up")]
#[case("ksyscall/getcwd", "present")]
#[case("ksyscall/openat3", "missing: there is no such function")]
#[case("fentry/do_unlinkat", "present: int do_unlinkat(int dfd)")]
#[case("fexit/nfs_read", "missing: BTF does not describe it")]
#[case("lsm/file_open", "missing: BTF does not describe it")]
#[case("iter/task", "missing: BTF does not describe it")]
#[case("tp/sched/sched_switch", "present")]
#[case("tp/sched/sched_swap", "missing: there is no such tracepoint")]
#[case("tracepoint/syscalls/sys_enter_write", "present")]
#[case("raw_tp/sys_enter", "present")]
#[case("tp_btf/sched_swap", "missing: there is no such tracepoint")]
#[case("tp_btf/pelt_se_tp", "unknown: its dossier tells of no such tracepoint")]
#[case("uprobe//bin/bash:readline", "present")]
fn places_are_looked_up(#[case] section: &str, #[case] expected: &str) {
    let (dossier, whole) = (dossier("debian-6.1"), whole());
    let place = Section::of(section).unwrap().place.unwrap();
    let state = KnownKernel { dossier: &dossier, whole: Some(&whole) }.state(&Need::Place(place));
    assert_eq!(state.to_string(), expected);
}

/// Where it was tried to attach a program to a function by its type.
#[rstest]
#[case(
    "fentry/do_unlinkat",
    Some(ProbeResult::No),
    "missing: the kernel can't attach such programs"
)]
#[case("fentry/do_unlinkat", None, "unknown: whether it can be attached was not tried")]
#[case(
    "fentry/do_unlinkat",
    Some(ProbeResult::CouldNotTell(1)),
    "unknown: whether such programs can be attached is not known: the trial failed (errno 1)"
)]
#[case("fexit/nfs_read", Some(ProbeResult::No), "missing: BTF does not describe it")]
#[case("kprobe/do_unlinkat", Some(ProbeResult::No), "present: int do_unlinkat(int dfd)")]
#[case("tp_btf/sched_switch", Some(ProbeResult::No), "present")]
fn programs_by_type_have_to_be_attached_too(
    #[case] section: &str,
    #[case] fentry: Option<ProbeResult>,
    #[case] expected: &str,
) {
    let whole = whole();
    let place = Section::of(section).unwrap().place.unwrap();
    let mut dossier = dossier("debian-6.1");
    dossier.features.fentry = fentry;
    let state = KnownKernel { dossier: &dossier, whole: Some(&whole) }.state(&Need::Place(place));
    assert_eq!(state.to_string(), expected);
}

fn helper(helper: &str, program_type: &str) -> Need {
    Need::Helper { helper: helper.to_owned(), program_type: program_type.to_owned() }
}

fn field(structure: &str, field: &str) -> Need {
    let (structure, field) = (structure.to_owned(), field.to_owned());
    Need::Field { structure, field, optional: false }
}

/// Of some kernels, with what a dossier alone tells, and with everything.
#[rstest]
#[case("debian-5.10", helper("loop", "kprobe"), "missing: the kernel does not know it", None)]
#[case("debian-6.1", helper("loop", "kprobe"), "present", None)]
#[case("debian-6.1", helper("loop", "tracing"), "present", None)]
#[case(
    "debian-6.1",
    helper("loop", "xdp"),
    "unknown: its dossier tells of no such helper",
    Some("missing: the kernel does not know it")
)]
#[case(
    "vanilla-4.18",
    helper("probe_read_kernel", "kprobe"),
    "present: replaced by bpf_probe_read",
    None
)]
#[case("vanilla-4.18", Need::MapType("ringbuf".to_owned()), "missing: the kernel does not know it", None)]
#[case("debian-5.10", Need::MapType("ringbuf".to_owned()), "present", None)]
#[case(
    "debian-5.10",
    Need::MapType("queue".to_owned()),
    "unknown: its dossier tells of no such map type",
    Some("present")
)]
#[case(
    "debian-5.10",
    Need::MapType("arena".to_owned()),
    "unknown: its dossier tells of no such map type",
    Some("unknown: could not tell (errno 1)")
)]
#[case("debian-5.10", Need::Btf, "present", None)]
#[case("vanilla-5.4-nobtf", Need::Btf, "missing: the object's relocations need it", None)]
#[case("vanilla-5.4-nobtf", field("file", "f_mode"), "missing: the kernel has no BTF", None)]
#[case(
    "debian-6.1",
    field("task_struct", "exit_signal"),
    "unknown: its dossier tells of no such field",
    Some("present: at 8, int")
)]
#[case(
    "debian-6.1",
    field("task_struct", "bytes"),
    "unknown: its dossier tells of no such field",
    Some("missing: there is no such field")
)]
#[case(
    "debian-6.1",
    field("nothing", "at_all"),
    "unknown: its dossier tells of no such field",
    Some("missing: there is no such structure")
)]
#[case(
    "debian-6.1",
    Need::ProgramType("netfilter".to_owned()),
    "unknown: its dossier tells of no such program type",
    Some("missing: the kernel does not know it")
)]
#[case("vanilla-4.18", Need::ProgramType("lsm".to_owned()), "missing: the kernel has no BTF", None)]
#[case("debian-6.1", Need::Function("vfs_read".to_owned()), "present: ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)", Some("missing: there is no such function"))]
#[case(
    "debian-6.1",
    Need::Function("gone".to_owned()),
    "unknown: its dossier tells of no such function",
    Some("missing: there is no such function")
)]
fn needs_are_answered(
    #[case] kernel: &str,
    #[case] need: Need,
    #[case] by_dossier: &str,
    #[case] by_all: Option<&str>,
) {
    let (dossier, whole) = (dossier(kernel), whole());
    let state = |whole| KnownKernel { dossier: &dossier, whole }.state(&need).to_string();
    assert_eq!(state(None), by_dossier);
    assert_eq!(state(Some(&whole)), by_all.unwrap_or(by_dossier));
}

fn needs() -> Needs {
    let program = |name: &str, section: &str, helpers: &[&str]| ProgramNeeds {
        name: name.to_owned(),
        section: section.to_owned(),
        helpers: names(helpers),
    };
    Needs {
        helpers: names(&["loop", "redirect"]),
        maps: names(&["queue"]),
        fields: [("task_struct".to_owned(), names(&["exit_signal", "state", "__state"]))].into(),
        optional_fields: [("task_struct".to_owned(), names(&["__state"]))].into(),
        programs: vec![
            program("packet", "xdp", &["loop", "redirect"]),
            program("unlinked", "kprobe/do_unlinkat", &[]),
            program("renamed", "kprobe/filename_renameat2", &[]),
            program("nobody_knows", "elsewhere/here", &["redirect"]),
        ],
    }
}

#[test]
fn what_is_missing_is_told_with_the_programs_that_need_it() {
    let (dossier, whole) = (dossier("debian-6.1"), whole());
    let missing = missing(&needs(), KnownKernel { dossier: &dossier, whole: Some(&whole) });
    let lines: Vec<_> = missing
        .iter()
        .map(|missing| format!("{} ({:?}): {}", missing.need, missing.programs, missing.why))
        .collect();
    assert_eq!(
        lines,
        [
            "kprobe filename_renameat2 ({\"renamed\"}): there is no such function",
            "helper bpf_loop in xdp programs ({\"packet\"}): the kernel does not know it",
            "field task_struct.state ({}): there is no such field",
        ]
    );
}

#[test]
fn a_kernel_without_btf_lacks_what_relocations_need() {
    let dossier = dossier("vanilla-5.15-nobtf");
    let missing = missing(&needs(), KnownKernel { dossier: &dossier, whole: None });
    assert!(missing.iter().any(|missing| missing.need == Need::Btf));
}

#[test]
fn needs_are_listed_once_with_all_programs() {
    let all = needed(&needs());
    assert_eq!(all[&Need::ProgramType("kprobe".to_owned())], names(&["renamed", "unlinked"]));
    let place = Place::Kprobe("do_unlinkat".to_owned());
    assert_eq!(all[&Need::Place(place)], names(&["unlinked"]));
    assert_eq!(all[&Need::MapType("queue".to_owned())], names(&[]));
}

#[test]
fn states_are_told_apart_in_json() {
    let missing = serde_json::to_value(State::Missing("gone".to_owned())).unwrap();
    assert_eq!(missing, serde_json::json!({"state": "missing", "detail": "gone"}));
}

#[test]
fn files_without_an_object_have_none() {
    let this_test = fs::read(std::env::current_exe().unwrap()).unwrap();
    // This file's own text of a header is none.
    assert_eq!(embedded_objects(&this_test), []);
    assert_eq!(embedded_objects(b""), []);
    assert_eq!(embedded_objects(b"\x7fELF\x02\x01\x01"), []);
}
