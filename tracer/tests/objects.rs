//! Anybody's objects on real kernels: which of their programs load and attach, and why the others don't.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kernlab_core::{
    dossier::Offered,
    facts::ProbeResult,
    object_record::{ObjectRecord, ProgramRecord, Step},
    outcome::Reason,
};
use kernlab_kernels::{Kernels, Silent};
use kernlab_libbpf::source::{self, Variant};
use kernlab_vmtest::{
    checkpoints::Checkpoints,
    lab::{Exit, Job, Limits},
    machine,
};
use rstest::rstest;

/// Compiles `fixtures/objects/NAME.bpf.c`.
fn object(name: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    source::copy(dir.path()).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/objects");
    let file = format!("{name}.bpf.c");
    fs::copy(fixtures.join(&file), dir.path().join(&file)).unwrap();
    fs::read(source::compile(dir.path(), name, Variant::RING_LAYOUT).unwrap()).unwrap()
}

/// Loads and attaches an object in a guest, without the kernel's type information if that is `hidden`.
fn record(kernel: &str, backend: &str, object: Vec<u8>, hidden: bool) -> ObjectRecord {
    let command = ["object", "--backend", backend, "--attach", "/tmp/it.o"];
    let job = tracer(&command).file("/tmp/it.o", 0o600, object);
    let job = if hidden { job.hide("/sys/kernel/btf") } else { job };
    serde_json::from_slice(&answer(kernel, &job)).unwrap()
}

fn tracer(arguments: &[&str]) -> Job {
    const MEGABYTES: u64 = 16 << 20;
    Job::new([&["/bin/kernlab-tracer"], arguments].concat())
        .timeout(Duration::from_secs(60))
        .limits(Limits { stdout: 64 << 10, stderr: 64 << 10, result: MEGABYTES })
}

/// What the tracer answers in a guest.
fn answer(kernel: &str, job: &Job) -> Vec<u8> {
    let programs = env::var_os("KERNLAB_GUEST")
        .map(PathBuf::from)
        .expect("KERNLAB_GUEST names the guest programs: run this by `cargo xtask test`");
    let kernels = Kernels::open().unwrap();
    let unpacked = kernels.prepare(kernels.entry(kernel).unwrap(), &Silent).unwrap();
    let store = kernels.store();
    // One of the objects has programs for a function of the workload.
    let names = ["kernlab-tracer", "kernlab-workload"];
    let bootable = machine::of_kernel(store, &unpacked, &programs, &names, &Silent).unwrap();
    let mut guest = Checkpoints::of(store).start(&bootable, false, &Silent).unwrap();
    let output = guest.run(job).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.exit, Exit::Code(0), "{stderr}");
    output.result
}

/// One line for the object if it could not be opened, and one for each program, by name.
fn sorted(record: &ObjectRecord) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::Done => "done".to_owned(),
        Step::Skipped(_) => "skipped".to_owned(),
        Step::Failed(error) => format!("{:?} {}", error.call, error.errno.unwrap_or(0)),
    };
    let program = |program: &ProgramRecord| {
        let reason = program.reason().map_or("fine".to_owned(), |reason| reason.to_string());
        let ProgramRecord { name, load, attach, lacking, .. } = program;
        let (load, attach) = (word(load), word(attach));
        format!("{name}: load {load}, attach {attach}: {reason} {lacking:?}")
    };
    let error = record.error.iter().map(ToString::to_string);
    let mut lines: Vec<_> = error.chain(record.programs.iter().map(program)).collect();
    lines.sort();
    lines
}

/// What is the same with both loaders and on every kernel.
#[rstest]
#[case::everywhere(
    "everywhere",
    &[
        "on_call: load done, attach done: fine []",
        "on_open: load done, attach done: fine []",
        "on_opened: load done, attach done: fine []",
        "on_packet: load done, attach skipped: fine []",
        "on_write: load done, attach done: fine []",
    ]
)]
#[case::typed(
    "typed",
    &[
        "on_entry: load done, attach done: fine []",
        "on_exit: load done, attach done: fine []",
        "on_function: load done, attach done: fine []",
        "on_permission: load done, attach done: fine []",
        "on_return: load done, attach done: fine []",
        "on_switch: load done, attach done: fine []",
        "on_task: load done, attach done: fine []",
    ]
)]
#[case::core("core", &["on_open: load done, attach done: fine []"])]
#[case::ring("ring", &["on_open: load done, attach done: fine []"])]
#[case::no_program("no_program", &["open: it has no program"])]
fn loaders_agree(
    #[values("debian-5.10", "debian-6.1")] kernel: &str,
    #[values("libbpf", "aya")] backend: &str,
    #[case] name: &str,
    #[case] expected: &[&str],
) {
    let record = record(kernel, backend, object(name), false);
    assert_eq!(sorted(&record), expected);
}

