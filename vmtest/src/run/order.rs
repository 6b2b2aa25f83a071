//! The order in which nextest starts a run's cells.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    fs, io, iter,
    path::Path,
};

use kernlab_core::cell::CellName;

use super::plan::RunPlan;
use crate::report::Report;

const FILE: &str = "nextest.toml";

/// Writes nextest's configuration for a run: <https://nexte.st/docs/configuration/test-priorities>.
/// `pending_order` has the plan's pending kernels.
pub(super) fn write(
    plan: &RunPlan,
    pending_order: &[String],
    before: Option<&Report>,
    run: &Path,
) -> io::Result<()> {
    fs::write(run.join(FILE), priorities(plan, before) + &pending(plan, pending_order))
}

/// The argument that names that file to nextest.
pub(super) fn tool_config(run: &Path) -> OsString {
    let mut value = OsString::from("kernlab:");
    value.push(run.join(FILE));
    value
}

/// One cell of each kernel starts before all others, since it boots the guest that the others are
/// restored from: no processor waits for the last boot while other kernels have cells. Then comes
/// one cell of each BTF mode, which may save another guest. Then come the cells that took longest
/// in the run `before`, so that no long one is left for the end.
fn priorities(plan: &RunPlan, before: Option<&Report>) -> String {
    let available = |cell: &&String| {
        let kernel = kernel(cell);
        !plan.unavailable.contains_key(kernel) && !plan.pending.contains(kernel)
    };
    let cells: Vec<&String> = plan.cells.iter().filter(available).collect();
    let (mut kernels, mut modes) = (BTreeSet::new(), BTreeSet::new());
    let (of_kernels, others): (Vec<&String>, Vec<&String>) =
        cells.into_iter().partition(|cell| kernels.insert(kernel(cell)));
    modes.extend(of_kernels.iter().map(|cell| kernel_and_mode(cell)));
    let (of_modes, mut others): (Vec<&String>, Vec<&String>) =
        others.into_iter().partition(|cell| modes.insert(kernel_and_mode(cell)));

    let took: BTreeMap<String, u64> = before
        .iter()
        .flat_map(|report| &report.cells)
        .map(|cell| (cell.id(), cell.duration_ms))
        .collect();
    let took = |cell: &String| took.get(cell).copied();
    others.retain(|cell| took(cell).is_some());
    others.sort_by_key(|cell| std::cmp::Reverse(took(cell)));
    others.truncate(plan.cells.len() / SLOW_PART);

    let mut text = String::new();
    for (priority, cells) in [(100, of_kernels), (75, of_modes), (50, others)] {
        if !cells.is_empty() {
            let tests: Vec<_> = cells.iter().map(|cell| format!("test(={cell})")).collect();
            let filter = tests.join(" | ");
            let _ = writeln!(
                text,
                "[[profile.default.overrides]]\nfilter = {filter:?}\npriority = {priority}\n"
            );
        }
    }
    text
}

fn kernel(cell: &str) -> &str {
    CellName::of(cell).kernel
}

fn kernel_and_mode(cell: &str) -> (&str, &str) {
    let CellName { kernel, btf, .. } = CellName::of(cell);
    (kernel, btf)
}

/// Cells of kernels that are not ready start after all others, kernel by kernel, one cell of each
/// kernel first. They wait inside their process, with a longer timeout.
fn pending(plan: &RunPlan, order: &[String]) -> String {
    let mut text = String::new();
    let priorities = (LOWEST..0).rev().step_by(2).chain(iter::repeat(LOWEST));
    for (kernel, priority) in order.iter().zip(priorities) {
        let name = kernel.replace('.', "\\.").replace('+', "\\+");
        let of_kernel = format!("test(/^{name}\\//)");
        let first = plan.cells.iter().find(|cell| self::kernel(cell) == kernel);
        let first = first.map(|cell| (format!("test(={cell})"), priority));
        for (filter, priority) in first.into_iter().chain([(of_kernel, (priority - 1).max(LOWEST))])
        {
            let _ = writeln!(
                text,
                "[[profile.default.overrides]]\nfilter = {filter:?}\npriority = {priority}\n\
                 slow-timeout = {{ period = \"60s\", terminate-after = {MINUTES}, grace-period = \"15s\" }}\n"
            );
        }
    }
    text
}

