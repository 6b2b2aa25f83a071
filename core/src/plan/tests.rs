use std::collections::BTreeSet;

use kernlab_abi::{NAME_IS_QSTR, NAME_IS_STRING};
use rstest::rstest;

use super::*;
use crate::{
    btf::{Btf, Types, sample::Builder},
    discovery::Discovered,
    facts::{ProbeResult, QueryLog},
};

pub(super) fn facts(symbols: &[&str], btf: Option<Btf>) -> KernelFacts {
    KernelFacts {
        release: "6.1.0".to_owned(),
        symbols: symbols.iter().map(|&name| (name.to_owned(), 0xffff_ffff_8100_0000)).collect(),
        tracepoints: BTreeSet::new(),
        btf: btf.map(Types::from),
        btf_file: None,
        discovered: None,
        ring_buffer: ProbeResult::Yes,
        probe_read_kernel: ProbeResult::Yes,
        uprobes: true,
        five_level_paging: false,
        asked: QueryLog::default(),
    }
}

fn btf(function: &str, parameters: &[(&str, &str)]) -> Option<Btf> {
    let mut builder = Builder::new();
    builder.structure("qstr", &[("hash_len", 0), ("name", 8)]);
    builder.function(function, parameters);
    Some(Btf::parse(builder.build()).unwrap())
}

pub(super) fn scenario(id: &str) -> &'static Scenario {
    Scenario::by_id(id).unwrap()
}

/// fs/notify/inotify/inotify_fsnotify.c of the releases that changed it.
const FROM_4_18: &[(&str, &str)] = &[
    ("struct fsnotify_group *", "group"),
    ("struct inode *", "inode"),
    ("u32", "mask"),
    ("const void *", "data"),
    ("int", "data_type"),
    ("const unsigned char *", "file_name"),
    ("u32", "cookie"),
    ("struct fsnotify_iter_info *", "iter_info"),
];
const FROM_5_2: &[(&str, &str)] = &[
    ("struct fsnotify_group *", "group"),
    ("struct inode *", "inode"),
    ("u32", "mask"),
    ("const void *", "data"),
    ("int", "data_type"),
    ("const struct qstr *", "file_name"),
    ("u32", "cookie"),
    ("struct fsnotify_iter_info *", "iter_info"),
];
const FROM_5_9: &[(&str, &str)] = &[
    ("struct fsnotify_group *", "group"),
    ("u32", "mask"),
    ("const void *", "data"),
    ("int", "data_type"),
    ("struct inode *", "dir"),
    ("const struct qstr *", "file_name"),
    ("u32", "cookie"),
    ("struct fsnotify_iter_info *", "iter_info"),
];
const FROM_5_11: &[(&str, &str)] = &[
    ("struct fsnotify_mark *", "inode_mark"),
    ("u32", "mask"),
    ("struct inode *", "inode"),
    ("struct inode *", "dir"),
    ("const struct qstr *", "name"),
    ("u32", "cookie"),
];

#[rstest]
#[case::from_4_18("inotify_handle_event", FROM_4_18, 3, 6, NAME_IS_STRING, 7)]
#[case::from_5_2("inotify_handle_event", FROM_5_2, 3, 6, NAME_IS_QSTR, 7)]
#[case::from_5_9("inotify_handle_event", FROM_5_9, 2, 6, NAME_IS_QSTR, 7)]
#[case::from_5_11("inotify_handle_inode_event", FROM_5_11, 2, 5, NAME_IS_QSTR, 6)]
fn the_arguments_of_the_inotify_handler_come_from_its_prototype(
    #[case] handler: &str,
    #[case] parameters: &[(&str, &str)],
    #[case] mask: u32,
    #[case] name: u32,
    #[case] kind: u32,
    #[case] cookie: u32,
) {
    let facts = facts(&[handler], btf(handler, parameters));
    let plan = plan(scenario("inotify/unwatched"), &facts).unwrap();
    assert_eq!(plan.attach, [kprobe("inotify_rename", handler)]);
    let config = plan.config;
    assert_eq!(
        (config.mask_argument, config.name_argument, config.name_kind, config.cookie_argument),
        (mask, name, kind, cookie)
    );
    assert_eq!(plan.types, TypeSource::Core);
}

#[test]
fn without_btf_only_an_unambiguous_handler_will_do() {
    let inotify = scenario("inotify/unwatched");
    let known = plan(inotify, &facts(&["inotify_handle_inode_event"], None)).unwrap();
    assert_eq!((known.config.cookie_argument, known.types), (6, TypeSource::Layout));
    let refused = plan(inotify, &facts(&["inotify_handle_event"], None)).unwrap_err();
    assert_eq!(refused.reason, Reason::LayoutNotFound);
    let refused = plan(inotify, &facts(&[], None)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the kernel has none of inotify_handle_inode_event, inotify_handle_event"
    );
}

