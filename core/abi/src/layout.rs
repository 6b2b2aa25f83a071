//! Where the members of all structures are, as the compiler of this target lays them out.
//!
//! The Rust programs' objects have no type information that could be compared: kernels without BTF load
//! them. Instead, the compiler refuses padding here, on the target of BPF as on the host, and what has none
//! has the same layout on both. `tracer/tests/abi.rs` compares with the objects of the C programs.

use crate::*;

/// A structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructLayout {
    /// Its name, in C as well.
    pub name: &'static str,
    /// In bytes.
    pub size: usize,
    /// All of its members, in their order.
    pub members: &'static [MemberLayout],
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberLayout {
    /// Its name, in C as well.
    pub name: &'static str,
    /// In bytes from the start of the structure.
    pub offset: usize,
    /// In bytes.
    pub size: usize,
}

impl StructLayout {
    /// Whether every member begins where the one before ends, and the last one ends the structure.
    const fn has_no_padding(&self) -> bool {
        let (mut index, mut end) = (0, 0);
        while index < self.members.len() {
            if self.members[index].offset != end {
                return false;
            }
            end += self.members[index].size;
            index += 1;
        }
        end == self.size
    }
}

/// The size of the member that a function selects.
const fn size_of_member<T, M>(_: fn(&T) -> &M) -> usize {
    size_of::<M>()
}

/// Makes [`LAYOUTS`]. A member that is not named is an error of the compiler.
macro_rules! layouts {
    ($($structure:ident { $($member:ident),* $(,)? })*) => {
        /// All structures.
        pub const LAYOUTS: &[StructLayout] = &[$(StructLayout {
            name: stringify!($structure),
            size: size_of::<$structure>(),
            members: &[$(MemberLayout {
                name: stringify!($member),
                offset: core::mem::offset_of!($structure, $member),
                size: size_of_member(|structure: &$structure| &structure.$member),
            }),*],
        }),*];

        $(const _: fn($structure) = |$structure { $($member: _),* }| ();)*
    };
}

layouts! {
    ProgramConfig {
        kernel_address_min, socket_file_ops, user_address_end, user_address_tag, tgid, mask_argument,
        name_argument, name_kind, cookie_argument, argument_count, text_argument, protocol_mask,
        create_dentry_argument, unlink_dentry_argument, layout,
    }
    Layout {
        qstr_name, task_struct_files, files_struct_fdt, fdtable_max_fds, fdtable_fd, file_f_op,
        file_private_data, socket_type, socket_sk, socket_ops, proto_ops_family, sock_sk_protocol,
        sock_common_skc_family, sock_common_skc_rcv_saddr, sock_common_skc_daddr,
        sock_common_skc_v6_rcv_saddr, sock_common_skc_v6_daddr, sock_common_skc_num,
        sock_common_skc_dport, file_f_inode, file_f_mode, file_f_path, path_dentry,
        dentry_d_parent, dentry_d_name, dentry_d_inode, inode_i_mode, inode_i_ino, inode_i_sb,
        super_block_s_dev,
    }
    EventHeader { time, tgid, tid, comm }
    SysWriteEvent { header, count, ret, fd, reserved }
    PendingWrite { count, fd, reserved }
    SockAllocEvent { header, socket_type, family, reserved }
    SocketWriteEvent {
        header, ret, local_address, remote_address, fd, family, protocol, local_port, remote_port,
        reserved,
    }
    PendingSocketWrite { sock, fd, local_port, reserved }
    InotifyEvent { header, mask, cookie, name }
    CallEvent { header, arguments, text }
    SyncEvent { header, call, reserved }
    UserCallEvent { header, arguments, ret }
    UserCallKey { thread, stack }
    ReadEvent { header, address, bytes, outcome, reserved }
    FileKey { thread, inode, device, reserved }
    FileTotals { header, reads, bytes_read, writes, bytes_written, mode, reserved, name }
    PendingTransfer { key, totals }
    FileLifeEvent { header, lifetime, name }
    PendingUnlink { dentry, born }
    OpenEvent { header, flags, ret, name }
    PendingOpen { name, flags, reserved }
}

const _: () = {
    let mut index = 0;
    while index < LAYOUTS.len() {
        assert!(LAYOUTS[index].has_no_padding(), "a structure has implicit padding");
        index += 1;
    }
};
