//! A guest that ran out of memory: that is a matter of the suite and its programs, and not of the kernel.

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use kernlab_splat::Splat;

use super::GuestSplats;
use crate::console::shorten;

/// How the kernel says that only a control group had no memory left: mm/oom_kill.c, mm/memcontrol.c.
const OF_A_GROUP: [&str; 2] = ["CONSTRAINT_MEMCG", "Memory cgroup out of memory"];

/// What tells most of all that the kernel prints then: who asked for memory, which memory it was, and what
/// was killed.
const TELLING: [&str; 4] =
    ["invoked oom-killer", "oom-kill:constraint=", "Killed process", "Kernel panic - not syncing"];

/// How far below the first line the others are: tables of all memory and of all tasks stand between them.
const REACH: usize = 1000;

/// What a program says whose file did not fit, or that got no memory.
const OF_PROGRAMS: [&str; 2] = ["No space left on device", "Cannot allocate memory"];

/// The verdict on a cell whose guest had to kill programs for their memory, or died for want of it.
/// `then` is how the cell ended.
pub(super) fn verdict(
    guest_splats: &GuestSplats<'_>,
    first: &Splat,
    memory_mib: u32,
    then: &Verdict,
) -> Verdict {
    let is_telling = |line: &&str| TELLING.iter().any(|words| line.contains(words));
    let lines = guest_splats.lines_from(first).take(REACH).filter(is_telling);
    let excerpt = lines.take(TELLING.len()).map(shorten).collect::<Vec<_>>().join("\n");
    let of_a_group = OF_A_GROUP.iter().any(|words| excerpt.contains(words));
    let what = match of_a_group {
        true => "a control group of the suite ran out of memory".to_owned(),
        false => format!("the guest ran out of memory; {}", advice(memory_mib)),
    };
    let (line, file) = (first.line, guest_splats.file());
    let mut message = format!("{what}; line {line} of {file}:\n{excerpt}");
    if then.outcome != Outcome::Pass {
        message.push_str(&format!("\nthen {}", then.message));
    }
    Verdict::because(Outcome::Fail, Reason::OutOfMemory, message)
}

/// A verdict whose message speaks of the lack of memory in the guest, with how much there was.
pub(super) fn with_advice(mut verdict: Verdict, memory_mib: u32) -> Verdict {
    let speaks = OF_PROGRAMS.iter().any(|words| verdict.message.contains(words));
    // It is the host that ran out of memory or disk, or the advice is already there.
    let is_none =
        matches!(verdict.reason, Some(Reason::QemuFailed | Reason::HostIo | Reason::OutOfMemory));
    if speaks && verdict.outcome != Outcome::Pass && !is_none {
        let advice = advice(memory_mib);
        verdict.message.push_str(&format!("\nif it ran out of memory: {advice}"));
    }
    verdict
}

fn advice(memory_mib: u32) -> String {
    format!(
        "it has {memory_mib} MiB, which also hold its files: `guest.memory` in kernlab.toml, or \
         `--memory` of `exec`, sets more"
    )
}

#[cfg(test)]
mod tests {
    use kernlab_splat::AllowList;
    use rstest::rstest;

    use super::{super::SplatPolicy, *};

    const GUEST: &str = "<4>[    1.0] tail invoked oom-killer: gfp_mask=0x140cca, order=0\n\
                         <4>[    1.0] Mem-Info:\n\
                         <6>[    1.1] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)\n\
                         <3>[    1.2] Out of memory: Killed process 99 (tail)\n";
    const GROUP: &str = "<4>[    1.0] tail invoked oom-killer: gfp_mask=0x140cca, order=0\n\
                         <6>[    1.1] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)\n\
                         <3>[    1.2] Memory cgroup out of memory: Killed process 99 (tail)\n";

    #[rstest]
    #[case::of_the_guest(GUEST, "the guest ran out of memory; it has 256 MiB, ")]
    #[case::of_a_group(GROUP, "a control group of the suite ran out of memory; line 1 of ")]
    fn the_kernel_is_not_to_blame(#[case] log: &str, #[case] message: &str) {
        let mut splats = GuestSplats::of(log, "");
        let allow = AllowList::default();
        let memory = splats.take_out_of_memory(SplatPolicy { expected: None, allow: &allow });
        assert_eq!(splats.splats().len(), 0);
        let then = Verdict::because(Outcome::Fail, Reason::UnexpectedExit, "exit code 137");
        let verdict = verdict(&splats, &memory[0], 256, &then);
        assert_eq!((verdict.outcome, verdict.reason), (Outcome::Fail, Some(Reason::OutOfMemory)));
        assert!(verdict.message.starts_with(message), "{}", verdict.message);
        assert!(verdict.message.ends_with("(tail)\nthen exit code 137"), "{}", verdict.message);
        assert!(!verdict.message.contains("Mem-Info"), "{}", verdict.message);
    }

    #[test]
    fn a_full_file_system_is_explained() {
        let full = "exit code 1; stderr:\ncat: write error: No space left on device";
        let verdict = Verdict::because(Outcome::Fail, Reason::UnexpectedExit, full);
        let told = with_advice(verdict, 128);
        assert!(
            told.message.contains("it has 128 MiB, which also hold its files"),
            "{}",
            told.message
        );
        let other = Verdict::because(Outcome::Fail, Reason::UnexpectedExit, "exit code 1");
        assert_eq!(with_advice(other.clone(), 128), other);
        for (reason, of_the_host) in [
            (Reason::HostIo, "its evidence can't be written: No space left on device"),
            (Reason::QemuFailed, "QEMU ended with exit status: 1: Cannot allocate memory"),
        ] {
            let verdict = Verdict::because(Outcome::Infra, reason, of_the_host);
            assert_eq!(with_advice(verdict.clone(), 128), verdict);
        }
    }
}