#[rstest]
#[case(&[("u32", "mask"), ("u32", "cookie")], "has no parameter name or file_name")]
#[case(
    &[("u32", "mask"), ("u32", "cookie"), ("struct dentry *", "name")],
    "passes the name as struct dentry *: (u32 mask, u32 cookie, struct dentry *name)"
)]
fn a_handler_with_another_prototype_is_refused(
    #[case] parameters: &[(&str, &str)],
    #[case] message: &str,
) {
    let handler = "inotify_handle_inode_event";
    let facts = facts(&[handler], btf(handler, parameters));
    let refused = plan(scenario("inotify/unwatched"), &facts).unwrap_err();
    assert_eq!(refused.reason, Reason::SignatureChanged);
    assert!(refused.to_string().contains(message), "{refused}");
}

#[test]
fn a_function_is_probed_only_with_the_parameters_that_we_read() {
    let id = "many_args/process_vm_rw";
    let names = ["pid", "lvec", "liovcnt", "rvec", "riovcnt", "flags", "vm_write"];
    let parameters = names.map(|name| ("long", name));
    let with = |parameters: &[(&str, &str)]| {
        plan(scenario(id), &facts(&["process_vm_rw"], btf("process_vm_rw", parameters)))
    };
    assert_eq!(with(&parameters).unwrap().config.argument_count, 7);
    let refused = with(&parameters[1..]).unwrap_err();
    assert_eq!(refused.reason, Reason::SignatureChanged);
    assert!(
        refused.to_string().contains("process_vm_rw(pid, lvec,")
            && refused.to_string().contains("process_vm_rw(long lvec,"),
        "both prototypes are shown: {refused}"
    );
    let absent = plan(scenario(id), &facts(&[], None)).unwrap_err();
    assert_eq!(absent.reason, Reason::MissingSymbol);
    assert!(absent.to_string().contains("CONFIG_CROSS_MEMORY_ATTACH"), "{absent}");
}

#[test]
fn what_changed_between_releases_is_not_assumed() {
    let gup = plan(scenario("many_args/get_user_pages"), &facts(&["__get_user_pages"], None));
    assert_eq!(gup.unwrap_err().reason, Reason::MissingBtf);
    let key_alloc = plan(scenario("many_args/key_alloc"), &facts(&["key_alloc"], None)).unwrap();
    assert_eq!((key_alloc.config.argument_count, key_alloc.config.text_argument), (8, 2));
}

#[rstest]
#[case(ProbeResult::Yes, ProbeResult::Yes, BufferKind::Ring, ReadHelper::Split)]
#[case(ProbeResult::No, ProbeResult::No, BufferKind::Perf, ReadHelper::Legacy)]
#[case(
    ProbeResult::CouldNotTell(1),
    ProbeResult::CouldNotTell(1),
    BufferKind::Perf,
    ReadHelper::Legacy
)]
fn features_are_used_when_their_trial_said_yes(
    #[case] ring_buffer: ProbeResult,
    #[case] probe_read_kernel: ProbeResult,
    #[case] buffer: BufferKind,
    #[case] read: ReadHelper,
) {
    let facts = KernelFacts { ring_buffer, probe_read_kernel, ..facts(&[], None) };
    let plan = plan(scenario("sys_write/threads"), &facts).unwrap();
    assert_eq!((plan.buffer, plan.read), (buffer, read));
}

#[rstest]
#[case::moved(&[("name", 16)], Ok(16))]
#[case::gone(&[("hash", 0)], Err(Reason::MissingField))]
fn a_layout_comes_from_btf_where_there_is_some(
    #[case] qstr: &[(&str, u32)],
    #[case] expected: Result<u32, Reason>,
) {
    let handler = "inotify_handle_inode_event";
    let mut builder = Builder::new();
    builder.structure("qstr", qstr);
    builder.function(handler, FROM_5_11);
    let facts = facts(&[handler], Some(Btf::parse(builder.build()).unwrap()));
    let planned = plan(scenario("inotify/unwatched"), &facts);
    let offset = planned.map(|plan| plan.config.layout.qstr_name).map_err(|error| error.reason);
    assert_eq!(offset, expected);
}

