use rstest::rstest;

use super::*;
use crate::{
    btf::{Btf, sample::Builder},
    facts::Trial,
};

fn facts(symbols: &[&str], btf: Option<Btf>) -> KernelFacts {
    KernelFacts {
        release: "6.1.0".to_owned(),
        symbols: symbols.iter().map(|&name| (name.to_owned(), 0xffff_ffff_8100_0000)).collect(),
        btf,
        ring_buffer: Trial::Yes,
        probe_read_kernel: Trial::Yes,
        five_level_paging: false,
    }
}

fn btf(function: &str, parameters: &[(&str, &str)]) -> Option<Btf> {
    let mut builder = Builder::new();
    builder.structure("qstr", &[("hash_len", 0), ("name", 8)]);
    builder.function(function, parameters);
    Some(Btf::parse(builder.build()).unwrap())
}

fn scenario(id: &str) -> &'static Scenario {
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
    assert_eq!(refused.reason, Reason::MissingBtf);
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
#[case(Trial::Yes, Trial::Yes, BufferKind::Ring, ReadHelper::Split)]
#[case(Trial::No, Trial::No, BufferKind::Perf, ReadHelper::Legacy)]
#[case(Trial::CouldNotTell(1), Trial::CouldNotTell(1), BufferKind::Perf, ReadHelper::Legacy)]
fn features_are_used_when_their_trial_said_yes(
    #[case] ring_buffer: Trial,
    #[case] probe_read_kernel: Trial,
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
