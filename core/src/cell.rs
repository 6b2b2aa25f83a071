//! The coordinates of one verdict: kernel, BTF mode, backend, scenario.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;

/// Where type information comes from in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BtfMode {
    /// From the image itself.
    Embedded,
    /// The image has it, but `/sys/kernel/btf` is hidden from user space.
    Masked,
    /// The image was built without.
    Absent,
    /// A file is supplied, whatever the image has.
    External,
}

impl BtfMode {
    /// All modes, in the order of reports.
    pub const ALL: [BtfMode; 4] =
        [BtfMode::Embedded, BtfMode::Masked, BtfMode::Absent, BtfMode::External];

    /// `embedded`, `masked`, `absent` or `external`.
    pub fn name(self) -> &'static str {
        match self {
            BtfMode::Embedded => "embedded",
            BtfMode::Masked => "masked",
            BtfMode::Absent => "absent",
            BtfMode::External => "external",
        }
    }

    /// Whether an image can have this mode: one with type information of its own, or one without.
    pub fn fits(self, has_btf: bool) -> bool {
        match self {
            BtfMode::Embedded | BtfMode::Masked => has_btf,
            BtfMode::Absent => !has_btf,
            BtfMode::External => true,
        }
    }

    /// Whether only an image with type information of its own has this mode.
    pub fn needs_embedded(self) -> bool {
        match self {
            BtfMode::Embedded | BtfMode::Masked => true,
            BtfMode::Absent | BtfMode::External => false,
        }
    }
}

/// An implementation of all tracers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// C programs, loaded with libbpf.
    Libbpf,
    /// Rust programs, loaded with Aya.
    Aya,
}

impl BackendKind {
    /// Both backends, in the order of reports.
    pub const ALL: [BackendKind; 2] = [BackendKind::Libbpf, BackendKind::Aya];

    /// `libbpf` or `aya`.
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Libbpf => "libbpf",
            BackendKind::Aya => "aya",
        }
    }
}

/// A word that should have named one of a closed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {given:?}: expected one of {expected}")]
pub struct UnknownName {
    what: &'static str,
    given: String,
    expected: String,
}

impl UnknownName {
    pub(crate) fn new(
        what: &'static str,
        given: &str,
        expected: impl Iterator<Item = String>,
    ) -> Self {
        let expected = expected.collect::<Vec<_>>().join(", ");
        UnknownName { what, given: given.to_owned(), expected }
    }
}

impl FromStr for BtfMode {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        BtfMode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
            UnknownName::new("BTF mode", text, BtfMode::ALL.iter().map(ToString::to_string))
        })
    }
}

impl FromStr for BackendKind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        BackendKind::ALL.into_iter().find(|backend| backend.name() == text).ok_or_else(|| {
            UnknownName::new("backend", text, BackendKind::ALL.iter().map(ToString::to_string))
        })
    }
}

impl fmt::Display for BtfMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One cell of the matrix. Written as `kernel/btf/backend/tracer/scenario`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// The kernel's id in `kernels.toml`: no slash in it.
    pub kernel: String,
    /// Where type information comes from.
    pub btf: BtfMode,
    /// Which implementation of the tracer runs.
    pub backend: BackendKind,
    /// Which tracer, and what happens under its eyes.
    pub scenario: &'static Scenario,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.kernel, self.btf, self.backend, self.scenario)
    }
}

impl FromStr for Cell {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let malformed = || {
            UnknownName::new(
                "cell",
                text,
                ["kernel/btf/backend/tracer/scenario".to_owned()].into_iter(),
            )
        };
        let mut parts = text.splitn(4, '/');
        let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or_else(malformed);
        let kernel = next()?.to_owned();
        let btf = next()?.parse()?;
        let backend = next()?.parse()?;
        let scenario = next()?;
        let scenario = Scenario::by_id(scenario).ok_or_else(|| {
            UnknownName::new("scenario", scenario, Scenario::ALL.iter().map(ToString::to_string))
        })?;
        Ok(Cell { kernel, btf, backend, scenario })
    }
}

/// The name of a cell in parts, which may be words of another version of the lab. Parts that it lacks
/// are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellName<'a> {
    /// The kernel's id.
    pub kernel: &'a str,
    /// The BTF mode.
    pub btf: &'a str,
    /// The backend; `suite` for a cell of a suite.
    pub backend: &'a str,
    /// `tracer/scenario`, or the name of a suite, which may have slashes.
    pub scenario: &'a str,
}

impl<'a> CellName<'a> {
    /// Takes a cell's name apart.
    pub fn of(id: &'a str) -> Self {
        let mut parts = id.splitn(4, '/');
        let mut next = || parts.next().unwrap_or_default();
        CellName { kernel: next(), btf: next(), backend: next(), scenario: next() }
    }

    /// The tracer; the first part of a suite's name.
    pub fn tracer(self) -> &'a str {
        tracer_of(self.scenario)
    }
}

/// The tracer that a scenario's name begins with.
pub fn tracer_of(scenario: &str) -> &str {
    scenario.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_suite_keeps_its_slashes_and_missing_parts_are_empty() {
        let name = CellName::of("debian-6.1/masked/suite/tests/opens");
        let expected = CellName {
            kernel: "debian-6.1",
            btf: "masked",
            backend: "suite",
            scenario: "tests/opens",
        };
        assert_eq!(name, expected);
        assert_eq!(
            CellName::of("k/masked"),
            CellName { kernel: "k", btf: "masked", ..CellName::default() }
        );
        assert_eq!(CellName::of("k/absent/aya/inotify/ids").tracer(), "inotify");
    }

    #[test]
    fn a_cell_reads_back_what_it_writes() {
        let text = "debian-6.1/masked/aya/inotify/rename_same_dir";
        let cell: Cell = text.parse().unwrap();
        assert_eq!(cell.btf, BtfMode::Masked);
        assert_eq!(cell.scenario.name, "rename_same_dir");
        assert_eq!(cell.to_string(), text);
    }

    #[test]
    fn a_malformed_cell_says_what_was_expected() {
        for text in ["", "debian-6.1", "debian-6.1//aya/inotify/rename_same_dir"] {
            let error = text.parse::<Cell>().unwrap_err().to_string();
            assert!(error.contains("kernel/btf/backend/tracer/scenario"), "{error}");
        }
        let error = "k/embedded/bcc/sys_write/threads".parse::<Cell>().unwrap_err();
        assert_eq!(error.to_string(), "unknown backend \"bcc\": expected one of libbpf, aya");
    }
}