#[rstest]
#[case::all(&SYNC_TRACEPOINTS)]
#[case::some(&["sys_enter_sync", "sys_enter_msync"])]
fn only_the_sync_calls_of_the_kernel_are_traced(#[case] tracepoints: &[&str]) {
    let tracepoints = tracepoints.iter().map(|&name| name.to_owned()).collect();
    let facts = KernelFacts { tracepoints, ..facts(&[], None) };
    let plan = plan(scenario("syncsnoop/every_call"), &facts).unwrap();
    let programs: BTreeSet<_> = plan.attach.into_iter().map(|point| point.program).collect();
    assert_eq!(programs, facts.tracepoints);
}

#[test]
fn without_tracepoints_of_system_calls_there_is_no_syncsnoop() {
    let refused = plan(scenario("syncsnoop/every_call"), &facts(&[], None)).unwrap_err();
    assert_eq!(refused.reason, Reason::MissingConfig);
}

#[rstest]
#[case::before_7_2(&["ksys_write"], &["tracepoint syscalls:sys_enter_write", "tracepoint syscalls:sys_exit_write"])]
#[case::from_7_2(&["ksys_write", "trace_call_bpf_faultable"], &["kprobe ksys_write", "kretprobe ksys_write"])]
#[case::renamed(&["trace_call_bpf_faultable"], &["tracepoint syscalls:sys_enter_write", "tracepoint syscalls:sys_exit_write"])]
fn writes_are_traced_where_no_program_is_skipped(
    #[case] symbols: &[&str],
    #[case] expected: &[&str],
) {
    let plan = plan(scenario("sys_write/threads"), &facts(symbols, None)).unwrap();
    let targets: Vec<_> = plan.attach.iter().map(|point| point.target.to_string()).collect();
    assert_eq!(targets, expected);
}

#[rstest]
#[case("sys_write/burst_ring", ProbeResult::Yes, Ok(BufferKind::Ring))]
#[case("sys_write/burst_ring", ProbeResult::No, Err(Reason::HelperUnavailable))]
#[case("sys_write/burst_ring", ProbeResult::CouldNotTell(1), Err(Reason::HelperUnavailable))]
#[case("sys_write/burst_perf", ProbeResult::Yes, Ok(BufferKind::Perf))]
fn a_burst_has_the_buffer_that_it_is_about(
    #[case] id: &str,
    #[case] ring_buffer: ProbeResult,
    #[case] expected: Result<BufferKind, Reason>,
) {
    let facts = KernelFacts { ring_buffer, ..facts(&[], None) };
    let planned = plan(scenario(id), &facts);
    assert_eq!(planned.map(|plan| plan.buffer).map_err(|error| error.reason), expected);
}

#[test]
fn one_function_is_probed_in_every_binary_that_is_run() {
    let plan = plan(scenario("user_args/pie_and_static"), &facts(&[], None)).unwrap();
    let targets: Vec<_> = plan.attach.iter().map(|point| point.target.to_string()).collect();
    assert_eq!(
        targets,
        [
            "uprobe /bin/kernlab-workload:kernlab_eight_ints",
            "uretprobe /bin/kernlab-workload:kernlab_eight_ints",
            "uprobe /bin/kernlab-workload-static:kernlab_eight_ints",
            "uretprobe /bin/kernlab-workload-static:kernlab_eight_ints",
        ]
    );
    let without = KernelFacts { uprobes: false, ..facts(&[], None) };
    let refused = super::plan(scenario("user_args/eight_ints"), &without).unwrap_err();
    assert_eq!(refused.reason, Reason::MissingConfig);
}

/// Structures of 6.1, with the fields of socks that moved.
fn socket_btf(sk_protocol: u32, sk_type: u32) -> Option<Btf> {
    let mut builder = Builder::new();
    builder.structure("task_struct", &[("files", 3048)]);
    builder.structure("files_struct", &[("fdt", 32)]);
    builder.structure("fdtable", &[("max_fds", 0), ("fd", 8)]);
    builder.structure("file", &[("f_op", 40), ("private_data", 200)]);
    builder.structure("socket", &[("type", 4), ("sk", 24), ("ops", 32)]);
    builder.structure("proto_ops", &[("family", 0)]);
    builder.structure("sock", &[("sk_protocol", sk_protocol), ("sk_type", sk_type)]);
    builder.structure(
        "sock_common",
        &[
            ("skc_daddr", 0),
            ("skc_rcv_saddr", 4),
            ("skc_dport", 12),
            ("skc_num", 14),
            ("skc_family", 16),
            ("skc_v6_daddr", 56),
            ("skc_v6_rcv_saddr", 72),
        ],
    );
    Some(Btf::parse(builder.build()).unwrap())
}

