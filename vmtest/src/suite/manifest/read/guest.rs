//! What a suite wants of its guest.

use std::collections::{BTreeMap, BTreeSet};

use kernlab_kernels::{DocumentError, PROCESSORS_RANGE};

use super::field::Field;
use crate::suite::manifest::{
    Cgroup, FileSpec, GuestSpec,
    guest::{check_absolute, parse_memory},
};

pub(super) const GUEST: &[&str] =
    &["cpus", "memory", "cgroup", "modules", "lsm", "sysctl", "netns"];

pub(super) fn guest(field: Field<'_>) -> Result<GuestSpec, DocumentError> {
    let mut table = field.table(GUEST)?;
    Ok(GuestSpec {
        cpus: table.read("cpus", |field| field.count(PROCESSORS_RANGE))?,
        memory_mib: table.read("memory", |field| field.parse(parse_memory))?,
        cgroup: table.read("cgroup", |field| field.word("version of cgroup", &Cgroup::NAMES))?,
        modules: table
            .read("modules", |field| field.list("a list of modules", module))?
            .unwrap_or_default(),
        lsm: table.read("lsm", |field| {
            field.parse(|text| match is_made_of(text, "_,-") {
                true => Ok(text.to_owned()),
                false => Err(format!("`{text}` is not a list of names with commas between them")),
            })
        })?,
        sysctl: table.read("sysctl", sysctl)?.unwrap_or_default(),
        netns: table.read("netns", Field::boolean)?.unwrap_or(false),
    })
}

fn is_made_of(text: &str, others: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn module(field: Field<'_>) -> Result<String, DocumentError> {
    field.parse(|name| match is_made_of(name, "_-") {
        true => Ok(name.to_owned()),
        false => Err(format!("`{name}` is not the name of a module, such as `veth`")),
    })
}

fn sysctl(field: Field<'_>) -> Result<BTreeMap<String, String>, DocumentError> {
    let fields = field.open_table()?.flat();
    fields
        .into_iter()
        .map(|(name, field)| {
            if !is_made_of(&name, "._-/") || name.split(['.', '/']).any(str::is_empty) {
                let message = "expected names such as `kernel.bpf_stats_enabled`";
                return Err(field.invalid(message));
            }
            Ok((name, field.scalar()?))
        })
        .collect()
}

/// A user's name or number.
pub(super) fn user(field: Field<'_>) -> Result<String, DocumentError> {
    if !field.is_text() {
        return field.count(0..=u32::MAX - 1).map(|number| number.to_string());
    }
    field.parse(|name| match is_made_of(name, "_.-$") {
        true => Ok(name.to_owned()),
        false => Err(format!("`{name}` is not the name of a user")),
    })
}

pub(super) fn environment(field: Field<'_>) -> Result<BTreeMap<String, String>, DocumentError> {
    let fields = field.open_table()?.flat();
    fields
        .into_iter()
        .map(|(name, field)| {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(field.invalid("a variable's name is not empty and has no `=`"));
            }
            Ok((name, field.scalar()?))
        })
        .collect()
}

/// Files for the guest, each in a place of its own.
pub(super) fn files(field: Field<'_>) -> Result<Vec<FileSpec>, DocumentError> {
    let mut places = BTreeSet::new();
    field.list("a list of paths", |field| {
        let at = field.clone();
        let spec = field.parse(FileSpec::parse)?;
        match spec.guest.as_ref().is_none_or(|place| places.insert(place.clone())) {
            true => Ok(spec),
            false => Err(at.invalid("another file has this place in the guest")),
        }
    })
}

/// A path in the guest.
pub(super) fn absolute(field: Field<'_>) -> Result<String, DocumentError> {
    field.parse(check_absolute)
}
