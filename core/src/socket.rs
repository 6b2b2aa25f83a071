//! What distinguishes sockets, under the names of the system's headers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An address family: `AF_*`, include/linux/socket.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Family(pub u16);

/// A type of socket: `SOCK_*`, include/linux/net.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketType(pub u16);

/// A protocol of a [`Family`]; of the internet's, `IPPROTO_*`, include/uapi/linux/in.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Protocol(pub u16);

impl Family {
    /// Internet protocol version 4.
    pub const INET: Family = Family(kernlab_abi::AF_INET);
    /// Internet protocol version 6.
    pub const INET6: Family = Family(kernlab_abi::AF_INET6);

    fn is_internet(self) -> bool {
        [Family::INET, Family::INET6].contains(&self)
    }

    /// Shows a protocol by its name in this family, or by its number.
    pub fn show(self, protocol: Protocol) -> String {
        let name = match protocol.0 {
            _ if !self.is_internet() => None,
            1 => Some("icmp"),
            6 => Some("tcp"),
            17 => Some("udp"),
            58 => Some("icmpv6"),
            255 => Some("raw"),
            262 => Some("mptcp"),
            _ => None,
        };
        name.map_or_else(|| protocol.0.to_string(), str::to_owned)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("unix"),
            2 => f.write_str("inet"),
            10 => f.write_str("inet6"),
            16 => f.write_str("netlink"),
            17 => f.write_str("packet"),
            number => write!(f, "{number}"),
        }
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("stream"),
            2 => f.write_str("dgram"),
            3 => f.write_str("raw"),
            5 => f.write_str("seqpacket"),
            number => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_what_its_family_says() {
        assert_eq!(Family::INET.show(Protocol(6)), "tcp");
        assert_eq!(Family(16).show(Protocol(6)), "6");
        assert_eq!(Family::INET6.show(Protocol(200)), "200");
        assert_eq!((Family(10).to_string(), Family(40).to_string()), ("inet6".into(), "40".into()));
        assert_eq!(SocketType(5).to_string(), "seqpacket");
    }
}
