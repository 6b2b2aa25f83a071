//! `socket_write`: completed writes to sockets, with both ends' addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kernlab_abi::{ADDRESS_WORDS, EventHeader, ProgramConfig, SocketWriteEvent};

use super::definition::{
    Definition, EventType, LayoutField, RawEvent, SKIPS, Wants, burst, lay_out, listed, names,
    on_system_calls, probes_functions, refuse_full_pending, refuse_unseen_end,
};
use crate::{
    arch::WRITING_CALLS,
    attach::{AttachPoint, kprobe, kretprobe},
    burst::Burst,
    decoder::{DecodeError, Decoder},
    event::Action,
    facts::{KernelFacts, SOCKET_FILE_OPS},
    outcome::Reason,
    scenario::Scenario,
    socket::{Family, Protocol},
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "socket_write",
    scenarios: &[
        listed("tcp4", "TCP over IPv4, by write(2), writev(2), sendto(2) and sendmsg(2)"),
        listed("tcp6", "TCP over IPv6"),
        listed("tcp6_mapped", "sockets of IPv6 that talk IPv4"),
        listed("mptcp", "Multipath TCP, whose number 8 bits don't hold"),
        listed("udp4", "UDP over IPv4, to a peer and to others"),
        listed("udp6", "UDP over IPv6"),
        listed("unix", "sockets of Unix and of netlink, which have no addresses to report"),
        listed("not_a_socket", "writes to everything but sockets: no event"),
        listed("dup_and_passed_fd", "one socket under many descriptors, duplicated and passed on"),
        listed("high_fd", "descriptors in tables that have grown"),
        listed("replaced_fd", "a descriptor that means another socket after the call has begun"),
        listed(
            "two_at_once",
            "two threads inside of write(2) at the same time, one at a high descriptor",
        ),
        burst(
            "full_pending",
            Burst::FULL_PENDING,
            "one more thread inside of write(2) than there is room for",
        ),
        burst(
            "unseen_end",
            Burst::UNSEEN_END,
            "a write whose end the kernel doesn't show: it is counted as lost",
        ),
    ],
    wants,
    attach,
    event: EventType::of::<SocketWriteEvent>(),
};

/// The calls that write to a descriptor, which is their first argument: entries, and then exits.
const TRACEPOINTS: [&str; 8] = [
    "sys_enter_write",
    "sys_enter_writev",
    "sys_enter_sendto",
    "sys_enter_sendmsg",
    "sys_exit_write",
    "sys_exit_writev",
    "sys_exit_sendto",
    "sys_exit_sendmsg",
];

const FIELDS: [LayoutField; 15] = [
    ("task_struct", "files", |layout| &mut layout.task_struct_files),
    ("files_struct", "fdt", |layout| &mut layout.files_struct_fdt),
    ("fdtable", "max_fds", |layout| &mut layout.fdtable_max_fds),
    ("fdtable", "fd", |layout| &mut layout.fdtable_fd),
    ("file", "f_op", |layout| &mut layout.file_f_op),
    ("file", "private_data", |layout| &mut layout.file_private_data),
    ("socket", "sk", |layout| &mut layout.socket_sk),
    // struct sock begins with its sock_common: include/net/sock.h.
    ("sock_common", "skc_family", |layout| &mut layout.sock_common_skc_family),
    ("sock_common", "skc_rcv_saddr", |layout| &mut layout.sock_common_skc_rcv_saddr),
    ("sock_common", "skc_daddr", |layout| &mut layout.sock_common_skc_daddr),
    ("sock_common", "skc_v6_rcv_saddr", |layout| &mut layout.sock_common_skc_v6_rcv_saddr),
    ("sock_common", "skc_v6_daddr", |layout| &mut layout.sock_common_skc_v6_daddr),
    ("sock_common", "skc_num", |layout| &mut layout.sock_common_skc_num),
    ("sock_common", "skc_dport", |layout| &mut layout.sock_common_skc_dport),
    ("sock", "sk_protocol", |layout| &mut layout.sock_sk_protocol),
];

/// A field that only the plan reads.
const TYPE: (&str, &str) = ("sock", "sk_type");

