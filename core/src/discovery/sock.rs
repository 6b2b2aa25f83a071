//! `sock` and `sock_common`: addresses, ports, protocol.

use std::net::{IpAddr, SocketAddr};

use super::{
    SocketSubject,
    image::Image,
    search::{Search, agreeing, valued},
};

/// More than `struct sock_common` has; farther copies of addresses belong to protocols.
const COMMON_BYTES: usize = 256;

/// Finds the fields of socks.
pub(super) fn search(search: &mut Search<'_>, socks: &[(Image, &SocketSubject)]) {
    let protocols = known(socks, usize::MAX, |socket| socket.protocol);
    let relation = "of the byte that names the protocol, for several protocols";
    search.settle("sock", "sk_protocol", valued(&protocols, Image::u8), relation);

    let kinds = known(socks, usize::MAX, |socket| Some(socket.kind));
    let relation = "of SOCK_STREAM, SOCK_DGRAM and others, as each socket was made";
    search.settle("sock", "sk_type", valued(&kinds, Image::u16), relation);

    let families = known(socks, COMMON_BYTES, |socket| Some(socket.family));
    let relation = "of the address family, for several families";
    search.settle("sock_common", "skc_family", valued(&families, Image::u16), relation);

    let states = known(socks, COMMON_BYTES, |socket| socket.state);
    let relation = "of the byte that tells listening, connected and other sockets apart";
    search.settle("sock_common", "skc_state", valued(&states, Image::u8), relation);

    let local_ports = known(socks, COMMON_BYTES, |socket| Some(socket.endpoints?.0.port()));
    let relation = "of the local port in the machine's byte order, for several ports";
    search.settle("sock_common", "skc_num", valued(&local_ports, Image::u16), relation);

    let remote_ports = known(socks, COMMON_BYTES, |socket| Some(socket.endpoints?.1.port()));
    let remote_ports =
        valued(&remote_ports, |image, offset| image.array(offset).map(u16::from_be_bytes));
    let relation = "of the peer's port in network byte order, for several ports";
    search.settle("sock_common", "skc_dport", remote_ports, relation);

    addresses(search, socks);
}

fn addresses(search: &mut Search<'_>, socks: &[(Image, &SocketSubject)]) {
    let local = |(local, _): (SocketAddr, SocketAddr)| local.ip();
    let remote = |(_, remote): (SocketAddr, SocketAddr)| remote.ip();

    let of_v4 = |end: fn((SocketAddr, SocketAddr)) -> IpAddr| {
        known(socks, COMMON_BYTES, move |socket| match end(socket.endpoints?) {
            IpAddr::V4(address) => Some(address.octets()),
            IpAddr::V6(_) => None,
        })
    };
    let relation = "of the local address, for several addresses";
    let found = valued_words(&of_v4(local));
    search.settle("sock_common", "skc_rcv_saddr", found, relation);
    let relation = "of the peer's address, for several addresses";
    let found = valued_words(&of_v4(remote));
    search.settle("sock_common", "skc_daddr", found, relation);

    let of_v6 = |end: fn((SocketAddr, SocketAddr)) -> IpAddr| {
        known(socks, COMMON_BYTES, move |socket| match end(socket.endpoints?) {
            IpAddr::V6(address) => Some(address.octets()),
            IpAddr::V4(_) => None,
        })
    };
    let relation = "of the local IPv6 address, for several addresses";
    let found = valued_words(&of_v6(local));
    search.settle("sock_common", "skc_v6_rcv_saddr", found, relation);
    let relation = "of the peer's IPv6 address, for several addresses";
    let found = valued_words(&of_v6(remote));
    search.settle("sock_common", "skc_v6_daddr", found, relation);
}

/// The socks of which something is known, with that.
fn known<T>(
    socks: &[(Image, &SocketSubject)],
    bytes: usize,
    what: impl Fn(&SocketSubject) -> Option<T>,
) -> Vec<(Image, T)> {
    socks.iter().filter_map(|(image, socket)| Some((image.head(bytes), what(socket)?))).collect()
}

/// Like [`valued`], for bytes that are aligned as words of 32 bits are.
fn valued_words<const N: usize>(socks: &[(Image, [u8; N])]) -> Vec<usize> {
    if socks.iter().all(|(_, address)| *address == socks[0].1) {
        return Vec::new();
    }
    agreeing(socks, 4, |image, offset, address| image.array(offset) == Some(*address))
}
