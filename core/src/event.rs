//! What tracers report, in the terms of the traced program.

mod kinds;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use self::kinds::{FileKind, ReadOutcome, RenameHalf, SyncCall};
use crate::{
    names::{NameClass, Names},
    socket::{Family, Protocol, SocketType},
};

/// One observation of a tracer, or one claim of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// What the thread did.
    pub action: Action,
}

/// What a thread did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A write(2) that did not fail.
    Write {
        /// Where to.
        fd: i32,
        /// Bytes asked for.
        count: u64,
        /// Bytes written.
        ret: i64,
    },
    /// A socket got its file.
    SocketAllocated {
        /// Of this family.
        family: Family,
        /// Of this type.
        socket_type: SocketType,
    },
    /// A write to a socket that did not fail.
    SocketWrite {
        /// Where to.
        fd: i32,
        /// Bytes written.
        bytes: i64,
        /// The socket's family.
        family: Family,
        /// The socket's protocol.
        protocol: Protocol,
        /// The socket's own address: what getsockname(2) says in the families of the internet.
        local: Option<SocketAddr>,
        /// The address of its peer, if it is connected to one: what getpeername(2) says. Where a
        /// socket that isn't connected sends to is not a property of the socket.
        remote: Option<SocketAddr>,
    },
    /// Writes of a thread to one place that did not fail, each longer than the one before: how
    /// bursts are told.
    Writes {
        /// Where to.
        fd: i32,
        /// How many.
        calls: u64,
        /// Bytes of the first.
        shortest: u64,
        /// Bytes of the last.
        longest: u64,
    },
    /// Half of a rename, as an inotify descriptor will tell it.
    Rename {
        /// Which half.
        half: RenameHalf,
        /// Is the entry a directory?
        directory: bool,
        /// Ties the halves together.
        cookie: u32,
        /// The entry's name, bytes outside of printable ASCII escaped.
        name: String,
    },
    /// A call of a kernel function.
    Call {
        /// Its symbol.
        function: String,
        /// Every argument with its parameter's name, in order.
        arguments: Vec<(String, Value)>,
    },
    /// All that the thread has read from and written to a file.
    Transferred {
        /// What kind of file.
        kind: FileKind,
        /// The name that it was opened by, bytes outside of printable ASCII escaped.
        name: String,
        /// Calls that read.
        reads: u64,
        /// Bytes that they returned.
        bytes_read: u64,
        /// Calls that wrote.
        writes: u64,
        /// Bytes that they took.
        bytes_written: u64,
    },
    /// The end of a file whose creation was seen.
    Unlinked {
        /// The name at the end, bytes outside of printable ASCII escaped.
        name: String,
        /// Nanoseconds since the creation.
        lifetime: u64,
    },
    /// A call that asks for data to be written back, whatever came of it.
    Sync {
        /// Which one.
        call: SyncCall,
    },
    /// An openat(2), whatever came of it.
    Open {
        /// The name as it was given, cut where a tracer cuts it, bytes outside of printable ASCII
        /// escaped; empty if there is none at the address.
        name: String,
        /// `O_*`, as they were given, with the numbers that most architectures have for them.
        flags: u32,
        /// The descriptor, or an error's negative number.
        ret: i32,
    },
    /// A call of a function in user space, with its result.
    UserCall {
        /// Its symbol.
        function: String,
        /// Every argument, in order.
        arguments: Vec<i128>,
        /// What it returned.
        ret: i128,
    },
    /// A record whose thread is known, and whose content is none that a program may report.
    Undecodable {
        /// What is wrong with it.
        why: String,
    },
    /// An attempt to read kernel memory.
    Read {
        /// Where.
        address: u64,
        /// What came of it.
        outcome: ReadOutcome,
    },
}

