use rstest::rstest;

use super::*;
use crate::{
    arch::Arch,
    btf::{Btf, Types, sample::Builder},
    facts::{ProbeResult, QueryLog},
    outcome::Reason,
};

pub(crate) fn facts(symbols: &[&str], btf: Option<Btf>) -> KernelFacts {
    KernelFacts {
        release: "6.1.0".to_owned(),
        arch: Arch::X86_64,
        symbols: symbols.iter().map(|&name| (name.to_owned(), 0xffff_ffff_8100_0000)).collect(),
        tracepoints: ["sys_enter_write", "sys_exit_write", "sys_enter_getpgid"]
            .map(str::to_owned)
            .into(),
        btf: btf.map(Types::from),
        btf_file: None,
        discovered: None,
        ring_buffer: ProbeResult::Yes,
        probe_read_kernel: ProbeResult::Yes,
        uprobes: true,
        kcore: true,
        five_level_paging: false,
        asked: QueryLog::default(),
    }
}

pub(crate) fn btf(function: &str, parameters: &[(&str, &str)]) -> Option<Btf> {
    let mut builder = Builder::new();
    builder.structure("qstr", &[("hash_len", 0), ("name", 8)]);
    builder.function(function, parameters);
    Some(Btf::parse(builder.build()).unwrap())
}

pub(crate) fn scenario(id: &str) -> &'static Scenario {
    Scenario::by_id(id).unwrap()
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

/// The addresses are those of Documentation/arch/x86/x86_64/mm.rst and Documentation/arch/arm64/memory.rst.
#[rstest]
#[case(Arch::X86_64, false, 0xffff_8000_0000_0000, 0x7fff_ffff_f000, 0)]
#[case(Arch::X86_64, true, 0xff00_0000_0000_0000, 0xff_ffff_ffff_f000, 0)]
#[case(Arch::Aarch64, false, 0xffff_0000_0000_0000, 0xffff_ffff_0000, 0xff << 56)]
#[case(Arch::Aarch64, true, 0xfff0_0000_0000_0000, 0xf_ffff_ffff_0000, 0xff << 56)]
fn programs_know_whose_an_address_is(
    #[case] arch: Arch,
    #[case] five_level_paging: bool,
    #[case] kernel_address_min: u64,
    #[case] user_address_end: u64,
    #[case] user_address_tag: u64,
) {
    let facts = KernelFacts { arch, five_level_paging, ..facts(&[], None) };
    let ProgramConfig {
        kernel_address_min: min, user_address_end: end, user_address_tag: tag, ..
    } = plan(scenario("sys_write/threads"), &facts).unwrap().config;
    assert_eq!((min, end, tag), (kernel_address_min, user_address_end, user_address_tag));
}

#[rstest]
#[case("sys_write/burst_ring", ProbeResult::Yes, Ok(BufferKind::Ring))]
#[case("sys_write/burst_ring", ProbeResult::No, Err(Reason::HelperUnavailable))]
#[case("sys_write/burst_ring", ProbeResult::CouldNotTell(1), Err(Reason::TrialInconclusive))]
#[case("sys_write/burst_perf", ProbeResult::Yes, Ok(BufferKind::Perf))]
#[case("sys_write/moved_perf", ProbeResult::Yes, Ok(BufferKind::Perf))]
#[case("sys_write/moved_thread", ProbeResult::Yes, Ok(BufferKind::Ring))]
fn a_burst_has_the_buffer_that_it_is_about(
    #[case] id: &str,
    #[case] ring_buffer: ProbeResult,
    #[case] expected: Result<BufferKind, Reason>,
) {
    let facts = KernelFacts { ring_buffer, ..facts(&[], None) };
    let planned = plan(scenario(id), &facts);
    assert_eq!(planned.map(|plan| plan.buffer).map_err(|error| error.reason), expected);
}

/// Structures of 6.1, with the fields of socks that moved.
pub(crate) fn socket_btf(sk_protocol: u32, sk_type: u32) -> Option<Btf> {
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
    let data = ["key_type_keyring", "key_type_user"];
    let symbols = [&["key_alloc", "process_vm_rw", "ksys_write"][..], &data].concat();
    let facts = facts(&symbols, None);
    let [one, other] = [one, other].map(|id| plan(scenario(id), &facts).unwrap());
    assert_eq!(one.loads_like(&other), expected);
    assert!(one.loads_like(&one));
}
