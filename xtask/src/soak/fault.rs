//! The faults that a soak injects, and what they may do to a run.

use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;

use super::{process::Role, verdict::Allowed, work::Work};

/// What is done to a run, or to what it reads.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// A signal for the first process of a role, once there is one.
    Signal(Role, Signal),
    /// A process of a role stands still for a while.
    Pause(Role, Duration),
    /// The first guest stands still for good.
    Wedge,
    /// A file of the store is damaged before the run.
    Damage(Damage),
    /// Some files of the store have a time in the past, others in the future.
    Times,
    /// No process of the run can write a file that is longer than so many blocks of 512 bytes.
    FileLimit(u64),
    /// QEMU gets no memory.
    QemuMemory,
    /// The run has one processor.
    OneProcessor,
    /// The same run so many times at once.
    Beside(u32),
    /// `kernels gc` at the same time.
    Collection,
}

/// How a file of the store is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// One bit is another.
    Flip,
    /// The second half is missing.
    Truncate,
    /// It is empty.
    Empty,
    /// It is gone.
    Remove,
}

impl Fault {
    /// A random fault that this work can have.
    pub(super) fn any(random: &mut Rng, work: &Work) -> Self {
        match random.u8(..20) {
            0..2 => Fault::None,
            2..9 => Fault::any_signal(random, work),
            9 => Fault::Pause(any_role(random, work), Duration::from_millis(random.u64(100..2000))),
            10 => Fault::Wedge,
            11..15 => Fault::Damage(match random.u8(..4) {
                0..2 => Damage::Flip,
                2 if random.bool() => Damage::Truncate,
                2 => Damage::Empty,
                _ => Damage::Remove,
            }),
            15 => Fault::Times,
            // Up to 64 MiB: what is written is between a few bytes and a guest's memory.
            16 => Fault::FileLimit((1 << random.u64(..18)) - 1),
            17 => Fault::QemuMemory,
            18 if random.bool() => Fault::OneProcessor,
            18 => Fault::Collection,
            _ => Fault::Beside(if random.u8(..4) == 0 { 8 } else { 2 }),
        }
    }

    /// A random signal for a random process.
    pub(super) fn any_signal(random: &mut Rng, work: &Work) -> Self {
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL];
        // Half of them are those that no process can catch.
        let signal = if random.bool() { Signal::SIGKILL } else { signals[random.usize(..4)] };
        Fault::Signal(any_role(random, work), signal)
    }

    /// Its name in the report.
    pub(super) fn kind(&self) -> String {
        match self {
            Fault::None => "none".to_owned(),
            Fault::Signal(role, signal) => format!("{} for {}", signal.as_str(), role.name()),
            Fault::Pause(role, _) => format!("pause of {}", role.name()),
            Fault::Wedge => "wedged guest".to_owned(),
            Fault::Damage(Damage::Flip) => "flipped bit".to_owned(),
            Fault::Damage(Damage::Truncate) => "cut-off file".to_owned(),
            Fault::Damage(Damage::Empty) => "emptied file".to_owned(),
            Fault::Damage(Damage::Remove) => "removed file".to_owned(),
            Fault::Times => "times of files".to_owned(),
            Fault::FileLimit(_) => "limit of file sizes".to_owned(),
            Fault::QemuMemory => "no memory for QEMU".to_owned(),
            Fault::OneProcessor => "one processor".to_owned(),
            Fault::Beside(number) => format!("{number} runs at once"),
            Fault::Collection => "kernels gc beside".to_owned(),
        }
    }

    /// The verdicts beside the right one that name this fault.
    pub(super) fn allowed(&self) -> Allowed {
        match self {
            Fault::None
            | Fault::Pause(..)
            | Fault::Times
            | Fault::OneProcessor
            | Fault::Beside(_)
            | Fault::Collection => &[],
            Fault::Signal(Role::Qemu, _) | Fault::QemuMemory => &[("infra", "qemu-failed")],
            Fault::Signal(..) => &[("not-run", "interrupted")],
            Fault::Wedge => &[
                ("timeout", "deadline-exceeded"),
                // The guest that examines the kernel for an expectation.
                ("infra", "deadline-exceeded"),
                ("infra", "boot-timeout"),
                ("infra", "qemu-failed"),
            ],
            Fault::Damage(_) => &[("infra", "host-io")],
            Fault::FileLimit(_) => &[
                ("infra", "host-io"),
                ("infra", "qemu-failed"),
                ("not-run", "interrupted"),
                ("unavailable", "host-io"),
            ],
        }
    }

    /// Whether a run with this fault may end without a report.
    pub(super) fn may_lose_the_report(&self) -> bool {
        match self {
            Fault::Signal(role, _) => *role != Role::Qemu,
            Fault::FileLimit(_) => true,
            _ => false,
        }
    }

    /// Whether a process of the run is killed without warning, so that temporary files stay.
    pub(super) fn leaves_temporary_files(&self) -> bool {
        match self {
            Fault::Signal(role, _) => *role != Role::Qemu,
            _ => false,
        }
    }
}

fn any_role(random: &mut Rng, work: &Work) -> Role {
    let all = match work {
        Work::Matrix { .. } => &[Role::Runner, Role::Nextest, Role::Cell, Role::Qemu][..],
        Work::Suite { .. } | Work::Exec { .. } => &[Role::Runner, Role::Qemu],
    };
    all[random.usize(..all.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_which_faults_there_are() {
        let faults = |seed| {
            let mut random = Rng::with_seed(seed);
            let work = Work::Exec { kernel: "k".to_owned(), code: 0, cold: false };
            (0..200).map(|_| Fault::any(&mut random, &work)).collect::<Vec<_>>()
        };
        assert_eq!(faults(1), faults(1));
        assert_ne!(faults(1), faults(2));
        let all: std::collections::BTreeSet<_> = faults(3).iter().map(Fault::kind).collect();
        assert!(all.len() > 15, "{all:?}");
        let foreign = ["nextest", "cell"];
        assert!(all.iter().all(|kind| !foreign.iter().any(|role| kind.ends_with(role))), "{all:?}");
    }
}
