//! Searches of made-up kernels.

mod subjects;
mod world;

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};
use rstest::rstest;

use self::world::{Layout, World};
use super::*;
use crate::{
    btf::{Btf, Prototype, Types, sample::Builder},
    outcome::Reason,
};

/// Every field that a search reports, in structures as 6.1 has them. Those that are written to
/// memory and not reported have other names.
const FIELDS: &[(&str, u32)] = &[
    ("task_struct.files", 3048),
    ("task_struct.comm", 2976),
    ("task_struct.pid", 2416),
    ("task_struct.tgid", 2420),
    ("files_struct.fdt", 32),
    ("fdtable.max_fds", 0),
    ("fdtable.fd", 8),
    ("file.f_op", 40),
    ("file.private_data", 200),
    ("file.f_inode", 32),
    ("file.f_path", 16),
    ("file.f_mode", 68),
    ("path.dentry", 8),
    ("dentry.d_parent", 24),
    ("dentry.d_name", 32),
    ("dentry.d_inode", 48),
    ("qstr.len", 4),
    ("qstr.name", 8),
    ("inode.i_mode", 0),
    ("inode.i_sb", 40),
    ("inode.i_ino", 64),
    ("inode.i_rdev", 76),
    ("super_block.s_dev", 16),
    ("socket.type", 4),
    ("socket.file", 16),
    ("socket.sk", 24),
    ("socket.ops", 32),
    ("proto_ops.family", 0),
    ("sock.sk_protocol", 516),
    ("sock.sk_type", 514),
    ("sock.sk_socket", 624),
    ("sock_common.skc_daddr", 0),
    ("sock_common.skc_rcv_saddr", 4),
    ("sock_common.skc_dport", 12),
    ("sock_common.skc_num", 14),
    ("sock_common.skc_family", 16),
    ("sock_common.skc_state", 18),
    ("sock_common.skc_v6_daddr", 56),
    ("sock_common.skc_v6_rcv_saddr", 72),
];

/// 6.1, with some fields elsewhere.
fn layout(changes: &[(&'static str, u32)]) -> Layout {
    let mut layout: Layout = FIELDS.iter().chain(changes).copied().collect();
    layout.extend([("inode.i_fop", 344), ("dentry.d_sb", 104)]);
    let (path, dentry) = (layout["file.f_path"], layout["path.dentry"]);
    layout.insert("file.f_path.dentry", path + dentry);
    layout.insert("file.f_path.mnt", path + 8 - dentry);
    let name = layout["dentry.d_name"];
    layout.insert("dentry.d_name.len", name + layout["qstr.len"]);
    layout.insert("dentry.d_name.name", name + layout["qstr.name"]);
    layout
}

fn found(discovered: &Discovered) -> BTreeMap<&str, u32> {
    discovered.fields.iter().map(|(name, finding)| (name.as_str(), finding.offset)).collect()
}

fn expected(layout: &Layout) -> BTreeMap<&'static str, u32> {
    FIELDS.iter().map(|&(name, _)| (name, layout[name])).collect()
}

#[rstest]
#[case::of_6_1(&[])]
#[case::of_4_18(&[
    ("task_struct.files", 2744),
    ("task_struct.comm", 2680),
    ("task_struct.pid", 2256),
    ("task_struct.tgid", 2260),
    ("socket.file", 24),
    ("socket.sk", 32),
    ("socket.ops", 40),
    ("sock.sk_protocol", 513),
])]
#[case::of_7_3(&[
    ("task_struct.files", 3488),
    ("task_struct.comm", 3408),
    ("file.f_op", 8),
    ("file.private_data", 24),
    ("file.f_inode", 32),
    ("file.f_path", 64),
    ("file.f_mode", 4),
])]
#[case::of_5_10_rt(&[("files_struct.fdt", 72), ("dentry.d_name", 48), ("dentry.d_inode", 64),
    ("file.private_data", 296)])]
