//! What a process would prepare.

use super::world::KERNEL_ADDRESS_MIN;
use crate::discovery::{Access, FileSubject, SocketSubject, Status, Subjects, TaskSubject};

pub(super) fn subjects() -> Subjects {
    let task = |comm: &str, pid| TaskSubject { address: 0, comm: comm.to_owned(), pid, tgid: 80 };
    Subjects {
        kernel_address_min: KERNEL_ADDRESS_MIN,
        sharers: vec![task("kernlab-sharer1", 81), task("kernlab-sharer2", 82)],
        loner: task("kernlab-loner-3", 83),
        duplicates: vec![(4, 40)],
        high: (200, 4),
        closed: vec![3, 39],
        files: files(),
        sockets: sockets(),
        socket_file_ops: None,
    }
}

fn files() -> Vec<FileSubject> {
    use Access::{Both, Read, Write};
    let file = |fd, entry, name: &str, parent, access, (device, inode, mode, rdev)| FileSubject {
        fd,
        entry,
        name: name.to_owned(),
        parent: Some(parent),
        mount_root: (device == 5).then_some(4),
        access,
        status: Status { inode, mode, rdev, device },
    };
    vec![
        file(4, 0, "/", 4, Read, (5, 1, 0o040_755, 0)),
        file(5, 1, "null", 4, Read, (5, 4, 0o020_666, 0x10_0003)),
        file(6, 2, "zero", 4, Both, (5, 6, 0o020_666, 0x10_0005)),
        file(7, 3, "/", 7, Read, (23, 2, 0o040_700, 0)),
        file(8, 4, "a", 7, Read, (23, 3, 0o100_640, 0)),
        file(9, 4, "a", 7, Both, (23, 3, 0o100_640, 0)),
        file(10, 5, "link", 7, Write, (23, 3, 0o100_640, 0)),
        file(11, 6, "b", 7, Read, (23, 7, 0o100_600, 0)),
        file(12, 7, "directory", 7, Read, (23, 8, 0o040_755, 0)),
        file(13, 8, "a", 12, Both, (23, 9, 0o100_604, 0)),
        file(14, 9, "twin", 7, Read, (23, 10, 0o100_444, 0)),
        file(15, 10, "twin", 7, Write, (23, 11, 0o100_400, 0)),
    ]
}

fn sockets() -> Vec<SocketSubject> {
    let socket = |fd, (family, kind), protocol, state, ends: Option<(&str, &str)>| SocketSubject {
        fd,
        family,
        kind,
        protocol: Some(protocol),
        endpoints: ends.map(|(local, remote)| (local.parse().unwrap(), remote.parse().unwrap())),
        state: Some(state),
    };
    let ends = |local, remote| Some((local, remote));
    let local = |fd, kind| SocketSubject {
        protocol: None,
        state: None,
        ..socket(fd, (1, kind), 0, 0, None)
    };
    vec![
        socket(20, (2, 2), 17, 7, ends("127.0.0.3:41000", "0.0.0.0:0")),
        socket(21, (2, 2), 17, 1, ends("127.0.0.2:42001", "127.0.0.3:41000")),
        socket(22, (2, 1), 6, 10, ends("127.0.0.4:33333", "0.0.0.0:0")),
        socket(23, (2, 1), 6, 1, ends("127.0.0.1:50000", "127.0.0.4:33333")),
        socket(24, (10, 1), 6, 10, ends("[::1]:34567", "[::]:0")),
        socket(25, (10, 2), 17, 1, ends("[::ffff:127.0.0.5]:45678", "[::ffff:127.0.0.3]:41000")),
        socket(26, (2, 3), 253, 7, None),
        socket(27, (2, 3), 254, 7, None),
        local(28, 1),
        local(29, 5),
    ]
}
