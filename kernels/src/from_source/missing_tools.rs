//! What this machine lacks for building a kernel.

use std::fmt;

/// The programs and headers that keep a build from starting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingTools {
    /// Programs and headers that are not installed.
    pub(super) missing: Vec<String>,
    /// Programs that the entry names and that do not exist.
    pub(super) misnamed: Vec<String>,
    /// Programs that exist and do not work, with their error output.
    pub(super) broken: Vec<(String, String)>,
}

impl MissingTools {
    pub(super) fn is_empty(&self) -> bool {
        *self == MissingTools::default()
    }

    /// Whether installing packages can help.
    pub(crate) fn can_be_installed(&self) -> bool {
        !self.missing.is_empty()
    }

    #[cfg(test)]
    pub(super) fn of(names: &[&str]) -> Self {
        let missing = names.iter().map(|&name| name.to_owned()).collect();
        MissingTools { missing, ..MissingTools::default() }
    }
}

impl fmt::Display for MissingTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("it lacks {}", self.missing.join(", ")));
        }
        for program in &self.misnamed {
            parts.push(format!("there is no {program}, which the entry's `toolchain` names"));
        }
        for (program, said) in &self.broken {
            parts.push(format!("{program} was found but does not work: {said}"));
        }
        f.write_str(&parts.join("; "))
    }
}
