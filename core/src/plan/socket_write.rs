//! Where the programs of `socket_write` go, and how they get from a descriptor to addresses.

use kernlab_abi::ProgramConfig;

use super::{AttachPoint, FAULTABLE, Unsupported, kprobe, kretprobe, tracepoint};
use crate::{arch, facts::KernelFacts, outcome::Reason};

/// The calls that write to a descriptor, which is their first argument: entries, and then exits.
pub(crate) const SOCKET_TRACEPOINTS: [&str; 8] = [
    "sys_enter_write",
    "sys_enter_writev",
    "sys_enter_sendto",
    "sys_enter_sendmsg",
    "sys_exit_write",
    "sys_exit_writev",
    "sys_exit_sendto",
    "sys_exit_sendmsg",
];

pub(super) fn attach(
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let attach = attach_points(facts)?;
    config.socket_file_ops = facts.socket_file_ops()?;
    let layout = &mut config.layout;
    layout.task_struct_files = facts.offset("task_struct", "files")?;
    layout.files_struct_fdt = facts.offset("files_struct", "fdt")?;
    layout.fdtable_max_fds = facts.offset("fdtable", "max_fds")?;
    layout.fdtable_fd = facts.offset("fdtable", "fd")?;
    layout.file_f_op = facts.offset("file", "f_op")?;
    layout.file_private_data = facts.offset("file", "private_data")?;
    layout.socket_sk = facts.offset("socket", "sk")?;
    // struct sock begins with its sock_common: include/net/sock.h.
    layout.sock_common_skc_family = facts.offset("sock_common", "skc_family")?;
    layout.sock_common_skc_rcv_saddr = facts.offset("sock_common", "skc_rcv_saddr")?;
    layout.sock_common_skc_daddr = facts.offset("sock_common", "skc_daddr")?;
    layout.sock_common_skc_v6_rcv_saddr = facts.offset("sock_common", "skc_v6_rcv_saddr")?;
    layout.sock_common_skc_v6_daddr = facts.offset("sock_common", "skc_v6_daddr")?;
    layout.sock_common_skc_num = facts.offset("sock_common", "skc_num")?;
    layout.sock_common_skc_dport = facts.offset("sock_common", "skc_dport")?;
    layout.sock_sk_protocol = facts.offset("sock", "sk_protocol")?;
    config.protocol_mask = protocol_mask(layout.sock_sk_protocol, facts.offset("sock", "sk_type")?);
    Ok(attach)
}

/// Tracepoints, because a thread that waits in a call holds nothing that others need; where programs
/// on them are skipped ([`FAULTABLE`]), the functions of the system call table.
fn attach_points(facts: &KernelFacts) -> Result<Vec<AttachPoint>, Unsupported> {
    let functions = arch::WRITING_CALLS;
    if [FAULTABLE].iter().chain(&functions).all(|name| facts.has_symbol(name)) {
        let entries = functions.map(|function| kprobe("socket_write_entry", function));
        let returns = functions.map(|function| kretprobe("socket_write_return", function));
        return Ok([entries, returns].concat());
    }
    SOCKET_TRACEPOINTS
        .into_iter()
        .map(|name| {
            if !facts.has_tracepoint(name) {
                return Err(Unsupported::new(
                    Reason::MissingConfig,
                    format!("there is no tracepoint {name}: CONFIG_FTRACE_SYSCALLS, CONFIG_NET"),
                ));
            }
            let entered = name.starts_with("sys_enter");
            let program = if entered { "socket_write_enter" } else { "socket_write_exit" };
            Ok(tracepoint(program, "syscalls", name))
        })
        .collect()
}

/// The protocol is a u16 that follows the type since 5.6 (commit bf9765145b85), and before that the
/// eight bits before the type, both in one word of bit fields (include/net/sock.h).
fn protocol_mask(sk_protocol: u32, sk_type: u32) -> u32 {
    if sk_type == sk_protocol + 1 { 0xff } else { 0xffff }
}