#[case::of_no_kernel(&[("path.dentry", 0)])]
fn a_layout_is_found_whole(#[case] changes: &[(&'static str, u32)]) {
    let (mut world, subjects) = World::build(layout(changes));
    let expected = expected(&world.layout);
    let discovered = discover(&mut world, &subjects);
    assert_eq!(discovered.failures, BTreeMap::new());
    assert_eq!(found(&discovered), expected);
    assert!(discovered.socket_file_ops.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Fields in any order, in places that no kernel has.
    #[test]
    fn what_is_found_is_right_wherever_it_is(order in prop::collection::vec(any::<Index>(), 32)) {
        let mut order = order.into_iter();
        let mut places = |first: u32, step: u32, names: &[&'static str]| {
            let mut free: Vec<u32> = (0..2 * names.len() as u32).map(|n| first + step * n).collect();
            names
                .iter()
                .map(|&name| (name, free.remove(order.next().unwrap().index(free.len()))))
                .collect::<Vec<_>>()
        };
        let mut changes = places(512, 24, &["task_struct.files", "task_struct.comm"]);
        changes.extend(places(
            0,
            16,
            &["file.f_op", "file.private_data", "file.f_inode", "file.f_path", "file.f_mode"],
        ));
        changes.extend(places(0, 24, &["dentry.d_parent", "dentry.d_name"]));
        changes.extend(places(8, 8, &["inode.i_sb", "inode.i_ino", "inode.i_rdev", "inode.i_mode"]));
        changes.extend(places(0, 8, &["socket.file", "socket.sk", "socket.ops", "socket.type"]));
        changes.extend(places(
            96,
            8, &["sock_common.skc_num", "sock_common.skc_dport",
            "sock_common.skc_family", "sock_common.skc_state"]));
        changes.push(("dentry.d_inode", 120));
        let (mut world, subjects) = World::build(layout(&changes));
        let expected = expected(&world.layout);
        let discovered = discover(&mut world, &subjects);
        prop_assert_eq!(found(&discovered), expected);
    }
}

/// The same value at a second place, in every task.
#[test]
fn two_candidates_are_none() {
    let (mut world, subjects) = World::build(layout(&[]));
    for task in subjects.sharers.iter().chain([&subjects.loner]) {
        let comm = format!("{}\0", task.comm);
        world.put(task.address + 640, comm.as_bytes());
    }
    let discovered = discover(&mut world, &subjects);
    assert_eq!(
        discovered.offset("task_struct", "comm").unwrap_err().to_string(),
        "discovery did not find task_struct.comm: 640, 2976 are all offsets of \
         every thread's name"
    );
    assert_eq!(discovered.fields.len(), FIELDS.len() - 1, "the others are not affected");
}

#[test]
fn a_relation_that_does_not_hold_finds_nothing() {
    let (mut world, mut subjects) = World::build(layout(&[]));
    subjects.sockets[0].endpoints =
        Some(("127.0.0.3:41001".parse().unwrap(), "0.0.0.0:0".parse().unwrap()));
    let discovered = discover(&mut world, &subjects);
    let refusal = discovered.offset("sock_common", "skc_num").unwrap_err();
    assert_eq!(refusal.reason, Reason::LayoutNotFound);
    assert!(refusal.to_string().contains("there is no offset of the local port"), "{refusal}");
    assert_eq!(discovered.offset("sock_common", "skc_dport"), Ok(12));
}

#[test]
fn what_depends_on_a_lost_field_is_lost_too() {
    let (mut world, mut subjects) = World::build(layout(&[]));
    subjects.closed.push(subjects.files[0].fd);
    let discovered = discover(&mut world, &subjects);
    let refusal = discovered.offset("socket", "sk").unwrap_err();
    assert!(refusal.to_string().contains("task_struct.files: there is no offset"), "{refusal}");
    assert_eq!(discovered.socket_file_ops, None);
}

#[test]
fn what_was_duplicated_is_one_file() {
    let (mut world, mut subjects) = World::build(layout(&[]));
    subjects.duplicates.push((subjects.files[0].fd, subjects.files[1].fd));
    let discovered = discover(&mut world, &subjects);
    assert!(discovered.offset("task_struct", "files").is_err());

    let (mut world, mut subjects) = World::build(layout(&[]));
    subjects.high.1 =
        subjects.files.iter().map(|file| file.fd).find(|&fd| fd != subjects.high.1).unwrap();
    let discovered = discover(&mut world, &subjects);
    assert!(discovered.offset("task_struct", "files").is_err());
}

#[test]
fn without_variety_nothing_is_concluded() {
    let (mut world, mut subjects) = World::build(layout(&[]));
    subjects.sockets.retain(|socket| socket.family == 2);
    let discovered = discover(&mut world, &subjects);
    let lost: Vec<_> = discovered.failures.keys().map(String::as_str).collect();
    assert_eq!(
        lost,
        ["sock_common.skc_family", "sock_common.skc_v6_daddr", "sock_common.skc_v6_rcv_saddr",]
    );
}

#[test]
fn the_symbol_table_may_contradict() {
    let (mut world, mut subjects) = World::build(layout(&[]));
    subjects.socket_file_ops = Some(0xffff_ffff_8200_0000);
    let discovered = discover(&mut world, &subjects);
    let refusal = discovered.offset("file", "f_op").unwrap_err().to_string();
    assert!(refusal.contains("the symbol table has socket_file_ops at 0xffffffff82000000"));
    assert_eq!(discovered.socket_file_ops, None);
}

#[test]
fn memory_that_can_not_be_read_is_an_answer() {
    struct Nothing;
    impl Memory for Nothing {
        fn read(&mut self, _: u64, _: &mut [u8]) -> bool {
            false
        }
    }
    let (_, subjects) = World::build(layout(&[]));
    let discovered = discover(&mut Nothing, &subjects);
    assert_eq!(found(&discovered), BTreeMap::new());
    assert!(discovered.failures.contains_key("task_struct.files"));
}

#[test]
fn a_report_names_what_btf_contradicts() {
    let finding = |offset| Finding { offset, how: String::new() };
    let discovered = Discovered {
        fields: [("qstr.name", 8), ("qstr.len", 0), ("qstr.hash", 0)]
            .map(|(name, offset)| (name.to_owned(), finding(offset)))
            .into(),
        ..Discovered::default()
    };
    let mut builder = Builder::new();
    builder.structure("qstr", &[("len", 4), ("name", 8)]);
    let whole = [("struct inode *", "dir"), ("struct dentry *", "dentry"), ("u32", "mask")];
    builder.function("vfs_unlink", &whole);
    builder.function("inotify_handle_event", &whole);
    let mut discovered = discovered;
    for (function, parameters) in [
        ("vfs_unlink", [("struct dentry *", "dentry"), ("?", "")]),
        ("inotify_handle_event", [("?", ""), ("struct dentry *", "try")]),
    ] {
        discovered.note_prototype(function, Ok(Prototype::known(&parameters)));
    }
    let btf = Btf::parse(builder.build()).unwrap();
    let btf = Types::from(btf);
    let report = LayoutReport::new("6.1.0", Some(&btf), discovered.clone(), 1);
    assert_eq!(report.contradictions(), ["qstr.hash", "qstr.len", "vfs_unlink"]);
    let without = LayoutReport::new("6.1.0", None, discovered.clone(), 1);
    assert_eq!(without.contradictions(), [""; 0]);

    let foreign = discovered.check_btf(&btf).unwrap_err();
    assert_eq!(foreign.reason, Reason::ForeignBtf);
    assert_eq!(
        foreign.message,
        "the BTF file does not describe the running kernel: it has no qstr.hash; 2 more differ"
    );
}

/// What `bpftool gen min_core_btf` writes has only what some object needs.
#[test]
fn minimal_btf_is_believed_for_what_it_has() {
    let finding = |offset| Finding { offset, how: String::new() };
    let mut discovered = Discovered {
        fields: [("qstr.name", 8), ("dentry.d_name", 32)]
            .map(|(name, offset)| (name.to_owned(), finding(offset)))
            .into(),
        ..Discovered::default()
    };
    discovered.note_prototype("vfs_unlink", Ok(Prototype::known(&[("?", "")])));
    let with = |structure: &str, fields: &[(&str, u32)]| {
        let mut builder = Builder::new();
        builder.structure(structure, fields);
        Types::from(Btf::parse(builder.build()).unwrap())
    };
    assert_eq!(discovered.check_btf(&with("qstr", &[("name", 8)])), Ok(()));
    let other = discovered.check_btf(&with("qstr", &[("name", 16)])).unwrap_err();
    assert!(other.message.contains("qstr.name is at offset 16 there"), "{}", other.message);
    let unrelated = discovered.check_btf(&with("file", &[("f_op", 8)])).unwrap_err();
    assert_eq!(unrelated.reason, Reason::ForeignBtf);
    assert!(unrelated.message.contains("has no field that was found"), "{}", unrelated.message);
    // Of a whole kernel's BTF, what is missing counts.
    let mut whole = Builder::new();
    whole.structure("qstr", &[("name", 8)]);
    whole.function("vfs_unlink", &[("struct inode *", "dir")]);
    let whole = Types::from(Btf::parse(whole.build()).unwrap());
    assert!(discovered.check_btf(&whole).unwrap_err().message.contains("no dentry.d_name"));
}

#[test]
fn a_btf_file_is_believed_as_far_as_memory_agrees() {
    let mut builder = Builder::new();
    builder.structure("qstr", &[("len", 4), ("name", 8)]);
    let btf = Types::from(Btf::parse(builder.build()).unwrap());
    let found = |offset| Discovered {
        fields: [("qstr.name".to_owned(), Finding { offset, how: String::new() })].into(),
        ..Discovered::default()
    };
    assert_eq!(found(8).check_btf(&btf), Ok(()));
    assert_eq!(
        found(16).check_btf(&btf).unwrap_err().message,
        "the BTF file does not describe the running kernel: qstr.name is at offset 8 there, and at \
         16 in memory"
    );
    let nothing = Discovered::default().check_btf(&btf).unwrap_err();
    assert_eq!(nothing.reason, Reason::ForeignBtf);
    assert!(nothing.message.contains("to check the BTF file with"), "{}", nothing.message);
}
