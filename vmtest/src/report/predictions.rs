//! Predictions for unsupported cells, next to what was observed.

use std::{collections::BTreeMap, fmt::Write as _};

use kernlab_core::{outcome::Outcome, record::Decision};

use super::{CellReport, Report};

/// A line for each scenario and reason, with the kernels and BTF modes to which it applies; nothing
/// if every scenario is supported. Wrong predictions are failures, and listed among the findings.
pub fn unsupported(report: &Report) -> String {
    // Both backends have the same plan, so a place is listed once. Kernels keep the report's order.
    let mut groups: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    for cell in report.cells.iter().filter(|cell| cell.outcome == Outcome::Unsupported) {
        let places = groups.entry((&cell.scenario, line(cell))).or_default();
        let place = format!("{} ({})", cell.kernel, cell.btf);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let mut text = String::new();
    for ((scenario, line), places) in groups {
        let _ = writeln!(text, "{scenario}: {line}: {}", places.join(", "));
    }
    text
}

fn line(cell: &CellReport) -> String {
    let observed = match cell.reason {
        Some(reason) => format!("unsupported ({reason})"),
        None => "unsupported".to_owned(),
    };
    match &cell.predicted {
        None => format!("not predicted, observed {observed}"),
        Some(Decision::Unsupported(why)) if Some(why.reason) == cell.reason => {
            format!("predicted {observed}, observed unsupported")
        }
        Some(Decision::Unsupported(why)) => {
            format!("predicted unsupported ({}), observed {observed}", why.reason)
        }
        Some(Decision::Plan { .. }) => format!("predicted supported, observed {observed}"),
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::{
        outcome::{Reason, Verdict},
        plan::Unsupported,
    };

    use super::*;
    use crate::report::sample;

    fn cell(id: &str, predicted: Option<Reason>, observed: Reason) -> CellReport {
        let verdict = Verdict::because(Outcome::Unsupported, observed, "no such thing");
        let decision = |reason| Decision::Unsupported(Unsupported { reason, message: "".into() });
        CellReport { predicted: predicted.map(decision), ..CellReport::of_verdict(id, verdict) }
    }

    #[test]
    fn each_reason_is_told_once_with_all_its_kernels() {
        let symbol = Reason::MissingSymbol;
        let btf = Reason::MissingBtf;
        let mut report = sample::report();
        report.cells = vec![
            cell("b/embedded/libbpf/t/s", Some(symbol), symbol),
            cell("b/embedded/aya/t/s", Some(symbol), symbol),
            cell("b/masked/aya/t/s", Some(btf), btf),
            cell("a/embedded/aya/t/s", Some(symbol), symbol),
            cell("c/embedded/aya/t/s", None, symbol),
            CellReport::of_verdict("d/embedded/aya/t/s", Verdict::pass()),
        ];
        insta::assert_snapshot!(unsupported(&report), @r"
        t/s: not predicted, observed unsupported (missing-symbol): c (embedded)
        t/s: predicted unsupported (missing-btf), observed unsupported: b (masked)
        t/s: predicted unsupported (missing-symbol), observed unsupported: b (embedded), a (embedded)
        ");
    }
}
