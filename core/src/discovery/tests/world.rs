//! A made-up kernel: memory with tasks, files and sockets laid out as a test wants.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::subjects::subjects;
use crate::discovery::{Access, FileSubject, Memory, SocketSubject, Subjects};

/// Where objects begin.
const START: u64 = 0xffff_8880_0010_0000;
const BYTES: usize = 1 << 20;
pub(super) const KERNEL_ADDRESS_MIN: u64 = 0xffff_8000_0000_0000;

/// Offsets by `structure.field`, as a search reports them, and a few that it doesn't.
pub(super) type Layout = BTreeMap<&'static str, u32>;

/// Memory that remembers how it was laid out.
pub(super) struct World {
    pub(super) layout: Layout,
    bytes: Vec<u8>,
    next: usize,
}

impl Memory for World {
    fn read(&mut self, address: u64, into: &mut [u8]) -> bool {
        assert!(address >= KERNEL_ADDRESS_MIN, "{address:#x} is no kernel address");
        assert!(address % 4096 + into.len() as u64 <= 4096, "a read crosses a page");
        let Some(start) = address.checked_sub(START) else { return false };
        let Some(bytes) = self.bytes.get(start as usize..start as usize + into.len()) else {
            return false;
        };
        into.copy_from_slice(bytes);
        true
    }
}

impl World {
    fn allocate(&mut self, len: usize) -> u64 {
        let start = self.next;
        self.next = (start + len).next_multiple_of(64);
        assert!(self.next <= self.bytes.len(), "the world is full");
        START + start as u64
    }

