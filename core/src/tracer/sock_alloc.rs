//! `sock_alloc`: sockets at the moment that they get their file.

use kernlab_abi::{EventHeader, ProgramConfig, SockAllocEvent};

use super::definition::{
    Definition, EventType, LayoutField, RawEvent, Wants, lay_out, listed, names,
};
use crate::{
    attach::{AttachPoint, kprobe},
    decoder::{DecodeError, Decoder},
    event::Action,
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    socket::{Family, SocketType},
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "sock_alloc",
    scenarios: &[
        listed("families", "sockets of every family and type, by socket(2) and socketpair(2)"),
        listed("rare_families", "families and types with large numbers"),
        listed("accept", "connections that are accepted"),
    ],
    wants,
    attach,
    event: EventType::of::<SockAllocEvent>(),
};

/// What every socket goes through that gets a file, and so a descriptor: those of socket(2),
/// socketpair(2) and accept(2). `(struct socket *sock, int flags, const char *dname)` in net/socket.c,
/// in all releases from 4.18 on.
const SOCK_ALLOC_FILE: &str = "sock_alloc_file";

/// The family is that of the operations, not that of the sock: accept(2) gives its socket a sock
/// only after it has given it a file, but takes the operations over from the listening socket before
/// that (do_accept, net/socket.c).
const FIELDS: [LayoutField; 3] = [
    ("socket", "type", |layout| &mut layout.socket_type),
    ("socket", "ops", |layout| &mut layout.socket_ops),
    ("proto_ops", "family", |layout| &mut layout.proto_ops_family),
];

/// What makes the sockets of `rare_families`: net/packet/af_packet.c, net/xdp/xsk.c.
const RARE: [(&str, &str); 2] =
    [("packet_create", "CONFIG_PACKET"), ("xsk_create", "CONFIG_XDP_SOCKETS, from 4.18 on")];

fn wants() -> Wants {
    Wants {
        functions: vec![SOCK_ALLOC_FILE],
        symbols: RARE.map(|(symbol, _)| symbol).to_vec(),
        fields: names(&FIELDS).collect(),
        ..Wants::default()
    }
}

fn attach(
    scenario: &Scenario,
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if !facts.has_symbol(SOCK_ALLOC_FILE) {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has no {SOCK_ALLOC_FILE}: CONFIG_NET"),
        ));
    }
    let lacks = |(symbol, _): &&(&str, &str)| !facts.has_symbol(symbol);
    if let ("rare_families", Some((_, option))) = (scenario.name, RARE.iter().find(lacks)) {
        let message = format!("a family of sockets is missing: {option}");
        return Err(Unsupported::new(Reason::MissingConfig, message));
    }
    lay_out(&FIELDS, facts, &mut config.layout)?;
    Ok(vec![kprobe("sock_alloc", SOCK_ALLOC_FILE)])
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for SockAllocEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn reserved(&self) -> u32 {
        self.reserved
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        Ok(Action::SocketAllocated {
            family: Family(self.family),
            socket_type: SocketType(self.socket_type),
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::plan::{
        plan,
        tests::{facts, scenario, socket_btf},
    };

    #[test]
    fn a_socket_is_described_by_its_operations() {
        let without = facts(&[], None);
        let facts = facts(&["sock_alloc_file"], socket_btf(516, 514));
        let layout = plan(scenario("sock_alloc/accept"), &facts).unwrap().config.layout;
        assert_eq!((layout.socket_type, layout.socket_ops, layout.proto_ops_family), (4, 32, 0));
        let refused = plan(scenario("sock_alloc/accept"), &without).unwrap_err();
        assert_eq!(refused.reason, Reason::MissingSymbol);
    }
    #[rstest]
    #[case::all(&["packet_create", "xsk_create"], None)]
    #[case::no_packet(&["xsk_create"], Some("CONFIG_PACKET"))]
    #[case::no_xdp(&["packet_create"], Some("CONFIG_XDP_SOCKETS"))]
    fn rare_families_are_asked_for(#[case] symbols: &[&str], #[case] missing: Option<&str>) {
        let facts = facts(&[&["sock_alloc_file"], symbols].concat(), socket_btf(516, 514));
        assert!(plan(scenario("sock_alloc/families"), &facts).is_ok());
        let refused = plan(scenario("sock_alloc/rare_families"), &facts).err();
        assert_eq!(refused.is_some(), missing.is_some());
        if let (Some(refused), Some(missing)) = (refused, missing) {
            assert_eq!(refused.reason, Reason::MissingConfig);
            assert!(refused.to_string().contains(missing), "{refused}");
        }
    }
}