/// Writes to a socket of Multipath TCP: net/mptcp/protocol.c.
const MPTCP: &str = "mptcp_sendmsg";

fn wants() -> Wants {
    Wants {
        system_calls: WRITING_CALLS.to_vec(),
        symbols: [&SKIPS[..], &[SOCKET_FILE_OPS, MPTCP]].concat(),
        tracepoints: TRACEPOINTS.to_vec(),
        fields: names(&FIELDS).chain([TYPE]).collect(),
        ..Wants::default()
    }
}

fn attach(
    scenario: &Scenario,
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if scenario.name == "mptcp" && !facts.has_symbol(MPTCP) {
        let message = "there are no sockets of this protocol: CONFIG_MPTCP";
        return Err(Unsupported::new(Reason::MissingConfig, message));
    }
    let attach = attach_points(scenario, facts)?;
    config.socket_file_ops = facts.socket_file_ops()?;
    lay_out(&FIELDS, facts, &mut config.layout)?;
    let sk_type = facts.offset(TYPE.0, TYPE.1)?;
    config.protocol_mask = protocol_mask(config.layout.sock_sk_protocol, sk_type);
    Ok(attach)
}

/// Tracepoints, because a thread that waits in a call holds nothing that others need; where programs
/// on them are skipped, the functions of the system call table.
fn attach_points(
    scenario: &Scenario,
    facts: &KernelFacts,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let functions = WRITING_CALLS.map(|call| facts.arch.function_of(call));
    if probes_functions(scenario, facts) && functions.iter().all(|name| facts.has_symbol(name)) {
        refuse_full_pending(scenario)?;
        let entries = functions.map(|function| kprobe("socket_write_entry", function));
        let returns = functions.map(|function| kretprobe("socket_write_return", function));
        return Ok([entries, returns].concat());
    }
    refuse_unseen_end(scenario)?;
    let program = |name: &str| match name.starts_with("sys_enter") {
        true => "socket_write_enter",
        false => "socket_write_exit",
    };
    on_system_calls(TRACEPOINTS.map(|name| (program(name), name)), facts)
}

/// The protocol is a u16 that follows the type since 5.6 (commit bf9765145b85), and before that the
/// eight bits before the type, both in one word of bit fields (include/net/sock.h).
fn protocol_mask(sk_protocol: u32, sk_type: u32) -> u32 {
    if sk_type == sk_protocol + 1 { 0xff } else { 0xffff }
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for SocketWriteEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn reserved(&self) -> u32 {
        self.reserved
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        let family = Family(self.family);
        let [local, remote] = [
            (self.local_address, Some(self.local_port)),
            // getpeername(2) knows no peer without a port either: inet_getname, net/ipv4/af_inet.c.
            (self.remote_address, Some(u16::from_be(self.remote_port)).filter(|&port| port != 0)),
        ]
        .map(|(words, port)| Ok(internet_address(family, words)?.zip(port).map(SocketAddr::from)));
        Ok(Action::SocketWrite {
            fd: self.fd,
            bytes: self.ret,
            family,
            protocol: Protocol(self.protocol),
            local: local?,
            remote: remote?,
        })
    }
}

