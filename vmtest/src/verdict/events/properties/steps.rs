//! What happens, made up in terms of the workload, and how it is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kernlab_core::{
    event::{Action, Event, FileKind, ReadOutcome, RenameHalf, SyncCall, Value},
    ground_truth::{GroundTruth, NameClass},
    socket::{Family, Protocol, SocketType},
};
use proptest::prelude::*;

pub(super) const THREADS: [&str; 3] = ["workload", "writer-1", "writer-2"];
pub(super) const COMMS: [&str; 3] = ["workload", "w", "a b"];
pub(super) const NAMES: [&str; 3] = ["a", "b", "a\\\"b"];

/// What a thread does, before anything has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// In [`THREADS`]; a stranger, if it is behind them.
    pub(super) thread: usize,
    /// In [`COMMS`].
    pub(super) comm: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Write { fd: i32, count: u64, ret: i64 },
    Allocated { socket_type: u16 },
    Sent { bytes: i64, from: Endpoint, to: Option<Endpoint> },
    Called { address: usize, symbol: bool },
    Total { regular: bool, reads: u64, bytes_read: u64, writes: u64, bytes_written: u64 },
    UserCalled { argument: i128, ret: i128 },
    Read { address: usize, outcome: usize },
    Synced { data_only: bool },
    Rename { half: bool, directory: bool, cookie: usize, name: usize },
    Unlinked { name: usize, lifetime: usize },
    Open { name: usize, flags: u32, ret: i32 },
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    pub(super) port: usize,
}

/// What may come of reading memory, and how it is told.
pub(super) const OUTCOMES: [&str; 3] =
    ["\"bytes\"", "refused by the guard", "refused by the kernel"];

/// The numbers of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) first_task: u32,
    pub(super) first_port: u16,
    pub(super) first_address: u64,
    pub(super) first_cookie: u32,
    pub(super) first_time: u64,
    /// Where within the range of a lifetime the tracer is.
    pub(super) within: u64,
}

impl Run {
    pub(super) fn task(self, thread: usize) -> u32 {
        self.first_task + 3 * thread as u32
    }

    pub(super) fn cookie(self, cookie: usize) -> u32 {
        self.first_cookie.wrapping_add(cookie as u32)
    }

    pub(super) fn lifetime(self, lifetime: usize) -> u64 {
        self.first_time + 100 * lifetime as u64
    }

    pub(super) fn port(self, port: usize) -> u16 {
        self.first_port + port as u16
    }

    pub(super) fn address(self, address: usize) -> u64 {
        self.first_address + 8 * address as u64
    }

    pub(super) fn endpoint(self, of: Endpoint) -> SocketAddr {
        SocketAddr::new(of.address, self.port(of.port))
    }

    pub(super) fn names(self) -> GroundTruth {
        let mut truth = GroundTruth::default();
        let mut add = |class, value, name: &str| truth.names.add(class, value, name).unwrap();
        for (thread, name) in THREADS.iter().enumerate() {
            add(NameClass::Task, self.task(thread).into(), name);
        }
        for number in 0..2 {
            add(NameClass::Port, self.port(number).into(), &format!("port-{number}"));
            add(NameClass::Address, self.address(number), &format!("address-{number}"));
        }
        for cookie in 0..2 {
            add(NameClass::Cookie, self.cookie(cookie).into(), &format!("cookie-{cookie}"));
        }
        for lifetime in 0..2 {
            let first = self.lifetime(lifetime);
            let name = format!("lifetime-{lifetime}");
            truth.names.add_range(NameClass::Lifetime, first..=first + 99, &name).unwrap();
        }
        truth
    }

