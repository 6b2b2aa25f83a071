//! What was discovered, beside what BTF says.

use serde::{Deserialize, Serialize};

use super::discovered::Discovered;
use crate::{
    btf::{Prototype, Types},
    outcome::Reason,
    unsupported::Unsupported,
};

/// The layout of one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutReport {
    /// `uname -r`.
    pub release: String,
    /// Does user space see BTF?
    pub btf: bool,
    /// Every field that was looked for and found, by name.
    pub fields: Vec<ReportedField>,
    /// Every function of which parameters were told from its calls.
    pub prototypes: Vec<ReportedPrototype>,
    /// What was not found: its name, and why.
    pub failures: Vec<(String, String)>,
    /// The address of `socket_file_ops`, as discovered.
    pub socket_file_ops: Option<u64>,
    /// What the search took, in milliseconds.
    pub duration_ms: u64,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedField {
    /// `task_struct.files`.
    pub field: String,
    /// The offset in bytes that BTF has for it.
    pub btf: Option<u32>,
    /// The offset in bytes that was discovered.
    pub discovered: u32,
    /// Why it is that one.
    pub how: String,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedPrototype {
    /// Its symbol.
    pub function: String,
    /// As BTF has it.
    pub btf: Option<Prototype>,
    /// As far as it was told; other parameters have the type `?`.
    pub discovered: Prototype,
}

impl ReportedPrototype {
    /// Does BTF have the same parameters in the same places? It may call them by longer names.
    pub fn agrees(&self) -> bool {
        self.btf.as_ref().is_some_and(|btf| {
            (0..).zip(&self.discovered.parameters).all(|(index, ours): (usize, _)| {
                let known = ours.type_name != "?";
                let theirs = btf.parameters.get(index);
                theirs.is_some_and(|theirs| {
                    !known
                        || theirs.type_name == ours.type_name && theirs.name.ends_with(&ours.name)
                })
            })
        })
    }
}

impl Discovered {
    /// Checks type information that did not come with the kernel: whatever memory tells, it must
    /// say as well. Of minimal type information only what it has is compared.
    pub fn check_btf(&self, btf: &Types) -> Result<(), Unsupported> {
        let foreign = |message| Err(Unsupported::new(Reason::ForeignBtf, message));
        if self.fields.is_empty() {
            let nothing = self.not_found("a field to check the BTF file with");
            return foreign(nothing.message);
        }
        let mut compared = self.clone();
        if btf.are_minimal() {
            let has = |field: &String| {
                let (structure, field) = field.split_once('.')?;
                btf.member_offset(structure, field)
            };
            compared.fields.retain(|field, _| has(field).is_some());
            compared.prototypes.clear();
            if compared.fields.is_empty() {
                let message = "the BTF file has no field that was found in memory, so nothing shows that \
                               it describes the running kernel";
                return foreign(message.to_owned());
            }
        }
        let report = LayoutReport::new("", Some(btf), compared, 0);
        let differ = report.contradictions();
        let Some(first) = differ.first() else { return Ok(()) };
        let field = report.fields.iter().find(|field| field.field == *first);
        let first = match field {
            Some(ReportedField { field, btf: Some(btf), discovered, .. }) => {
                format!("{field} is at offset {btf} there, and at {discovered} in memory")
            }
            Some(ReportedField { field, .. }) => format!("it has no {field}"),
            None => format!("it has other parameters of {first}, or none"),
        };
        let more = match differ.len() - 1 {
            0 => String::new(),
            count => format!("; {count} more differ"),
        };
        foreign(format!("the BTF file does not describe the running kernel: {first}{more}"))
    }
}

impl LayoutReport {
    /// Sets what was discovered beside what BTF has.
    pub fn new(
        release: &str,
        btf: Option<&Types>,
        discovered: Discovered,
        duration_ms: u64,
    ) -> Self {
        let offset = |field: &str| {
            let (structure, field) = field.split_once('.')?;
            btf?.member_offset(structure, field)
        };
        let fields = discovered.fields.into_iter().map(|(field, finding)| ReportedField {
            btf: offset(&field),
            field,
            discovered: finding.offset,
            how: finding.how,
        });
        let prototypes = discovered.prototypes.into_iter().map(|(function, discovered)| {
            let btf = btf.and_then(|btf| btf.prototype(&function));
            ReportedPrototype { function, btf, discovered }
        });
        LayoutReport {
            prototypes: prototypes.collect(),
            release: release.to_owned(),
            btf: btf.is_some(),
            fields: fields.collect(),
            failures: discovered.failures.into_iter().collect(),
            socket_file_ops: discovered.socket_file_ops,
            duration_ms,
        }
    }

    /// The fields and functions of which BTF says something else, or nothing. There are none unless
    /// a relation is wrong; without BTF there is nothing to contradict.
    pub fn contradictions(&self) -> Vec<&str> {
        if !self.btf {
            return Vec::new();
        }
        let fields = self.fields.iter().filter(|field| field.btf != Some(field.discovered));
        let functions = self.prototypes.iter().filter(|prototype| !prototype.agrees());
        fields
            .map(|field| field.field.as_str())
            .chain(functions.map(|prototype| prototype.function.as_str()))
            .collect()
    }
}
