//! Sockets of several families, kinds and protocols, with distinct addresses on the loopback
//! interface.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use kernlab_core::discovery::SocketSubject;
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use super::number;

/// States, which protocols other than TCP use as well: include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// How long a connection to ourselves may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Open sockets.
#[derive(Default)]
pub(super) struct Sockets {
    open: Vec<OwnedFd>,
    subjects: Vec<SocketSubject>,
}

impl Sockets {
    /// Opens all of them. Those of IPv6 are left out where the kernel has none, and raw ones where
    /// we may not.
    pub(super) fn open() -> Result<Self> {
        let mut sockets = Sockets::default();
        let peer = sockets.udp().context("preparing udp sockets")?;
        sockets.tcp(Ipv4Addr::new(127, 0, 0, 4).into()).context("preparing tcp sockets")?;
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            sockets.tcp(Ipv6Addr::LOCALHOST.into()).context("preparing tcp sockets of IPv6")?;
            sockets.udp_v6(peer).context("preparing udp sockets of IPv6")?;
        }
        sockets.others().context("preparing local sockets")?;
        sockets.raw();
        Ok(sockets)
    }

    pub(super) fn subjects(&self) -> &[SocketSubject] {
        &self.subjects
    }

    /// One that is bound, and one that is connected to it.
    fn udp(&mut self) -> Result<SocketAddr> {
        let bound = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 3), 0))?;
        let connected = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0))?;
        let peer = bound.local_addr()?;
        connected.connect(peer)?;
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let ends = (connected.local_addr()?, peer);
        self.internet(bound, libc::SOCK_DGRAM, libc::IPPROTO_UDP, (peer, nobody), CLOSE);
        self.internet(connected, libc::SOCK_DGRAM, libc::IPPROTO_UDP, ends, ESTABLISHED);
        Ok(peer)
    }

    /// IPv6 sockets with addresses that ::1 is not: IPv4 addresses, as IPv6 spells them.
    fn udp_v6(&mut self, peer: SocketAddr) -> Result<()> {
        let SocketAddr::V4(peer) = peer else { return Ok(()) };
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 5).to_ipv6_mapped(), 0))?;
        socket.connect((peer.ip().to_ipv6_mapped(), peer.port()))?;
        let ends = (socket.local_addr()?, socket.peer_addr()?);
        self.internet(socket, libc::SOCK_DGRAM, libc::IPPROTO_UDP, ends, ESTABLISHED);
        Ok(())
    }

    /// One that listens, and both ends of a connection to it.
    fn tcp(&mut self, address: std::net::IpAddr) -> Result<()> {
        let listener = TcpListener::bind((address, 0))?;
        let here = listener.local_addr()?;
        let client = TcpStream::connect_timeout(&here, CONNECT)?;
        let (server, _) = listener.accept()?;
        let nobody: SocketAddr = match here {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let (kind, protocol) = (libc::SOCK_STREAM, libc::IPPROTO_TCP);
        for end in [client, server] {
            let ends = (end.local_addr()?, end.peer_addr()?);
            self.internet(end, kind, protocol, ends, ESTABLISHED);
        }
        self.internet(listener, kind, protocol, (here, nobody), LISTEN);
        Ok(())
    }

    fn others(&mut self) -> Result<()> {
        let (one, other) = UnixStream::pair()?;
        for end in [one, other] {
            self.add(end, libc::AF_UNIX, libc::SOCK_STREAM, None, None, None);
        }
        let made = |family, kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
        let datagram = made(AddressFamily::Unix, SockType::Datagram)?;
        self.add(datagram, libc::AF_UNIX, libc::SOCK_DGRAM, None, None, None);
        let packets = made(AddressFamily::Unix, SockType::SeqPacket)?;
        self.add(packets, libc::AF_UNIX, libc::SOCK_SEQPACKET, None, None, None);
        if let Ok(netlink) = made(AddressFamily::Netlink, SockType::Raw) {
            self.add(netlink, libc::AF_NETLINK, libc::SOCK_RAW, None, None, None);
        }
        Ok(())
    }

    /// Protocols for experiments: RFC 3692.
    fn raw(&mut self) {
        for protocol in [253, 254] {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
            // SAFETY: it takes no pointers.
            let fd = unsafe { libc::socket(libc::AF_INET, kind, protocol) };
            let Ok(fd) = Errno::result(fd) else { return };
            // SAFETY: the descriptor is new, and this is its only owner.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            self.add(fd, libc::AF_INET, libc::SOCK_RAW, Some(protocol), None, Some(CLOSE));
        }
    }

    fn internet(
        &mut self,
        socket: impl Into<OwnedFd>,
        kind: i32,
        protocol: i32,
        endpoints: (SocketAddr, SocketAddr),
        state: u8,
    ) {
        let family = if endpoints.0.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        self.add(socket, family, kind, Some(protocol), Some(endpoints), Some(state));
    }

    fn add(
        &mut self,
        socket: impl Into<OwnedFd>,
        family: i32,
        kind: i32,
        protocol: Option<i32>,
        endpoints: Option<(SocketAddr, SocketAddr)>,
        state: Option<u8>,
    ) {
        let socket = socket.into();
        self.subjects.push(SocketSubject {
            fd: number(socket.as_raw_fd()),
            family: family as u16,
            kind: kind as u16,
            protocol: protocol.map(|protocol| protocol as u8),
            endpoints,
            state,
        });
        self.open.push(socket);
    }
}