#[rstest]
#[case(
    "debian-5.10",
    "load ProgramLoad 22, attach skipped: helper-unavailable [\"helper bpf_loop\"]"
)]
#[case("debian-6.1", "load done, attach done: fine []")]
fn a_helper_that_a_kernel_lacks_is_named(
    #[case] kernel: &str,
    #[values("libbpf", "aya")] backend: &str,
    #[case] expected: &str,
) {
    let record = record(kernel, backend, object("newer"), false);
    let expected = [&format!("calls_loop: {expected}"), "simple: load done, attach done: fine []"];
    assert_eq!(sorted(&record), expected);
}

/// Aya has a number only for what the kernel refuses.
#[rstest]
#[case("libbpf", false, "FindTarget 3", "missing-symbol", "load done, attach done: fine")]
#[case("aya", false, "FindTarget 0", "missing-symbol", "load done, attach done: fine")]
#[case(
    "libbpf",
    true,
    "KernelBtf 3",
    "missing-btf",
    "load KernelBtf 3, attach skipped: missing-btf"
)]
#[case("aya", true, "KernelBtf 3", "missing-btf", "load KernelBtf 3, attach skipped: missing-btf")]
fn what_is_nowhere_hides_nothing_else(
    #[case] backend: &str,
    #[case] hidden: bool,
    #[case] call: &str,
    #[case] reason: &str,
    #[case] typed: &str,
) {
    let expected = [
        &format!("no_entry: load {call}, attach skipped: {reason} []"),
        "no_function: load done, attach PerfEventOpen 2: missing-symbol []",
        "no_raw_tracepoint: load done, attach RawTracepointOpen 2: missing-symbol []",
        "no_tracepoint: load done, attach Loader 2: missing-symbol []",
        "somewhere: load done, attach done: fine []",
        &format!("typed: {typed} []"),
    ];
    assert_eq!(sorted(&record("debian-6.1", backend, object("nowhere"), hidden)), expected);
}

#[rstest]
#[case(
    "libbpf",
    &[
        "known: load done, attach done: fine []",
        "unknown: load Loader 22, attach skipped: load-failed []",
    ]
)]
#[case(
    "aya",
    &["open: error parsing BPF object: invalid program section `elsewhere/vfs_open`"]
)]
fn a_section_that_a_loader_does_not_know_is_reported(
    #[case] backend: &str,
    #[case] expected: &[&str],
) {
    let record = record("debian-6.1", backend, object("unknown_type"), false);
    assert_eq!(sorted(&record), expected);
}

#[rstest]
fn what_is_no_object_is_reported(
    #[values("libbpf", "aya")] backend: &str,
    #[values(0, 100, 400)] kept: usize,
) {
    let mut bytes = object("everywhere");
    bytes.truncate(kept);
    let record = record("debian-6.1", backend, bytes, false);
    let error = record.error.as_ref().unwrap();
    assert!(error.to_string().starts_with("open: not a BPF object"), "{error}");
    assert_eq!(record.programs, []);
}

/// libbpf refuses to load what it can't relocate, and Aya loads it as it is.
#[rstest]
#[case("libbpf", false)]
#[case("aya", true)]
fn relocations_that_are_not_made_are_reported(#[case] backend: &str, #[case] unrelocated: bool) {
    let of = |hidden| record("debian-6.1", backend, object("core"), hidden);
    assert_eq!((of(false).unrelocated, of(false).reason()), (false, None));
    let hidden = of(true);
    assert_eq!((hidden.unrelocated, hidden.reason()), (unrelocated, Some(Reason::MissingBtf)));
}

#[rstest]
fn programs_are_measured(
    #[values("debian-5.10", "debian-6.1")] kernel: &str,
    #[values("libbpf", "aya")] backend: &str,
) {
    let record = record(kernel, backend, object("too_complex"), false);
    let expected = [
        "endless: load ProgramLoad 7, attach skipped: verifier-rejected []",
        "loops: load done, attach done: fine []",
        "simple: load done, attach done: fine []",
    ];
    assert_eq!(sorted(&record), expected);
    let counted: BTreeMap<_, _> = record
        .programs
        .iter()
        .map(|program| (program.name.as_str(), program.verified_instructions))
        .collect();
    assert_eq!(counted["endless"], Some(1_000_001));
    assert_eq!(counted["simple"], Some(2));
    assert!(record.programs.iter().all(|program| program.load_us.is_some()));
    let endless = record.programs.iter().find(|program| program.name == "endless").unwrap();
    let log = endless.verifier_log.as_deref().unwrap();
    assert!(log.contains("BPF program is too large. Processed 1000001 insn"), "{log}");
}

