//! Guests whose tracer program has gathered the kernel's facts before it knows its scenario. These
//! facts are the same for all cells of a kernel in a BTF mode.

use std::collections::BTreeSet;

use kernlab_core::cell::{BtfMode, Cell};

use kernlab_proto::Hello;

use super::plan::RunPlan;
use crate::lab::{Guest, Job, JobOutput, LabError, Primed, Ready};

/// From this many cells of a kernel in one BTF mode on, a primed guest is saved. Making one takes
/// as long as 1.25 cells, and halves the time of each cell.
const WORTHWHILE: usize = 4;

/// Where a guest has BTF that is not its kernel's own.
pub(super) const BTF: &str = "/run/btf";

/// A guest that is about to run its cell.
pub(super) enum Start {
    /// A guest that is ready for this job.
    Ready(Guest<Ready>, Job),
    /// A guest with a primed tracer that waits for this input.
    Primed(Guest<Primed>, String, Job),
}

impl Start {
    pub(super) fn hello(&self) -> &Hello {
        match self {
            Start::Ready(guest, _) => guest.hello(),
            Start::Primed(guest, ..) => guest.hello(),
        }
    }

    /// Runs the cell's tracer, and returns the guest and the tracer's output.
    pub(super) fn run(self) -> Result<(Guest<Ready>, JobOutput), LabError> {
        match self {
            Start::Ready(mut guest, job) => {
                let output = guest.run(&job)?;
                Ok((guest, output))
            }
            Start::Primed(guest, input, tracer) => guest.proceed(&input, &tracer),
        }
    }
}

/// The job that primes the tracer program for the run's cells of a kernel in this mode.
pub(super) fn tracer(plan: &RunPlan, kernel: &str, mode: BtfMode) -> Job {
    let mut args: Vec<_> = ["/bin/kernlab-tracer", "prime"].map(str::to_owned).into();
    // Cells are named KERNEL/MODE/BACKEND/TRACER/SCENARIO.
    let tracers = cells(plan, kernel, mode).filter_map(|rest| Some(rest.rsplit_once('/')?.0));
    for tracer in tracers.collect::<BTreeSet<_>>() {
        args.extend(["--load".to_owned(), tracer.to_owned()]);
    }
    with_types(args, mode)
}

/// The rest of the names of the run's cells that begin with this kernel and mode.
fn cells<'a>(plan: &'a RunPlan, kernel: &str, mode: BtfMode) -> impl Iterator<Item = &'a str> {
    let beginning = format!("{kernel}/{mode}/");
    plan.cells.iter().filter_map(move |cell| cell.strip_prefix(&beginning))
}

/// The input of a primed tracer: its cell.
pub(super) fn work(cell: &Cell) -> String {
    format!("{} {}", cell.backend, cell.scenario)
}

/// A job with `args` that finds the kernel's type information as `mode` says.
pub(super) fn with_types(mut args: Vec<String>, mode: BtfMode) -> Job {
    if mode == BtfMode::External {
        args.extend(["--btf", BTF].map(str::to_owned));
    }
    let job = Job::new(args);
    match mode {
        BtfMode::Masked | BtfMode::External => job.hide("/sys/kernel/btf"),
        BtfMode::Embedded | BtfMode::Absent => job,
    }
}

/// Does a kernel have enough cells in this mode to save a primed guest? Never for repeated cells:
/// each attempt would skip the part that was done once.
pub(super) fn is_worthwhile(plan: &RunPlan, kernel: &str, mode: BtfMode) -> bool {
    // Cells with their own object get it as a file beside the programs.
    if plan.options.execution.cold
        || plan.object.is_some()
        || plan.options.execution.repeats().get() > 1
    {
        return false;
    }
    cells(plan, kernel, mode).count() >= WORTHWHILE
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use kernlab_cli::{Execution, RunOptions};

    use super::*;

    fn plan(cells: &[(&str, usize)]) -> RunPlan {
        let cells = cells.iter().flat_map(|&(cell, count)| vec![cell.to_owned(); count]).collect();
        RunPlan::of(cells, "/guest".into())
    }

    const EMBEDDED: &str = "debian-6.1/embedded/aya/sys_write/threads";
    const MASKED: &str = "debian-6.1/masked/aya/sys_write/threads";
    const OTHER: &str = "debian-6.1-rt/masked/aya/sys_write/threads";

    #[test]
    fn a_guest_is_saved_for_many_cells_of_one_kernel_and_mode() {
        let many = plan(&[(EMBEDDED, WORTHWHILE), (MASKED, WORTHWHILE - 1), (OTHER, WORTHWHILE)]);
        assert!(is_worthwhile(&many, "debian-6.1", BtfMode::Embedded));
        assert!(!is_worthwhile(&many, "debian-6.1", BtfMode::Masked));
        assert!(is_worthwhile(&many, "debian-6.1-rt", BtfMode::Masked));
    }

    #[test]
    fn its_tracer_loads_what_the_cells_of_the_guest_need() {
        let other_scenario = "debian-6.1/embedded/aya/sys_write/failed_write";
        let other_backend = "debian-6.1/embedded/libbpf/inotify/unwatched";
        let plan = plan(&[(EMBEDDED, 1), (other_backend, 1), (other_scenario, 1), (OTHER, 1)]);
        let args = ["prime", "--load", "aya/sys_write", "--load", "libbpf/inotify"];
        let expected = Job::new(["/bin/kernlab-tracer"].into_iter().chain(args));
        assert_eq!(tracer(&plan, "debian-6.1", BtfMode::Embedded), expected);
    }

    #[test]
    fn none_is_where_cells_have_something_of_their_own() {
        let many = plan(&[(EMBEDDED, WORTHWHILE)]);
        let with = |execution| RunOptions { execution, ..RunOptions::default() };
        let options = with(Execution { cold: true, ..Execution::default() });
        let cold = RunPlan { options, ..many.clone() };
        let given = RunPlan { object: Some("/object.o".into()), ..many.clone() };
        let options = with(Execution { repeat: NonZeroU32::new(2), ..Execution::default() });
        let repeated = RunPlan { options, ..many };
        for plan in [cold, given, repeated] {
            assert!(!is_worthwhile(&plan, "debian-6.1", BtfMode::Embedded));
        }
    }
}