fn socket_facts(symbols: &[&str], btf: Option<Btf>) -> KernelFacts {
    let tracepoints = SOCKET_TRACEPOINTS.map(str::to_owned).into();
    KernelFacts { tracepoints, ..facts(symbols, btf) }
}

#[rstest]
#[case::bits(513, 514, 0xff)]
#[case::a_word(516, 514, 0xffff)]
fn a_protocol_ends_where_the_type_begins(
    #[case] sk_protocol: u32,
    #[case] sk_type: u32,
    #[case] expected: u32,
) {
    let facts = socket_facts(&["socket_file_ops"], socket_btf(sk_protocol, sk_type));
    let config = plan(scenario("socket_write/tcp4"), &facts).unwrap().config;
    assert_eq!((config.layout.sock_sk_protocol, config.protocol_mask), (sk_protocol, expected));
    assert_eq!(config.socket_file_ops, 0xffff_ffff_8100_0000);
}

#[test]
fn sockets_are_recognised_where_the_symbol_table_does_not_help() {
    let planned = |facts: &KernelFacts| plan(scenario("socket_write/tcp4"), facts);
    let mut facts = socket_facts(&[], socket_btf(516, 514));
    let refused = planned(&facts).unwrap_err();
    assert!(facts.lacks_layout(&refused), "memory is to be searched: {refused}");
    facts.discovered = Some(Discovered { socket_file_ops: Some(7), ..Discovered::default() });
    assert_eq!(planned(&facts).unwrap().config.socket_file_ops, 7);
    facts.discovered = Some(Discovered::default());
    let refused = planned(&facts).unwrap_err();
    assert_eq!(refused.to_string(), "discovery did not find socket_file_ops: nobody looked for it");
}

#[rstest]
#[case::not_preempted(false, ["socket_write_enter", "socket_write_exit"])]
#[case::preempted(true, ["socket_write_entry", "socket_write_return"])]
fn a_write_is_watched_on_both_sides_where_no_program_is_skipped(
    #[case] faultable: bool,
    #[case] programs: [&str; 2],
) {
    let mut symbols = [&["socket_file_ops"], &arch::WRITING_CALLS[..]].concat();
    symbols.extend(faultable.then_some(FAULTABLE));
    let facts = socket_facts(&symbols, socket_btf(516, 514));
    let points = plan(scenario("socket_write/tcp4"), &facts).unwrap().attach;
    let found: Vec<_> = points.iter().map(|point| point.program.as_str()).collect();
    assert_eq!(found, [[programs[0]; 4], [programs[1]; 4]].concat());
}

#[test]
fn a_write_is_watched_by_every_call() {
    let mut facts = socket_facts(&["socket_file_ops"], socket_btf(516, 514));
    facts.tracepoints.remove("sys_exit_sendmsg");
    let refused = plan(scenario("socket_write/tcp4"), &facts).unwrap_err();
    assert_eq!(refused.reason, Reason::MissingConfig);
}

#[test]
fn a_socket_is_described_by_its_operations() {
    let facts = facts(&["sock_alloc_file"], socket_btf(516, 514));
    let layout = plan(scenario("sock_alloc/accept"), &facts).unwrap().config.layout;
    assert_eq!((layout.socket_type, layout.socket_ops, layout.proto_ops_family), (4, 32, 0));
    let refused = plan(scenario("sock_alloc/accept"), &socket_facts(&[], None)).unwrap_err();
    assert_eq!(refused.reason, Reason::MissingSymbol);
}

#[rstest]
#[case::another_target("many_args/key_alloc", "many_args/process_vm_rw", true)]
#[case::the_same_tracer("user_args/eight_ints", "user_args/pie_and_static", true)]
#[case::another_buffer("sys_write/threads", "sys_write/burst_perf", false)]
#[case::other_programs("guarded_read/hostile_pointers", "guarded_read/unguarded", false)]
#[case::another_tracer("sys_write/threads", "user_args/eight_ints", false)]
fn plans_load_alike_whose_programs_come_from_one_object(
    #[case] one: &str,
    #[case] other: &str,
    #[case] expected: bool,
) {
    let mut facts = facts(&["key_alloc", "process_vm_rw", "ksys_write"], None);
    facts.tracepoints = ["sys_enter_write", "sys_exit_write"].map(str::to_owned).into();
    let [one, other] = [one, other].map(|id| plan(scenario(id), &facts).unwrap());
    assert_eq!(one.loads_like(&other), expected);
    assert!(one.loads_like(&one));
}