    pub(super) fn events(self, steps: &[Step]) -> Vec<Event> {
        let event = |step: &Step| {
            let action = match step.what {
                What::Write { fd, count, ret } => Action::Write { fd, count, ret },
                What::Allocated { socket_type } => Action::SocketAllocated {
                    family: Family::INET,
                    socket_type: SocketType(socket_type),
                },
                What::Sent { bytes, from, to } => Action::SocketWrite {
                    fd: 3,
                    bytes,
                    family: Family::INET6,
                    protocol: Protocol(6),
                    local: Some(self.endpoint(from)),
                    remote: to.map(|to| self.endpoint(to)),
                },
                What::Called { address, symbol } => Action::Call {
                    function: "f".to_owned(),
                    arguments: vec![
                        ("a".to_owned(), Value::User(self.address(address))),
                        (
                            "b".to_owned(),
                            if symbol { Value::Symbol("s".to_owned()) } else { Value::Kernel },
                        ),
                    ],
                },
                What::Total { regular, reads, bytes_read, writes, bytes_written } => {
                    let kind = if regular { FileKind::Regular } else { FileKind::Other };
                    let name = "n".to_owned();
                    Action::Transferred { kind, name, reads, bytes_read, writes, bytes_written }
                }
                What::UserCalled { argument, ret } => {
                    Action::UserCall { function: "g".to_owned(), arguments: vec![argument, 1], ret }
                }
                What::Read { address, outcome } => Action::Read {
                    address: self.address(address),
                    outcome: match outcome {
                        0 => ReadOutcome::Read("bytes".to_owned()),
                        1 => ReadOutcome::RefusedByGuard,
                        _ => ReadOutcome::RefusedByKernel,
                    },
                },
                What::Synced { data_only } => {
                    let call = if data_only { SyncCall::Fdatasync } else { SyncCall::Fsync };
                    Action::Sync { call }
                }
                What::Rename { half, directory, cookie, name } => Action::Rename {
                    half: if half { RenameHalf::MovedFrom } else { RenameHalf::MovedTo },
                    directory,
                    cookie: self.cookie(cookie),
                    name: NAMES[name].to_owned(),
                },
                What::Unlinked { name, lifetime } => Action::Unlinked {
                    name: NAMES[name].to_owned(),
                    lifetime: self.lifetime(lifetime) + self.within,
                },
                What::Open { name, flags, ret } => {
                    Action::Open { name: NAMES[name].to_owned(), flags, ret }
                }
            };
            let comm = COMMS[step.comm].to_owned();
            Event { pid: self.task(0), tid: self.task(step.thread), comm, action }
        };
        steps.iter().map(event).collect()
    }
}

/// What a person would have agreed to.
pub(super) fn snapshot(steps: &[Step]) -> String {
    let endpoint = |of: Endpoint| match of.address {
        IpAddr::V4(address) => format!("{address}:<port-{}>", of.port),
        IpAddr::V6(address) => format!("[{address}]:<port-{}>", of.port),
    };
    let mut text = String::new();
    for (thread, name) in THREADS.iter().enumerate() {
        let mut lines = Vec::new();
        for step in steps.iter().filter(|step| step.thread == thread) {
            let comm = COMMS[step.comm];
            let action = match step.what {
                What::Write { fd, count, ret } => format!("write fd={fd} count={count} ret={ret}"),
                What::Allocated { socket_type } => {
                    let name = if socket_type == 1 { "stream" } else { "dgram" };
                    format!("socket family=inet type={name}")
                }
                What::Sent { bytes, from, to } => format!(
                    "write fd=3 bytes={bytes} family=inet6 protocol=tcp local={} remote={}",
                    endpoint(from),
                    to.map_or("none".to_owned(), endpoint)
                ),
                What::Called { address, symbol } => format!(
                    "f(a=<address-{address}>, b={})",
                    if symbol { "&s" } else { "<kernel>" }
                ),
                What::Total { regular, reads, bytes_read, writes, bytes_written } => format!(
                    "file kind={} name=\"n\" reads={reads} bytes_read={bytes_read} writes={writes} \
                     bytes_written={bytes_written}",
                    if regular { "regular" } else { "other" }
                ),
                What::UserCalled { argument, ret } => format!("g({argument}, 1) = {ret}"),
                What::Read { address, outcome } => {
                    format!("read(<address-{address}>) = {}", OUTCOMES[outcome])
                }
                What::Synced { data_only } => {
                    format!("sync call={}", if data_only { "fdatasync" } else { "fsync" })
                }
                What::Rename { half, directory, cookie, name } => format!(
                    "{}{} cookie=<cookie-{cookie}> name=\"{}\"",
                    if half { RenameHalf::MovedFrom } else { RenameHalf::MovedTo },
                    if directory { " directory" } else { "" },
                    NAMES[name]
                ),
                What::Unlinked { name, lifetime } => {
                    format!("unlinked name=\"{}\" lifetime=<lifetime-{lifetime}>", NAMES[name])
                }
                What::Open { name, flags, ret } => {
                    format!("open name=\"{}\" flags={flags:#o} ret={ret}", NAMES[name])
                }
            };
            lines.push(format!("pid=<workload> tid=<{name}> comm={comm} {action}\n"));
        }
        if are_totals(steps) {
            lines.sort();
        }
        text += &lines.concat();
    }
    if text.is_empty() { "(no events)\n".to_owned() } else { text }
}

