//! Measures what the lab's own steps cost: medians over interleaved rounds, with their spread.

mod baselines;
mod boot;
mod compare;
mod matrix;
mod soak;
mod suites;
mod tracers;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

pub use self::{
    baselines::{BaselineBench, BaselineError, baselines},
    boot::{BootBench, boot},
    compare::{CompareError, Comparison, Kept},
    matrix::{MatrixBench, MatrixError, matrix},
    soak::{SoakBench, SoakError, soak},
    suites::{SuitesBench, SuitesError, suites},
    tracers::{TracersBench, TracersError, tracers},
};

/// The median of several measurements, and the extremes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Half of the rounds were faster, in milliseconds.
    pub median_ms: f64,
    /// The fastest round, in milliseconds.
    pub min_ms: f64,
    /// The slowest round, in milliseconds.
    pub max_ms: f64,
    /// How many rounds there were.
    pub rounds: usize,
}

impl Summary {
    /// Summarises the measurements; none if there are none.
    fn of(times: &[Duration]) -> Option<Summary> {
        let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        let upper = times.len() / 2;
        let lower = times.len().checked_sub(1)? / 2;
        Some(Summary {
            median_ms: f64::midpoint(times[lower], times[upper]),
            min_ms: times[0],
            max_ms: times[times.len() - 1],
            rounds: times.len(),
        })
    }
}

/// The result of a benchmark: what `--json` writes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of this format.
    pub schema: u32,
    /// The name of the benchmark.
    pub benchmark: &'static str,
    /// The conditions, such as the kernel and the accelerator.
    pub conditions: Named<String>,
    /// The measurements, in the order of the stages.
    pub measurements: Named<Summary>,
    /// Ratios of medians.
    pub ratios: Named<f64>,
}

/// Values by name, in a meaningful order. An object in JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T>(pub Vec<(String, T)>);

impl<T> Named<T> {
    fn of<Name: Into<String>>(values: impl IntoIterator<Item = (Name, T)>) -> Self {
        Named(values.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<_> =
            self.conditions.0.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(f, "{}: {}", self.benchmark, conditions.join(", "))?;
        let names = self
            .measurements
            .0
            .iter()
            .map(|(name, _)| name)
            .chain(self.ratios.0.iter().map(|(name, _)| name));
        let width = names.map(String::len).max().unwrap_or(0);
        writeln!(f, "{:width$} {:>9} {:>9} {:>9}", "", "median", "min", "max")?;
        for (name, summary) in &self.measurements.0 {
            let Summary { median_ms, min_ms, max_ms, .. } = summary;
            writeln!(f, "{name:width$} {median_ms:6.0} ms {min_ms:6.0} ms {max_ms:6.0} ms")?;
        }
        for (name, ratio) in &self.ratios.0 {
            writeln!(f, "{name:width$} {ratio:9.2}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[5], 5.0, 5.0, 5.0)]
    #[case(&[9, 1, 5], 5.0, 1.0, 9.0)]
    #[case(&[4, 1, 9, 2], 3.0, 1.0, 9.0)]
    fn the_median_is_the_middle(
        #[case] times: &[u64],
        #[case] median_ms: f64,
        #[case] min_ms: f64,
        #[case] max_ms: f64,
    ) {
        let times: Vec<_> = times.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let expected = Summary { median_ms, min_ms, max_ms, rounds: times.len() };
        assert_eq!(Summary::of(&times), Some(expected));
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn a_report_is_a_table() {
        let summary = Summary { median_ms: 1234.5, min_ms: 1000.0, max_ms: 2000.0, rounds: 3 };
        let report = Report {
            schema: 1,
            benchmark: "boot",
            conditions: Named::of([("kernel", "debian-6.1".to_owned())]),
            measurements: Named::of([("ready", summary), ("cell", summary)]),
            ratios: Named::of([("ready / floor", 1.0625)]),
        };
        insta::assert_snapshot!(report);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["measurements"]["cell"]["median_ms"], 1234.5);
    }
}
