//! Where the programs of `filetop` go.

use kernlab_abi::ProgramConfig;

use super::{AttachPoint, FAULTABLE, Unsupported, kprobe, kretprobe, tracepoint};
use crate::{facts::KernelFacts, outcome::Reason};

/// What read(2), pread64(2), write(2) and pwrite64(2) call with the file, with the program for its
/// return: fs/read_write.c. All releases call them, and none inlines them into the system calls.
pub(crate) const TRANSFERS: [(&str, &str); 2] =
    [("read_return", "vfs_read"), ("write_return", "vfs_write")];

/// Where those system calls end, with the program that takes the result.
///
/// The result is taken here and not from a return probe of the functions: a thread that waits for a
/// pipe holds one of a few return instances, and while they are all held, by any process, the returns
/// of all others go unseen. Older kernels without preemption have no more of them than processors
/// (`kretprobe.maxactive`, kernel/kprobes.c). Where programs on these tracepoints are skipped
/// ([`FAULTABLE`]) that is the lesser evil: such kernels have at least 10.
pub(crate) const TRANSFER_ENDS: [(&str, &str); 4] = [
    ("read_exit", "sys_exit_read"),
    ("read_exit", "sys_exit_pread64"),
    ("write_exit", "sys_exit_write"),
    ("write_exit", "sys_exit_pwrite64"),
];

pub(super) fn attach(
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let functions = TRANSFERS.map(|(_, function)| function);
    if let Some(missing) = functions.into_iter().find(|name| !facts.has_symbol(name)) {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has no {missing}"),
        ));
    }
    let ends = ends(facts)?;
    let layout = &mut config.layout;
    layout.file_f_inode = facts.offset("file", "f_inode")?;
    layout.file_f_path = facts.offset("file", "f_path")?;
    layout.path_dentry = facts.offset("path", "dentry")?;
    layout.dentry_d_name = facts.offset("dentry", "d_name")?;
    layout.qstr_name = facts.offset("qstr", "name")?;
    layout.inode_i_mode = facts.offset("inode", "i_mode")?;
    layout.inode_i_ino = facts.offset("inode", "i_ino")?;
    layout.inode_i_sb = facts.offset("inode", "i_sb")?;
    layout.super_block_s_dev = facts.offset("super_block", "s_dev")?;

    let begins = functions.map(|function| kprobe("transfer_enter", function));
    Ok(begins.into_iter().chain(ends).collect())
}

fn ends(facts: &KernelFacts) -> Result<Vec<AttachPoint>, Unsupported> {
    if facts.has_symbol(FAULTABLE) {
        return Ok(TRANSFERS.map(|(program, function)| kretprobe(program, function)).to_vec());
    }
    let names = TRANSFER_ENDS.map(|(_, name)| name);
    if let Some(missing) = names.into_iter().find(|&name| !facts.has_tracepoint(name)) {
        return Err(Unsupported::new(
            Reason::MissingConfig,
            format!("there is no tracepoint {missing}: CONFIG_FTRACE_SYSCALLS"),
        ));
    }
    Ok(TRANSFER_ENDS.map(|(program, name)| tracepoint(program, "syscalls", name)).to_vec())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        super::{
            plan,
            tests::{facts, scenario},
        },
        *,
    };

    #[rstest]
    #[case::no_function(&[], true, Reason::MissingSymbol)]
    #[case::no_tracepoint(&["vfs_read", "vfs_write"], false, Reason::MissingConfig)]
    fn filetop_needs_both_ends_of_a_transfer(
        #[case] symbols: &[&str],
        #[case] tracepoints: bool,
        #[case] reason: Reason,
    ) {
        let ends = TRANSFER_ENDS.iter().filter(|_| tracepoints);
        let tracepoints = ends.map(|&(_, name)| name.to_owned()).collect();
        let facts = KernelFacts { tracepoints, ..facts(symbols, None) };
        assert_eq!(plan(scenario("filetop/mixed_io"), &facts).unwrap_err().reason, reason);
    }

    #[rstest]
    #[case::not_preempted(&[], &["read_exit", "read_exit", "write_exit", "write_exit"])]
    #[case::preempted(&[FAULTABLE], &["read_return", "write_return"])]
    fn a_transfer_ends_where_no_program_is_skipped(
        #[case] symbols: &[&str],
        #[case] expected: &[&str],
    ) {
        let tracepoints = TRANSFER_ENDS.iter().map(|&(_, name)| name.to_owned()).collect();
        let symbols = [&["vfs_read", "vfs_write"], symbols].concat();
        let facts = KernelFacts { tracepoints, ..facts(&symbols, None) };
        let programs = ends(&facts).unwrap().into_iter().map(|point| point.program);
        assert_eq!(programs.collect::<Vec<_>>(), expected);
    }
}