#[rstest]
#[case("debian-5.10", "everywhere", true)]
#[case("debian-5.10", "newer", false)]
#[case("debian-6.1", "newer", true)]
fn libbpf_loads_all_programs_together_as_well(
    #[case] kernel: &str,
    #[case] name: &str,
    #[case] loads: bool,
) {
    let record = record(kernel, "libbpf", object(name), false);
    assert_eq!(record.together == Some(Step::Done), loads, "{:?}", record.together);
}

#[rstest]
fn nothing_is_attached_unasked(#[values("libbpf", "aya")] backend: &str) {
    let job = tracer(&["object", "--backend", backend, "/tmp/it.o"]);
    let job = job.file("/tmp/it.o", 0o600, object("everywhere"));
    let record: ObjectRecord = serde_json::from_slice(&answer("debian-6.1", &job)).unwrap();
    assert_eq!(record.programs.len(), 5);
    for ProgramRecord { name, load, attach, .. } in &record.programs {
        assert_eq!(*load, Step::Done, "{name}");
        assert!(matches!(attach, Step::Skipped(_)), "{name}: {attach:?}");
    }
}

/// Aya creates maps when it opens an object.
#[rstest]
#[case(
    "debian-5.10",
    "libbpf",
    "remembers: load MapCreate 22, attach skipped: helper-unavailable [\"map type bloom_filter\"]"
)]
#[case(
    "debian-5.10",
    "aya",
    "BPF_MAP_CREATE: map error: failed to create map `seen`: Invalid argument (os error 22)"
)]
#[case("debian-6.1", "libbpf", "remembers: load done, attach done: fine []")]
#[case("debian-6.1", "aya", "remembers: load done, attach done: fine []")]
fn a_map_type_that_a_kernel_lacks_is_named(
    #[case] kernel: &str,
    #[case] backend: &str,
    #[case] expected: &str,
) {
    assert_eq!(sorted(&record(kernel, backend, object("newer_map"), false)), [expected]);
}

/// A refusal for another cause is no lack of a helper that the program calls.
#[rstest]
fn what_the_verifier_refuses_is_not_lacking(#[values("libbpf", "aya")] backend: &str) {
    let record = record("debian-5.10", backend, object("refused"), false);
    let refused = "load ProgramLoad 22, attach skipped";
    let expected = [
        format!(
            "asks_the_time: {refused}: helper-unavailable [\"helper bpf_ktime_get_coarse_ns\"]"
        ),
        format!("returns_two: {refused}: verifier-rejected []"),
    ];
    assert_eq!(sorted(&record), expected);
}

/// Aya 0.14 does not know the section.
#[rstest]
#[case(
    "debian-5.10",
    "load ProgramLoad 22, attach skipped: helper-unavailable [\"program type syscall\"]"
)]
#[case("debian-6.1", "load done, attach skipped: fine []")]
fn a_program_type_that_a_kernel_lacks_is_named(#[case] kernel: &str, #[case] expected: &str) {
    let record = record(kernel, "libbpf", object("system_call"), false);
    assert_eq!(sorted(&record), [format!("does_nothing: {expected}")]);
}

#[rstest]
#[case("debian-5.10", ProbeResult::No, &["bloom_filter", "user_ringbuf"])]
#[case("debian-6.1", ProbeResult::Yes, &[])]
fn what_a_kernel_offers_is_tried(
    #[case] kernel: &str,
    #[case] newer: ProbeResult,
    #[case] maps: &[&str],
) {
    let offered = answer(kernel, &tracer(&["offers"]));
    let offered: Offered = serde_json::from_slice(&offered).unwrap();
    assert_eq!(offered.helper("kprobe", "loop"), Some(newer));
    assert_eq!(offered.helper("kprobe", "get_current_comm"), Some(ProbeResult::Yes));
    assert_eq!(offered.helper("xdp", "get_current_comm"), Some(ProbeResult::No));
    assert!(offered.tracepoints.contains("sched:sched_switch"));
    let refused = |all: &BTreeMap<String, ProbeResult>| -> Vec<String> {
        let refused = all.iter().filter(|(_, answer)| **answer != ProbeResult::Yes);
        refused.map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(refused(&offered.maps), maps);
    // Debian's kernels for virtual machines have no infrared receivers.
    assert_eq!(refused(&offered.program_types), ["lirc_mode2"]);
    assert!(offered.maps.len() > 20 && offered.program_types.len() > 20);
}