/// Totals are of a whole session, and have no order.
pub(super) fn are_totals(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step.what, What::Total { .. }))
}

/// Do both mean the same? Nothing orders threads against each other.
pub(super) fn mean_the_same(one: &[Step], other: &[Step]) -> bool {
    let of = |steps: &[Step], thread: usize| -> Vec<Step> {
        let of_thread = steps.iter().filter(|step| step.thread == thread);
        let mut of_thread: Vec<_> = of_thread.cloned().collect();
        if are_totals(steps) {
            of_thread.sort_by_key(|step| format!("{step:?}"));
        }
        of_thread
    };
    (0..=THREADS.len()).all(|thread| of(one, thread) == of(other, thread))
}

pub(super) fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        (3..5_i32, 0..3_u64, 0..3_i64).prop_map(|(fd, count, ret)| What::Write { fd, count, ret }),
        (1..3_u16).prop_map(|socket_type| What::Allocated { socket_type }),
        (0..2_i64, endpoint(), prop::option::of(endpoint()))
            .prop_map(|(bytes, from, to)| What::Sent { bytes, from, to }),
        (0..2_usize, any::<bool>()).prop_map(|(address, symbol)| What::Called { address, symbol }),
        total(),
        (-2..2_i128, -2..2_i128).prop_map(|(argument, ret)| What::UserCalled { argument, ret }),
        (0..2_usize, 0..OUTCOMES.len())
            .prop_map(|(address, outcome)| What::Read { address, outcome }),
        any::<bool>().prop_map(|data_only| What::Synced { data_only }),
        (any::<bool>(), any::<bool>(), 0..2_usize, 0..NAMES.len()).prop_map(
            |(half, directory, cookie, name)| What::Rename { half, directory, cookie, name }
        ),
        (0..NAMES.len(), 0..2_usize).prop_map(|(name, lifetime)| What::Unlinked { name, lifetime }),
        (0..NAMES.len(), 0..2_u32, -2..2_i32).prop_map(|(name, flags, ret)| What::Open {
            name,
            flags,
            ret
        }),
    ]
}

pub(super) fn endpoint() -> impl Strategy<Value = Endpoint> {
    let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    (prop::sample::select(addresses.to_vec()), 0..2_usize)
        .prop_map(|(address, port)| Endpoint { address, port })
}

pub(super) fn total() -> impl Strategy<Value = What> {
    (any::<bool>(), [0..2_u64, 0..2, 0..2, 0..2]).prop_map(
        |(regular, [reads, bytes_read, writes, bytes_written])| What::Total {
            regular,
            reads,
            bytes_read,
            writes,
            bytes_written,
        },
    )
}

pub(super) fn step_of(what: impl Strategy<Value = What>) -> impl Strategy<Value = Step> {
    (0..THREADS.len(), 0..COMMS.len(), what).prop_map(|(thread, comm, what)| Step {
        thread,
        comm,
        what,
    })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    step_of(what())
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        4 => prop::collection::vec(step(), 0..7),
        1 => prop::collection::vec(step_of(total()), 0..7),
    ]
}

pub(super) fn run() -> impl Strategy<Value = Run> {
    let task_and_port = (2..40_000_u32, 1..u16::MAX);
    (task_and_port, 0x1000..1_u64 << 46, any::<u32>(), 0..1_u64 << 40, 0..100_u64).prop_map(
        |((first_task, first_port), first_address, first_cookie, first_time, within)| Run {
            first_task,
            first_port,
            first_address,
            first_cookie,
            first_time,
            within,
        },
    )
}

/// What a snapshot can tell: strangers have no name.
pub(super) fn known(steps: Vec<Step>) -> Vec<Step> {
    steps.into_iter().filter(|step| step.thread < THREADS.len()).collect()
}