    pub(super) fn put(&mut self, address: u64, bytes: &[u8]) {
        let start = (address - START) as usize;
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn set(&mut self, object: u64, field: &str, bytes: &[u8]) {
        let offset = self.layout[field];
        self.put(object + u64::from(offset), bytes);
    }

    fn point(&mut self, object: u64, field: &str, target: u64) {
        self.set(object, field, &target.to_ne_bytes());
    }

    /// Builds everything. What isn't set is noise, different in every object.
    pub(super) fn build(layout: Layout) -> (World, Subjects) {
        let mut noise = 0x2545_f491_4f6c_dd1d_u64;
        let bytes = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_ne_bytes()
        });
        let bytes = bytes.take(BYTES / 8).flatten().collect();
        let mut world = World { layout, bytes, next: 0 };
        let mut subjects = subjects();
        let mut files = BTreeMap::new();
        world.files(&subjects.files, &mut files);
        let operations = world.allocate(256);
        for socket in &subjects.sockets {
            files.insert(socket.fd, world.socket(socket, operations));
        }
        world.tasks(&mut subjects, &files);
        (world, subjects)
    }

    fn tasks(&mut self, subjects: &mut Subjects, files: &BTreeMap<u32, u64>) {
        let shared = self.table(64, &[], subjects, files);
        let own = self.table(256, &[subjects.high], subjects, files);
        let tasks = subjects.sharers.iter_mut().map(|task| (task, shared));
        for (task, table) in tasks.chain([(&mut subjects.loner, own)]) {
            task.address = self.allocate(16 << 10);
            let mut comm = task.comm.clone().into_bytes();
            comm.resize(16, 0);
            self.set(task.address, "task_struct.comm", &comm);
            self.set(task.address, "task_struct.pid", &task.pid.to_ne_bytes());
            self.set(task.address, "task_struct.tgid", &task.tgid.to_ne_bytes());
            self.point(task.address, "task_struct.files", table);
        }
    }

    fn table(
        &mut self,
        size: u32,
        more: &[(u32, u32)],
        subjects: &Subjects,
        files: &BTreeMap<u32, u64>,
    ) -> u64 {
        let (structure, fdtable) = (self.allocate(512), self.allocate(64));
        let array = self.allocate(8 * size as usize);
        self.put(array, &vec![0; 8 * size as usize]);
        let copies = subjects.duplicates.iter().map(|&(origin, copy)| (copy, origin));
        let copies = copies.chain(more.iter().copied()).map(|(fd, origin)| (fd, files[&origin]));
        for (fd, file) in files.iter().map(|(&fd, &file)| (fd, file)).chain(copies) {
            self.put(array + 8 * u64::from(fd), &file.to_ne_bytes());
        }
        self.point(structure, "files_struct.fdt", fdtable);
        self.set(fdtable, "fdtable.max_fds", &size.to_ne_bytes());
        self.point(fdtable, "fdtable.fd", array);
        structure
    }

    fn files(&mut self, subjects: &[FileSubject], files: &mut BTreeMap<u32, u64>) {
        let mut super_blocks = BTreeMap::new();
        let mut inodes = BTreeMap::new();
        let mut entries = BTreeMap::new();
        let mut dentry_of = BTreeMap::new();
        for subject in subjects {
            let status = subject.status;
            let super_block =
                *super_blocks.entry(status.device).or_insert_with(|| self.allocate(256));
            self.set(super_block, "super_block.s_dev", &status.device.to_ne_bytes());
            let inode = *inodes
                .entry((status.device, status.inode))
                .or_insert_with(|| (self.allocate(640), self.allocate(256)));
            let (inode, operations) = inode;
            self.set(inode, "inode.i_ino", &status.inode.to_ne_bytes());
            self.set(inode, "inode.i_mode", &status.mode.to_ne_bytes());
            self.set(inode, "inode.i_rdev", &status.rdev.to_ne_bytes());
            self.point(inode, "inode.i_fop", operations);
            self.point(inode, "inode.i_sb", super_block);

            let dentry = *entries.entry(subject.entry).or_insert_with(|| self.allocate(256));
            dentry_of.insert(subject.fd, dentry);
            let parent = subject.parent.map_or(super_block, |parent| dentry_of[&parent]);
            let mut name = subject.name.clone().into_bytes();
            let hash = name
                .iter()
                .fold(parent as u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
            name.push(0);
            let text = self.allocate(name.len());
            self.put(text, &name);
            self.point(dentry, "dentry.d_parent", parent);
            self.point(dentry, "dentry.d_inode", inode);
            self.point(dentry, "dentry.d_sb", super_block);
            self.set(dentry, "dentry.d_name", &hash.to_ne_bytes());
            self.set(dentry, "dentry.d_name.len", &(subject.name.len() as u32).to_ne_bytes());
            self.point(dentry, "dentry.d_name.name", text);

            let mount = self.allocate(64);
            if let Some(root) = subject.mount_root {
                self.put(mount, &dentry_of[&root].to_ne_bytes());
            }
            let file = self.allocate(384);
            self.point(file, "file.f_path.mnt", mount);
            self.point(file, "file.f_path.dentry", dentry);
            self.point(file, "file.f_inode", inode);
            self.point(file, "file.f_op", operations);
            let mode: u32 = match subject.access {
                Access::Read => 0xd,
                Access::Write => 0xe,
                Access::Both => 0xf,
            };
            self.set(file, "file.f_mode", &mode.to_ne_bytes());
            files.insert(subject.fd, file);
        }
    }

    fn socket(&mut self, subject: &SocketSubject, operations: u64) -> u64 {
        let (file, socket, sock) = (self.allocate(384), self.allocate(256), self.allocate(1024));
        let of_family = self.allocate(64);
        self.set(of_family, "proto_ops.family", &u32::from(subject.family).to_ne_bytes());
        self.point(file, "file.f_op", operations);
        self.point(file, "file.private_data", socket);
        self.point(socket, "socket.file", file);
        self.point(socket, "socket.sk", sock);
        self.point(socket, "socket.ops", of_family);
        self.set(socket, "socket.type", &subject.kind.to_ne_bytes());
        self.point(sock, "sock.sk_socket", socket);
        self.set(sock, "sock.sk_type", &subject.kind.to_ne_bytes());
        self.set(sock, "sock_common.skc_family", &subject.family.to_ne_bytes());
        if let Some(protocol) = subject.protocol {
            self.set(sock, "sock.sk_protocol", &[protocol]);
        }
        if let Some(state) = subject.state {
            self.set(sock, "sock_common.skc_state", &[state]);
        }
        if let Some((local, remote)) = subject.endpoints {
            self.set(sock, "sock_common.skc_num", &local.port().to_ne_bytes());
            self.set(sock, "sock_common.skc_dport", &remote.port().to_be_bytes());
            self.address(sock, local, "sock_common.skc_rcv_saddr", "sock_common.skc_v6_rcv_saddr");
            self.address(sock, remote, "sock_common.skc_daddr", "sock_common.skc_v6_daddr");
        }
        file
    }

    fn address(&mut self, sock: u64, address: SocketAddr, v4: &str, v6: &str) {
        match address.ip() {
            IpAddr::V4(address) => self.set(sock, v4, &address.octets()),
            IpAddr::V6(address) => self.set(sock, v6, &address.octets()),
        }
    }
}