impl Action {
    /// As text in which nothing varies from run to run.
    pub(crate) fn text(&self, names: &Names) -> String {
        match self {
            Action::Write { fd, count, ret } => format!("write fd={fd} count={count} ret={ret}"),
            Action::SocketAllocated { family, socket_type } => {
                format!("socket family={family} type={socket_type}")
            }
            Action::SocketWrite { fd, bytes, family, protocol, local, remote } => format!(
                "write fd={fd} bytes={bytes} family={family} protocol={} local={} remote={}",
                family.show(*protocol),
                endpoint(*local, names),
                endpoint(*remote, names)
            ),
            Action::Writes { fd, calls, shortest, longest } => {
                format!("writes fd={fd} calls={calls} counts={shortest}..={longest}")
            }
            Action::Rename { half, directory, cookie, name } => {
                let cookie = names.show(NameClass::Cookie, (*cookie).into());
                let directory = if *directory { " directory" } else { "" };
                format!("{half}{directory} cookie={cookie} name=\"{name}\"")
            }
            Action::Call { function, arguments } => {
                let arguments: Vec<_> = arguments
                    .iter()
                    .map(|(parameter, value)| format!("{parameter}={}", show(value, names)))
                    .collect();
                format!("{function}({})", arguments.join(", "))
            }
            Action::Transferred { kind, name, reads, bytes_read, writes, bytes_written } => {
                format!(
                    "file kind={kind} name=\"{name}\" reads={reads} bytes_read={bytes_read} \
                 writes={writes} bytes_written={bytes_written}"
                )
            }
            Action::Unlinked { name, lifetime } => {
                let lifetime = names.show(NameClass::Lifetime, *lifetime);
                format!("unlinked name=\"{name}\" lifetime={lifetime}")
            }
            Action::Sync { call } => format!("sync call={call}"),
            Action::Open { name, flags, ret } => {
                format!("open name=\"{name}\" flags={flags:#o} ret={ret}")
            }
            Action::UserCall { function, arguments, ret } => {
                let arguments: Vec<_> = arguments.iter().map(i128::to_string).collect();
                format!("{function}({}) = {ret}", arguments.join(", "))
            }
            Action::Undecodable { why } => format!("undecodable: {why}"),
            Action::Read { address, outcome } => {
                format!("read({}) = {outcome}", names.show(NameClass::Address, *address))
            }
        }
    }
}

/// An argument, as far as it can be known from outside the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A number.
    Number(i128),
    /// The null pointer.
    Null,
    /// An address in user space.
    User(u64),
    /// The address of this symbol.
    Symbol(String),
    /// Some other kernel address.
    Kernel,
    /// A string, bytes outside of printable ASCII escaped.
    Text(String),
}

/// The bytes up to the first zero, with everything but printable ASCII escaped.
pub fn escape(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes[..end].escape_ascii().to_string()
}

/// `127.0.0.1:<server>`, `[::1]:<server>`, or `none`.
fn endpoint(address: Option<SocketAddr>, names: &Names) -> String {
    let Some(address) = address else { return "none".to_owned() };
    let port = names.show(NameClass::Port, address.port().into());
    match address {
        SocketAddr::V4(address) => format!("{}:{port}", address.ip()),
        SocketAddr::V6(address) => format!("[{}]:{port}", address.ip()),
    }
}

fn show(value: &Value, names: &Names) -> String {
    match value {
        Value::Number(number) if *number < 4096 => number.to_string(),
        Value::Number(number) => format!("{number:#x}"),
        Value::Null => "null".to_owned(),
        Value::User(address) => names.show(NameClass::Address, *address),
        Value::Symbol(name) => format!("&{name}"),
        Value::Kernel => "<kernel>".to_owned(),
        Value::Text(text) => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Some("127.0.0.1:7000"), "127.0.0.1:<server>")]
    #[case(Some("[::1]:7000"), "[::1]:<server>")]
    #[case(Some("[::ffff:127.0.0.1]:7001"), "[::ffff:127.0.0.1]:7001")]
    #[case(None, "none")]
    fn ports_have_names(#[case] address: Option<&str>, #[case] expected: &str) {
        let mut names = Names::default();
        names.add(NameClass::Port, 7000, "server").unwrap();
        assert_eq!(endpoint(address.map(|text| text.parse().unwrap()), &names), expected);
    }

    #[test]
    fn arguments_are_shown_by_what_they_are() {
        let mut names = Names::default();
        names.add(NameClass::Address, 0x1000, "buffer").unwrap();
        let values = [
            ("small", Value::Number(-3)),
            ("large", Value::Number(0x3f01_0000)),
            ("null", Value::Null),
            ("named", Value::User(0x1000)),
            ("unnamed", Value::User(0x2000)),
            ("symbol", Value::Symbol("key_type_keyring".into())),
            ("kernel", Value::Kernel),
            ("text", Value::Text("_pid".into())),
        ];
        let arguments = values.map(|(name, value)| (name.to_owned(), value)).to_vec();
        assert_eq!(
            Action::Call { function: "f".into(), arguments }.text(&names),
            "f(small=-3, large=0x3f010000, null=null, named=<buffer>, unnamed=0x2000, \
             symbol=&key_type_keyring, kernel=<kernel>, text=\"_pid\")"
        );
    }
}
