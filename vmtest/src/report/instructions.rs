//! How many instructions the verifier processed for the programs of users' BPF objects.

use std::{collections::BTreeMap, fmt::Write as _, num::NonZeroU64};

use super::{CellReport, Report, TracerReport};

/// A table for each suite with an object: programs down, kernels across. `-` where the kernel does
/// not tell, or the program could not be loaded. Empty without such suites.
pub fn table(report: &Report) -> String {
    let mut suites: BTreeMap<(&str, &str), Vec<&CellReport>> = BTreeMap::new();
    for cell in &report.cells {
        suites.entry((&cell.scenario, &cell.backend)).or_default().push(cell);
    }
    suites.retain(|_, cells| cells.iter().any(|cell| is_of_object(cell)));
    let mut text = String::new();
    for ((suite, backend), cells) in suites {
        let title = format!("{suite}, {backend}: verified instructions");
        let mut rows = vec![vec![title]];
        for cell in &cells {
            rows[0].push(cell.kernel_and_mode());
        }
        let mut names: Vec<&str> = Vec::new();
        for program in
            cells.iter().filter_map(|cell| cell.tracer.as_ref()).flat_map(|t| &t.programs)
        {
            if !names.contains(&&*program.name) {
                names.push(&program.name);
            }
        }
        names.sort_unstable();
        for name in names {
            let count = |cell: &&CellReport| {
                let count = cell.tracer.as_ref().and_then(|tracer| of_program(tracer, name));
                count.map_or_else(|| "-".to_owned(), |count| count.to_string())
            };
            rows.push([name.to_owned()].into_iter().chain(cells.iter().map(count)).collect());
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=cells.len()).map(width).collect();
        for row in &rows {
            let _ = write!(text, "{:1$}", row[0], widths[0]);
            for (value, width) in row.iter().zip(&widths).skip(1) {
                let _ = write!(text, "  {value:>width$}");
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn is_of_object(cell: &CellReport) -> bool {
    cell.tracer.as_ref().is_some_and(|tracer| tracer.is_object)
}

fn of_program(tracer: &TracerReport, name: &str) -> Option<u64> {
    tracer.programs.iter().find(|program| program.name == name)?.verified_instructions
}

/// Which programs of an object grew by more than its suite allows, in a sentence.
pub(super) fn growth(old: &CellReport, new: &CellReport) -> Option<String> {
    let (old, new) = (old.tracer.as_ref()?, new.tracer.as_ref()?);
    let allowed = new.max_growth_percent?;
    let grown: Vec<_> = new
        .programs
        .iter()
        .filter_map(|program| {
            let (before, now) = (of_program(old, &program.name)?, program.verified_instructions?);
            let (grown, before) = (now.checked_sub(before)?, NonZeroU64::new(before)?);
            let is_too_much =
                u128::from(grown) * 100 > u128::from(allowed) * u128::from(before.get());
            let percent = grown as f64 * 100.0 / before.get() as f64;
            is_too_much
                .then(|| format!("{} from {before} to {now} (+{percent:.1} %)", program.name))
        })
        .collect();
    (!grown.is_empty()).then(|| {
        format!("verified instructions grew by more than {allowed} %: {}", grown.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::Verdict;

    use super::*;
    use crate::report::{LoadedObject, sample};

    fn cell(kernel: &str, counts: &[(&str, Option<u64>)]) -> CellReport {
        let id = format!("{kernel}/embedded/libbpf/object");
        let mut cell = CellReport::of_verdict(&id, Verdict::pass());
        let program = |(name, count): &(&str, Option<u64>)| LoadedObject {
            name: (*name).to_owned(),
            kind: "kprobe".to_owned(),
            verified_instructions: *count,
            missed_runs: None,
            load_us: None,
        };
        cell.tracer = Some(TracerReport {
            is_object: true,
            max_growth_percent: Some(25),
            programs: counts.iter().map(program).collect(),
            ..TracerReport::default()
        });
        cell
    }

    #[test]
    fn growth_is_measured_against_the_base() {
        let base = cell("k", &[("a", Some(100)), ("b", Some(100)), ("c", None)]);
        let head = cell("k", &[("a", Some(125)), ("b", Some(126)), ("c", Some(1)), ("d", Some(9))]);
        let expected = "verified instructions grew by more than 25 %: b from 100 to 126 (+26.0 %)";
        assert_eq!(growth(&base, &head).as_deref(), Some(expected));
        assert_eq!(growth(&head, &base), None, "less is no regression");
        let of = |allowed, before, now| {
            let [base, mut head] = [before, now].map(|count| cell("k", &[("a", Some(count))]));
            head.tracer.as_mut().unwrap().max_growth_percent = Some(allowed);
            growth(&base, &head).is_some()
        };
        assert!(of(25, 1000, 1259) && of(25, 1000, 1251) && !of(25, 1000, 1250));
        assert!(of(0, 10_000, 10_001) && !of(0, 10_000, 10_000));
        assert!(!of(100, 0, u64::MAX) && of(100, 1, u64::MAX), "nothing overflows");
    }

    #[test]
    fn programs_are_compared_across_kernels() {
        let cells =
            vec![cell("old", &[("a", Some(100))]), cell("new", &[("a", Some(95)), ("b", None)])];
        let report = Report { cells, ..sample::report() };
        let expected = "\
object, libbpf: verified instructions  old  new
a                                      100   95
b                                        -    -

";
        assert_eq!(table(&report), expected);
    }
}
