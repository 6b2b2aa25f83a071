//! Events of `socket_write`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kernlab_abi::{ADDRESS_WORDS, SocketWriteEvent};

use super::{Action, DecodeError, Event, read, with_header};
use crate::{
    scenario::Tracer,
    socket::{Family, Protocol},
};

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid SocketWriteEvent.
    let event: SocketWriteEvent = unsafe { read(Tracer::SocketWrite, record)? };
    Ok(with_header(&event.header, action(&event)))
}

fn action(event: &SocketWriteEvent) -> Action {
    let family = Family(event.family);
    let endpoint = |address, port| Some(SocketAddr::new(internet_address(family, address)?, port));
    // getpeername(2) knows no peer without a port either: inet_getname, net/ipv4/af_inet.c.
    let remote_port = Some(u16::from_be(event.remote_port)).filter(|&port| port != 0);
    Action::SocketWrite {
        fd: event.fd,
        bytes: event.ret,
        family,
        protocol: Protocol(event.protocol),
        local: endpoint(event.local_address, event.local_port),
        remote: remote_port.and_then(|port| endpoint(event.remote_address, port)),
    }
}

fn internet_address(family: Family, words: [u32; ADDRESS_WORDS]) -> Option<IpAddr> {
    let [a, b, c, d] = words.map(|word| u128::from(u32::from_be(word)));
    match family {
        Family::INET => Some(Ipv4Addr::from(u32::from_be(words[0])).into()),
        Family::INET6 => Some(Ipv6Addr::from(a << 96 | b << 64 | c << 32 | d).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::tests::header, *};

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
        let Action::SocketWrite { local, remote, .. } = action(&event) else {
            panic!("not a write to a socket")
        };
        assert_eq!(local, expected_local.map(|text| text.parse().unwrap()));
        assert_eq!(remote, expected_remote.map(|text| text.parse().unwrap()));
    }
}
