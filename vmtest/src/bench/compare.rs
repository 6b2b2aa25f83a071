//! Compares a benchmark's result with an older one.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::Summary;

/// The part of a `--json` file that is compared.
#[derive(Clone, Debug, Deserialize)]
pub struct Kept {
    benchmark: String,
    conditions: BTreeMap<String, String>,
    measurements: BTreeMap<String, Summary>,
}

/// Why two results can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is no result of a benchmark.
    #[error("{path} is not what `cargo xtask bench ... --json` writes")]
    Format {
        /// The file.
        path: PathBuf,
        /// The error.
        source: serde_json::Error,
    },
    /// The results are not comparable.
    #[error("{what} differs: {old} in the older result, {new} in the newer one")]
    Different {
        /// The condition.
        what: String,
        /// Its value in the older file.
        old: String,
        /// Its value in the newer file.
        new: String,
    },
}

/// Two results of one benchmark under the same conditions.
#[derive(Clone, Debug)]
pub struct Comparison {
    benchmark: String,
    rows: Vec<(String, Option<Summary>, Option<Summary>)>,
}

impl Kept {
    /// Reads what `--json` wrote.
    pub fn read(path: &Path) -> Result<Self, CompareError> {
        let path = path.to_owned();
        match fs::read_to_string(&path) {
            Ok(text) => {
                serde_json::from_str(&text).map_err(|source| CompareError::Format { path, source })
            }
            Err(source) => Err(CompareError::Read { path, source }),
        }
    }
}

impl Comparison {
    /// Compares a newer result with an older one.
    pub fn of(old: &Kept, new: &Kept) -> Result<Self, CompareError> {
        let different = |what: &str, old: Option<&String>, new: Option<&String>| {
            let text = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
            let (old, new) = (text(old), text(new));
            CompareError::Different { what: what.to_owned(), old, new }
        };
        if old.benchmark != new.benchmark {
            let (old, new) = (Some(&old.benchmark), Some(&new.benchmark));
            return Err(different("the benchmark", old, new));
        }
        for what in old.conditions.keys().chain(new.conditions.keys()) {
            let (old, new) = (old.conditions.get(what), new.conditions.get(what));
            if old != new {
                return Err(different(what, old, new));
            }
        }
        let mut names: Vec<_> = old.measurements.keys().chain(new.measurements.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let row = |name: &String| {
            let of = |kept: &Kept| kept.measurements.get(name).copied();
            (name.clone(), of(old), of(new))
        };
        let rows = names.into_iter().map(row).collect();
        Ok(Comparison { benchmark: new.benchmark.clone(), rows })
    }
}

impl fmt::Display for Comparison {
    /// Two times count as different only if their spreads don't overlap, because machines are
    /// noisy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        let width = width.max(self.benchmark.len());
        writeln!(f, "{:width$} {:>9} {:>9} {:>9}", self.benchmark, "old", "new", "new / old")?;
        for (name, old, new) in &self.rows {
            let time = |summary: &Option<Summary>| {
                summary.map_or("-".to_owned(), |summary| format!("{:.0} ms", summary.median_ms))
            };
            write!(f, "{name:width$} {:>9} {:>9}", time(old), time(new))?;
            if let (Some(old), Some(new)) = (old, new) {
                let verdict = match () {
                    () if new.min_ms > old.max_ms => "  slower",
                    () if new.max_ms < old.min_ms => "  faster",
                    () => "",
                };
                write!(f, " {:>9.2}{verdict}", new.median_ms / old.median_ms)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(kernel: &str, times: &[(&str, [f64; 3])]) -> Kept {
        let summary = |[min_ms, median_ms, max_ms]: [f64; 3]| Summary {
            median_ms,
            min_ms,
            max_ms,
            rounds: 3,
        };
        Kept {
            benchmark: "boot".to_owned(),
            conditions: [("kernel".to_owned(), kernel.to_owned())].into(),
            measurements: times.iter().map(|&(n, t)| (n.to_owned(), summary(t))).collect(),
        }
    }

    #[test]
    fn only_spreads_that_do_not_meet_count() {
        let old = kept("a", &[("ready", [9.0, 10.0, 11.0]), ("cell", [10.0, 20.0, 30.0])]);
        let new = kept("a", &[("ready", [12.0, 15.0, 16.0]), ("cell", [9.0, 15.0, 30.0])]);
        insta::assert_snapshot!(Comparison::of(&old, &new).unwrap(), @r"
        boot        old       new new / old
        cell      20 ms     15 ms      0.75
        ready     10 ms     15 ms      1.50  slower
        ");
    }

    #[test]
    fn another_kernel_is_another_benchmark() {
        let error = Comparison::of(&kept("a", &[]), &kept("b", &[])).unwrap_err().to_string();
        assert_eq!(error, "kernel differs: a in the older result, b in the newer one");
    }

    #[test]
    fn what_was_written_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let summary = Summary { median_ms: 1.0, min_ms: 1.0, max_ms: 1.0, rounds: 1 };
        let report = super::super::Report {
            schema: 1,
            benchmark: "boot",
            conditions: super::super::Named::of([("kernel", "a".to_owned())]),
            measurements: super::super::Named::of([("ready", summary)]),
            ratios: super::super::Named(Vec::new()),
        };
        fs::write(&path, serde_json::to_string(&report).unwrap()).unwrap();
        let kept = Kept::read(&path).unwrap();
        assert_eq!((kept.benchmark.as_str(), kept.measurements["ready"]), ("boot", summary));
        fs::write(&path, "{}").unwrap();
        assert!(matches!(Kept::read(&path), Err(CompareError::Format { .. })));
    }
}
