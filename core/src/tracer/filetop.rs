//! `filetop`: what each thread reads from and writes to each file, counted in the kernel.

use kernlab_abi::{EventHeader, FileTotals, KIND_MASK, ProgramConfig};

use super::definition::{
    Definition, EventType, FAULTABLE, LayoutField, RawEvent, Wants, burst, lay_out, listed, names,
    on_system_calls, refuse_full_pending, wants_return_probes,
};
use crate::{
    attach::{AttachPoint, kprobe, kretprobe},
    burst::Burst,
    decoder::{DecodeError, Decoder},
    event::{Action, FileKind, escape},
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "filetop",
    scenarios: &[
        listed(
            "mixed_io",
            "reads and writes of files of all kinds by many threads, counted exactly",
        ),
        listed(
            "two_at_once",
            "two threads inside of write(2) at the same time, and counts that are high",
        ),
        burst(
            "full_pending",
            Burst::FULL_PENDING,
            "one more thread inside of write(2) than there is room for",
        ),
        burst(
            "unseen_end",
            Burst::UNSEEN_END,
            "a write whose end the kernel doesn't show: it is counted as lost",
        ),
        burst("full_totals", Burst::FULL_TOTALS, "one more file written to than there is room for"),
    ],
    wants,
    attach,
    event: EventType::of::<FileTotals>(),
};

/// What read(2), pread64(2), write(2) and pwrite64(2) call with the file, with the program for its
/// return: fs/read_write.c. All releases call them, and none inlines them into the system calls.
const TRANSFERS: [(&str, &str); 2] = [("read_return", "vfs_read"), ("write_return", "vfs_write")];

/// Where those system calls end, with the program that takes the result.
///
/// The result is taken here and not from a return probe of the functions: a thread that waits for a
/// pipe holds one of a few return instances, and while they are all held, by any process, the returns
/// of all others go unseen. Older kernels without preemption have no more of them than processors
/// (`kretprobe.maxactive`, kernel/kprobes.c). Where programs on these tracepoints are skipped
/// ([`FAULTABLE`]) that is the lesser evil: such kernels have at least 10.
const ENDS: [(&str, &str); 4] = [
    ("read_exit", "sys_exit_read"),
    ("read_exit", "sys_exit_pread64"),
    ("write_exit", "sys_exit_write"),
    ("write_exit", "sys_exit_pwrite64"),
];

const FIELDS: [LayoutField; 9] = [
    ("file", "f_inode", |layout| &mut layout.file_f_inode),
    ("file", "f_path", |layout| &mut layout.file_f_path),
    ("path", "dentry", |layout| &mut layout.path_dentry),
    ("dentry", "d_name", |layout| &mut layout.dentry_d_name),
    ("qstr", "name", |layout| &mut layout.qstr_name),
    ("inode", "i_mode", |layout| &mut layout.inode_i_mode),
    ("inode", "i_ino", |layout| &mut layout.inode_i_ino),
    ("inode", "i_sb", |layout| &mut layout.inode_i_sb),
    ("super_block", "s_dev", |layout| &mut layout.super_block_s_dev),
];

fn wants() -> Wants {
    Wants {
        functions: TRANSFERS.map(|(_, function)| function).to_vec(),
        symbols: vec![FAULTABLE],
        tracepoints: ENDS.map(|(_, name)| name).to_vec(),
        fields: names(&FIELDS).collect(),
        ..Wants::default()
    }
}

fn attach(
    scenario: &Scenario,
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
    let ends = ends(scenario, facts)?;
    lay_out(&FIELDS, facts, &mut config.layout)?;
    let begins = functions.map(|function| kprobe("transfer_enter", function));
    Ok(begins.into_iter().chain(ends).collect())
}

fn ends(scenario: &Scenario, facts: &KernelFacts) -> Result<Vec<AttachPoint>, Unsupported> {
    if facts.has_symbol(FAULTABLE) || wants_return_probes(scenario) {
        refuse_full_pending(scenario)?;
        return Ok(TRANSFERS.map(|(program, function)| kretprobe(program, function)).to_vec());
    }
    on_system_calls(ENDS, facts)
}

impl FileKind {
    /// The kind of an inode with this mode: include/uapi/linux/stat.h.
    pub fn of_mode(mode: u32) -> Self {
        match mode & KIND_MASK {
            0x8000 => FileKind::Regular,
            0x1000 => FileKind::Pipe,
            0xc000 => FileKind::Socket,
            _ => FileKind::Other,
        }
    }
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for FileTotals {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn reserved(&self) -> u32 {
        self.reserved
    }

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        Ok(Action::Transferred {
            kind: FileKind::of_mode(self.mode),
            name: escape(&self.name),
            reads: self.reads,
            bytes_read: self.bytes_read,
            writes: self.writes,
            bytes_written: self.bytes_written,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::plan::{
        plan,
        tests::{facts, scenario},
    };

    #[rstest]
    #[case::no_function(&[], true, Reason::MissingSymbol)]
    #[case::no_tracepoint(&["vfs_read", "vfs_write"], false, Reason::MissingConfig)]
    fn filetop_needs_both_ends_of_a_transfer(
        #[case] symbols: &[&str],
        #[case] tracepoints: bool,
        #[case] reason: Reason,
    ) {
        let ends = ENDS.iter().filter(|_| tracepoints);
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
        let tracepoints = ENDS.iter().map(|&(_, name)| name.to_owned()).collect();
        let symbols = [&["vfs_read", "vfs_write"], symbols].concat();
        let facts = KernelFacts { tracepoints, ..facts(&symbols, None) };
        let programs = ends(scenario("filetop/mixed_io"), &facts)
            .unwrap()
            .into_iter()
            .map(|point| point.program);
        assert_eq!(programs.collect::<Vec<_>>(), expected);
    }

    #[rstest]
    #[case::file(0o100_644, FileKind::Regular)]
    #[case::pipe(0o010_600, FileKind::Pipe)]
    #[case::socket(0o140_777, FileKind::Socket)]
    #[case::device(0o020_666, FileKind::Other)]
    #[case::eventfd(0o000_600, FileKind::Other)]
    fn the_mode_tells_the_kind(#[case] mode: u32, #[case] expected: FileKind) {
        assert_eq!(FileKind::of_mode(mode), expected);
    }
}
