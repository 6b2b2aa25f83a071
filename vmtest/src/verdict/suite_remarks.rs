//! What only the cells of a suite on all kernels show together.

use std::collections::{BTreeMap, BTreeSet};

use kernlab_core::outcome::{Outcome, Reason, Severity};

use crate::report::{CellReport, SuiteKind};

/// Remarks on suites, one sentence each: a suite that fails alike everywhere, and one that used
/// other programs or maps on some kernels.
pub(crate) fn remarks(cells: &[CellReport]) -> Vec<String> {
    let mut remarks = Vec::new();
    for (suite, cells) in by_scenario(cells) {
        remarks.extend(fails_alike(suite, &cells));
        remarks.extend(falls_back(suite, &cells));
        remarks.extend(predicted(suite, &cells));
        remarks.extend(of_cells(suite, &cells));
    }
    remarks
}

/// The remarks on single cells, each once for its scenario.
pub(crate) fn remarks_on_cells(cells: &[CellReport]) -> Vec<String> {
    by_scenario(cells)
        .into_iter()
        .flat_map(|(scenario, cells)| of_cells(scenario, &cells))
        .collect()
}

fn by_scenario(cells: &[CellReport]) -> BTreeMap<&str, Vec<&CellReport>> {
    let mut scenarios: BTreeMap<&str, Vec<&CellReport>> = BTreeMap::new();
    for cell in cells {
        scenarios.entry(&cell.scenario).or_default().push(cell);
    }
    scenarios
}

/// The remarks on single cells, each once, with its kernels if it is not on all.
fn of_cells(suite: &str, cells: &[&CellReport]) -> Vec<String> {
    let mut kernels: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for cell in cells {
        for remark in &cell.remarks {
            kernels.entry(remark).or_default().push(cell.kernel_and_mode());
        }
    }
    let told = kernels.into_iter().map(|(remark, kernels)| {
        let everywhere = kernels.len() == cells.len();
        let kernels: Vec<_> = BTreeSet::from_iter(kernels).into_iter().collect();
        match everywhere {
            true => format!("{suite}: {remark}"),
            false => format!("{suite}: on {}: {remark}", kernels.join(", ")),
        }
    });
    told.collect()
}

/// A suite that fails for one reason on all of at least two kernels says nothing about kernels.
fn fails_alike(suite: &str, cells: &[&CellReport]) -> Option<String> {
    let kernels: BTreeSet<_> = cells.iter().map(|cell| &cell.kernel).collect();
    let reasons: BTreeSet<_> =
        cells.iter().map(|cell| (cell.outcome.name(), cell.reason.map(|r| r.code()))).collect();
    let all_fail = cells.iter().all(|cell| match cell.outcome.severity() {
        Severity::Failure => true,
        // The others are faults of the host.
        Severity::Inconclusive => {
            let own = [Reason::SetupFailed, Reason::WorkloadFailed, Reason::ConnectionLost];
            cell.reason.is_some_and(|reason| own.contains(&reason))
        }
        Severity::Expected => false,
    });
    let ran = cells.iter().all(|cell| cell.release.is_some());
    (kernels.len() > 1 && reasons.len() == 1 && all_fail && ran).then(|| {
        let verdict = cells[0].verdict();
        let count = kernels.len();
        let at_fault = match cells[0].suite {
            Some(SuiteKind::Command) => "the program",
            _ => "the tracer or the suite",
        };
        format!("{suite}: {verdict} on all {count} kernels: {at_fault} is at fault, not a kernel")
    })
}

/// The kernels on which a suite passes with other programs or maps than on most.
fn falls_back(suite: &str, cells: &[&CellReport]) -> Vec<String> {
    let passing = cells.iter().filter(|cell| cell.outcome.severity() == Severity::Expected);
    let used: Vec<(&CellReport, BTreeSet<String>)> = passing
        .filter_map(|cell| Some((*cell, cell.tracer.as_ref()?.object_names())))
        .filter(|(_, objects)| !objects.is_empty())
        .collect();
    let mut counts: BTreeMap<&BTreeSet<String>, usize> = BTreeMap::new();
    for (_, objects) in &used {
        *counts.entry(objects).or_default() += 1;
    }
    // Of two equally common sets, the usual one is that of the newest kernel, which comes last in a
    // matrix, with its type information, which comes first.
    let all_masked = cells.iter().all(|cell| cell.is_masked());
    let Some(usual) = used
        .iter()
        .filter(|(cell, _)| !cell.is_masked() || all_masked)
        .map(|(_, objects)| objects)
        .max_by_key(|objects| counts.get(objects).copied().unwrap_or_default())
    else {
        return Vec::new();
    };
    let mut remarks = BTreeSet::new();
    for (cell, objects) in &used {
        if objects != usual {
            let list = |set: Vec<&String>| {
                let names: Vec<_> = set.into_iter().map(String::as_str).collect();
                if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
            };
            let instead = list(objects.difference(usual).collect());
            let of = list(usual.difference(objects).collect());
            let kernel = cell.kernel_and_mode();
            remarks.insert(format!("{suite}: on {kernel} it uses {instead} instead of {of}"));
        }
    }
    remarks.into_iter().collect()
}

