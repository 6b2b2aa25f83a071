//! What can be run: every tracer with the workloads that prove it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A probe set with one event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tracer {
    /// Completed write(2) calls, joined from two tracepoints.
    SysWrite,
    /// Sockets at the moment that they get their file.
    SockAlloc,
    /// Completed writes to sockets, with both ends' addresses.
    SocketWrite,
    /// Rename notifications with their cookie, on their way to an inotify descriptor.
    Inotify,
    /// All arguments of functions that have more of them than registers.
    ManyArgs,
    /// What each thread reads from and writes to each file, counted in the kernel.
    Filetop,
    /// Files that are created and unlinked, with the time between.
    Filelife,
    /// Calls of the sync(2) family, on entry.
    Syncsnoop,
    /// All arguments and the result of a function in user space, some of them on the stack.
    UserArgs,
    /// Reads of kernel memory at addresses that can't be trusted.
    GuardedRead,
}

impl Tracer {
    /// The name in ids, file names and BPF objects: `sys_write`.
    pub fn name(self) -> &'static str {
        match self {
            Tracer::SysWrite => "sys_write",
            Tracer::SockAlloc => "sock_alloc",
            Tracer::SocketWrite => "socket_write",
            Tracer::Inotify => "inotify",
            Tracer::ManyArgs => "many_args",
            Tracer::Filetop => "filetop",
            Tracer::Filelife => "filelife",
            Tracer::Syncsnoop => "syncsnoop",
            Tracer::UserArgs => "user_args",
            Tracer::GuardedRead => "guarded_read",
        }
    }
}

impl fmt::Display for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A tracer and the workload that it watches. Written as `tracer/name`.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scenario {
    /// Who watches.
    pub tracer: Tracer,
    /// What happens: also the name of the workload.
    pub name: &'static str,
}

impl Scenario {
    /// Every scenario, grouped by tracer.
    pub const ALL: &'static [Scenario] = &[
        Scenario { tracer: Tracer::SysWrite, name: "files_and_pipes" },
        Scenario { tracer: Tracer::SysWrite, name: "failed_write" },
        Scenario { tracer: Tracer::SysWrite, name: "threads" },
        Scenario { tracer: Tracer::SysWrite, name: "burst_ring" },
        Scenario { tracer: Tracer::SysWrite, name: "burst_perf" },
        Scenario { tracer: Tracer::SysWrite, name: "overflow_ring" },
        Scenario { tracer: Tracer::SysWrite, name: "overflow_perf" },
        Scenario { tracer: Tracer::SockAlloc, name: "families" },
        Scenario { tracer: Tracer::SockAlloc, name: "accept" },
        Scenario { tracer: Tracer::SocketWrite, name: "tcp4" },
        Scenario { tracer: Tracer::SocketWrite, name: "tcp6" },
        Scenario { tracer: Tracer::SocketWrite, name: "tcp6_mapped" },
        Scenario { tracer: Tracer::SocketWrite, name: "udp4" },
        Scenario { tracer: Tracer::SocketWrite, name: "udp6" },
        Scenario { tracer: Tracer::SocketWrite, name: "unix" },
        Scenario { tracer: Tracer::SocketWrite, name: "not_a_socket" },
        Scenario { tracer: Tracer::SocketWrite, name: "dup_and_passed_fd" },
        Scenario { tracer: Tracer::SocketWrite, name: "high_fd" },
        Scenario { tracer: Tracer::SocketWrite, name: "replaced_fd" },
        Scenario { tracer: Tracer::Inotify, name: "rename_same_dir" },
        Scenario { tracer: Tracer::Inotify, name: "rename_cross_dir" },
        Scenario { tracer: Tracer::Inotify, name: "rename_exchange" },
        Scenario { tracer: Tracer::Inotify, name: "long_name" },
        Scenario { tracer: Tracer::Inotify, name: "unwatched" },
        Scenario { tracer: Tracer::ManyArgs, name: "key_alloc" },
        Scenario { tracer: Tracer::ManyArgs, name: "ip_make_skb" },
        Scenario { tracer: Tracer::ManyArgs, name: "process_vm_rw" },
        Scenario { tracer: Tracer::ManyArgs, name: "get_user_pages" },
        Scenario { tracer: Tracer::Filetop, name: "mixed_io" },
        Scenario { tracer: Tracer::Filelife, name: "create_unlink" },
        Scenario { tracer: Tracer::Filelife, name: "failed_unlink" },
        Scenario { tracer: Tracer::Filelife, name: "open_creat" },
        Scenario { tracer: Tracer::Filelife, name: "mknod" },
        Scenario { tracer: Tracer::Syncsnoop, name: "every_call" },
        Scenario { tracer: Tracer::UserArgs, name: "eight_ints" },
        Scenario { tracer: Tracer::UserArgs, name: "pie_and_static" },
        Scenario { tracer: Tracer::GuardedRead, name: "hostile_pointers" },
        Scenario { tracer: Tracer::GuardedRead, name: "unguarded" },
    ];

    /// The scenario with the id `tracer/name`.
    pub fn by_id(id: &str) -> Option<&'static Scenario> {
        Scenario::ALL.iter().find(|scenario| scenario.to_string() == id)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tracer, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_found_again() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::by_id(&scenario.to_string()), Some(scenario));
        }
        assert_eq!(Scenario::by_id("inotify/nothing"), None);
    }
}