/// None if the family has no such addresses.
fn internet_address(
    family: Family,
    words: [u32; ADDRESS_WORDS],
) -> Result<Option<IpAddr>, DecodeError> {
    let [a, b, c, d] = words.map(|word| u128::from(u32::from_be(word)));
    Ok(match family {
        Family::INET if words[1..] != [0; ADDRESS_WORDS - 1] => {
            return Err(DecodeError::Address(words));
        }
        Family::INET => Some(Ipv4Addr::from(u32::from_be(words[0])).into()),
        Family::INET6 => Some(Ipv6Addr::from(a << 96 | b << 64 | c << 32 | d).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        super::tests::{decoded, header},
        *,
    };
    use crate::{
        arch::Arch,
        btf::Btf,
        discovery::Discovered,
        plan::{
            plan,
            tests::{facts, scenario, socket_btf},
        },
    };

    fn socket_facts(symbols: &[&str], btf: Option<Btf>) -> KernelFacts {
        let tracepoints = TRACEPOINTS.map(str::to_owned).into();
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
        assert_eq!(
            refused.to_string(),
            "discovery did not find socket_file_ops: it was not searched for"
        );
    }

    #[rstest]
    #[case::not_preempted(false, ["socket_write_enter", "socket_write_exit"])]
    #[case::preempted(true, ["socket_write_entry", "socket_write_return"])]
    fn a_write_is_watched_on_both_sides_where_no_program_is_skipped(
        #[case] faultable: bool,
        #[case] programs: [&str; 2],
    ) {
        let calls = WRITING_CALLS.map(|call| Arch::X86_64.function_of(call));
        let mut symbols = [&["socket_file_ops"], &calls[..]].concat();
        symbols.extend(faultable.then_some("trace_call_bpf_faultable"));
        let facts = socket_facts(&symbols, socket_btf(516, 514));
        let points = plan(scenario("socket_write/tcp4"), &facts).unwrap().attach;
        let found: Vec<_> = points.iter().map(|point| point.program.as_str()).collect();
        assert_eq!(found, [[programs[0]; 4], [programs[1]; 4]].concat());
    }

    #[test]
    fn a_kernel_without_multipath_tcp_has_no_workload_for_it() {
        let mut facts = socket_facts(&["socket_file_ops"], socket_btf(516, 514));
        let planned = |facts: &KernelFacts| plan(scenario("socket_write/mptcp"), facts);
        assert_eq!(planned(&facts).unwrap_err().reason, Reason::MissingConfig);
        facts.symbols.insert(MPTCP.to_owned(), 0xffff_ffff_8200_0000);
        assert!(planned(&facts).is_ok());
    }

    #[test]
    fn a_write_is_watched_by_every_call() {
        let mut facts = socket_facts(&["socket_file_ops"], socket_btf(516, 514));
        facts.tracepoints.remove("sys_exit_sendmsg");
        let refused = plan(scenario("socket_write/tcp4"), &facts).unwrap_err();
        assert_eq!(refused.reason, Reason::MissingConfig);
    }

    #[rstest]
    #[case::connected(Family::INET, 80, Some("1.2.3.4:258"), Some("5.6.7.8:80"))]
    #[case::not_connected(Family::INET, 0, Some("1.2.3.4:258"), None)]
    #[case::version_6(Family::INET6, 80, Some("[102:304::]:258"), Some("[506:708::]:80"))]
    #[case::local(Family(1), 80, None, None)]
    fn a_five_tuple_is_that_of_getsockname_and_getpeername(
        #[case] family: Family,
        #[case] port: u16,
        #[case] expected_local: Option<&str>,
        #[case] expected_remote: Option<&str>,
    ) {
        let mut event = SocketWriteEvent { header: header(), ..Default::default() };
        event.local_address[0] = u32::from_ne_bytes([1, 2, 3, 4]);
        event.remote_address[0] = u32::from_ne_bytes([5, 6, 7, 8]);
        (event.family, event.local_port, event.remote_port) = (family.0, 258, port.to_be());
        let action = decoded("socket_write/tcp4", &event).unwrap();
        let Action::SocketWrite { local, remote, .. } = action else {
            panic!("not a write to a socket")
        };
        assert_eq!(local, expected_local.map(|text| text.parse().unwrap()));
        assert_eq!(remote, expected_remote.map(|text| text.parse().unwrap()));
    }

    #[rstest]
    #[case::local(|event: &mut SocketWriteEvent| event.local_address[1] = 1)]
    #[case::remote(|event: &mut SocketWriteEvent| event.remote_address[3] = 1)]
    fn an_ipv4_address_has_one_word(#[case] spoil: fn(&mut SocketWriteEvent)) {
        let mut event = SocketWriteEvent { header: header(), ..Default::default() };
        event.family = Family::INET.0;
        assert!(decoded("socket_write/tcp4", &event).is_ok());
        spoil(&mut event);
        let error = decoded("socket_write/tcp4", &event).unwrap_err();
        assert!(matches!(error, DecodeError::Address(_)), "{error}");
    }
}