/// What dossiers predict for the BPF object of a suite, and where that was wrong.
fn predicted(suite: &str, cells: &[&CellReport]) -> Vec<String> {
    let mut remarks = BTreeSet::new();
    for cell in cells {
        let Some(tracer) = &cell.tracer else { continue };
        if tracer.predicted_missing.is_empty() {
            continue;
        }
        let lacks = tracer.predicted_missing.join("; ");
        let kernel = cell.kernel_and_mode();
        remarks.insert(match (cell.outcome, cell.outcome.severity()) {
            (Outcome::Pass, _) => {
                format!("{suite}: {kernel} lacks {lacks}, by its dossier, but it works")
            }
            // What is expected to fail is unsupported.
            (Outcome::Unsupported, _) | (_, Severity::Failure) => {
                format!("{suite}: as predicted, {kernel} lacks {lacks}")
            }
            _ => continue,
        });
    }
    remarks.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::Verdict;
    use rstest::rstest;

    use super::*;
    use crate::report::{LoadedObject, TracerReport};

    fn cell(kernel: &str, verdict: Verdict, map: &str) -> CellReport {
        let mut cell = CellReport::of_verdict(&format!("{kernel}/embedded/suite/opens"), verdict);
        cell.release = Some("6.1.0".to_owned());
        let map = LoadedObject {
            name: "events".to_owned(),
            kind: map.to_owned(),
            verified_instructions: None,
            missed_runs: None,
            load_us: None,
        };
        cell.tracer = Some(TracerReport { maps: vec![map], ..TracerReport::default() });
        cell
    }

    fn fail(reason: Reason) -> Verdict {
        Verdict::because(Outcome::Fail, reason, "")
    }

    #[test]
    fn a_suite_that_fails_alike_everywhere_is_told_apart() {
        let cells = ["a", "b"].map(|kernel| cell(kernel, fail(Reason::TracerDied), "ringbuf"));
        let expected = "opens: fail (tracer-died) on all 2 kernels: the tracer or the suite is at \
                        fault, not a kernel";
        assert_eq!(remarks(&cells), [expected]);
        assert!(remarks(&cells[..1]).is_empty(), "one kernel shows nothing");
        let suite = Some(SuiteKind::Command);
        let of_command = cells.clone().map(|cell| CellReport { suite, ..cell });
        assert!(remarks(&of_command)[0].contains(": the program is at fault"));
        let of_infra = |reason| {
            let verdict = Verdict::because(Outcome::Infra, reason, "");
            remarks(&["a", "b"].map(|kernel| cell(kernel, verdict.clone(), "ringbuf"))).len()
        };
        assert_eq!(of_infra(Reason::SetupFailed), 1);
        assert_eq!(of_infra(Reason::WorkloadFailed), 1);
        assert_eq!(of_infra(Reason::GuestStarved), 0, "the host is at fault");
        assert_eq!(of_infra(Reason::QemuFailed), 0);
        let [one, _] = cells;
        let other = cell("b", fail(Reason::EventsDiffer), "ringbuf");
        assert!(remarks(&[one.clone(), other]).is_empty());
        assert!(remarks(&[one, cell("b", Verdict::pass(), "ringbuf")]).is_empty());
    }

    #[test]
    fn a_remark_on_all_cells_is_told_once() {
        let with = |kernel: &str, remarks: &[&str]| CellReport {
            remarks: remarks.iter().map(|&remark| remark.to_owned()).collect(),
            ..cell(kernel, Verdict::pass(), "ringbuf")
        };
        let cells = [with("a", &["one", "two"]), with("b", &["one"])];
        assert_eq!(remarks(&cells), ["opens: one", "opens: on a: two"]);
    }

    #[test]
    fn an_address_in_the_name_of_a_map_is_no_fallback() {
        let named = |kernel: &str, name: &str| {
            let mut cell = cell(kernel, Verdict::pass(), "array");
            name.clone_into(&mut cell.tracer.as_mut().unwrap().maps[0].name);
            cell
        };
        let cells = [named("a", "aaaab4e8.rodata"), named("b", "aaab1b58.rodata")];
        assert!(remarks(&cells).is_empty());
        let [_, b] = cells;
        let expected = "opens: on a it uses map tool.rodata (array) instead of map .rodata (array)";
        assert_eq!(remarks(&[named("a", "tool.rodata"), b]), [expected]);
    }

    #[rstest]
    #[case::it_works(Outcome::Pass, &["opens: a lacks fentry, by its dossier, but it works"])]
    #[case::expected(Outcome::Unsupported, &["opens: as predicted, a lacks fentry"])]
    #[case::fails(Outcome::Timeout, &["opens: as predicted, a lacks fentry"])]
    #[case::nothing_is_known(Outcome::Infra, &[])]
    fn a_prediction_is_compared_with_what_happened(
        #[case] outcome: Outcome,
        #[case] expected: &[&str],
    ) {
        let mut cell = cell("a", Verdict { outcome, ..Verdict::pass() }, "ringbuf");
        cell.tracer.as_mut().unwrap().predicted_missing = vec!["fentry".to_owned()];
        assert_eq!(remarks(&[cell]), expected);
    }

    #[test]
    fn a_fallback_is_seen() {
        let cells = [
            cell("old", Verdict::pass(), "perf_event_array"),
            cell("new", Verdict::pass(), "ringbuf"),
            cell("newest", Verdict::pass(), "ringbuf"),
        ];
        let expected = "opens: on old it uses map events (perf_event_array) instead of map events \
                        (ringbuf)";
        assert_eq!(remarks(&cells), [expected]);
        assert!(remarks(&cells[1..]).is_empty());
        let masked = cells.clone().map(|cell| CellReport { btf: "masked".to_owned(), ..cell });
        let expected = "opens: on old masked it uses map events (perf_event_array) instead of map events \
                        (ringbuf)";
        assert_eq!(remarks(&masked), [expected]);
        // Of two as common ones, the usual one is that with type information.
        let ([_, new, _], [old_masked, ..]) = (cells, masked);
        assert_eq!(remarks(&[new, old_masked]), [expected]);
    }
}