/// The lowest priority that nextest accepts.
const LOWEST: i32 = -100;

/// The timeout of a cell that waits for its kernel, in minutes: longer than the wait itself.
const MINUTES: u32 = 200;

/// One cell in this many counts as slow.
const SLOW_PART: usize = 10;

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, path::PathBuf};

    use kernlab_core::outcome::{Outcome, Reason, Verdict};

    use super::*;
    use crate::report::{CellReport, Run, SCHEMA};

    fn plan() -> RunPlan {
        let cell = |number| format!("new/masked/aya/inotify/{number}");
        let mut cells: Vec<_> = (0..20).map(cell).collect();
        let others =
            ["gone/masked/aya/inotify/0", "old/masked/aya/inotify/0", "old/embedded/aya/inotify/0"];
        cells.extend(others.map(str::to_owned));
        let gone = Verdict::because(Outcome::Unavailable, Reason::NotLocked, String::new());
        RunPlan {
            unavailable: [("gone".to_owned(), gone)].into(),
            ..RunPlan::of(cells, PathBuf::new())
        }
    }

    fn report(cells: &[(&str, u64)]) -> Report {
        let cell = |&(id, duration_ms): &(&str, u64)| CellReport {
            duration_ms,
            ..CellReport::of_verdict(id, Verdict::pass())
        };
        Report {
            schema: SCHEMA,
            run: Run {
                id: String::new(),
                started: String::new(),
                duration_ms: 0,
                selectors: Vec::new(),
                jobs: 1,
                repeat: NonZeroU32::MIN,
                exit_code: 0,
                ..Run::default()
            },
            kernels: Vec::new(),
            cells: cells.iter().map(cell).collect(),
            remarks: Vec::new(),
        }
    }

    #[test]
    fn cells_of_each_kernel_and_mode_start_first_and_then_the_slowest() {
        let before = report(&[
            ("new/masked/aya/inotify/0", 900),
            ("new/masked/aya/inotify/3", 300),
            ("new/masked/aya/inotify/5", 500),
            ("new/masked/aya/inotify/7", 400),
            ("other/masked/aya/inotify/7", 800),
        ]);
        insta::assert_snapshot!(priorities(&plan(), Some(&before)), @r#"
        [[profile.default.overrides]]
        filter = "test(=new/masked/aya/inotify/0) | test(=old/masked/aya/inotify/0)"
        priority = 100

        [[profile.default.overrides]]
        filter = "test(=old/embedded/aya/inotify/0)"
        priority = 75

        [[profile.default.overrides]]
        filter = "test(=new/masked/aya/inotify/5) | test(=new/masked/aya/inotify/7)"
        priority = 50
        "#);
    }

    #[test]
    fn without_an_earlier_run_only_the_first_cells_are_known() {
        let text = priorities(&plan(), None);
        assert!(text.contains("priority = 100") && !text.contains("priority = 50"), "{text}");
    }

    #[test]
    fn kernels_that_are_not_ready_come_last() {
        let mut plan = plan();
        plan.pending = ["new".to_owned(), "old".to_owned()].into();
        assert_eq!(priorities(&plan, None), "");
        insta::assert_snapshot!(pending(&plan, &["old".to_owned(), "new".to_owned()]), @r#"
        [[profile.default.overrides]]
        filter = "test(=old/masked/aya/inotify/0)"
        priority = -1
        slow-timeout = { period = "60s", terminate-after = 200, grace-period = "15s" }

        [[profile.default.overrides]]
        filter = "test(/^old\\//)"
        priority = -2
        slow-timeout = { period = "60s", terminate-after = 200, grace-period = "15s" }

        [[profile.default.overrides]]
        filter = "test(=new/masked/aya/inotify/0)"
        priority = -3
        slow-timeout = { period = "60s", terminate-after = 200, grace-period = "15s" }

        [[profile.default.overrides]]
        filter = "test(/^new\\//)"
        priority = -4
        slow-timeout = { period = "60s", terminate-after = 200, grace-period = "15s" }
        "#);
    }
}
