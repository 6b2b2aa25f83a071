//! What a suite wants of its guest.

use std::collections::BTreeMap;

use kernlab_kernels::DocumentError;

use super::field::Field;
use crate::suite::manifest::{Cgroup, FileSpec, GuestSpec};

pub(super) const GUEST: &[&str] =
    &["cpus", "memory", "cgroup", "modules", "lsm", "sysctl", "netns"];

/// The same limits as in the matrix of kernels.
const PROCESSORS: std::ops::RangeInclusive<u32> = 1..=64;
const MEMORY_MIB: std::ops::RangeInclusive<u32> = 128..=65536;

pub(super) fn guest(field: Field<'_>) -> Result<GuestSpec, DocumentError> {
    let mut table = field.table(GUEST)?;
    Ok(GuestSpec {
        cpus: table.read("cpus", |field| field.count(PROCESSORS))?,
        memory_mib: table.read("memory", |field| field.parse(memory_mib))?,
        cgroup: table.read("cgroup", |field| {
            field.word("version of cgroup", &[("v1", Cgroup::V1), ("v2", Cgroup::V2)])
        })?,
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

fn memory_mib(text: &str) -> Result<u32, String> {
    let (number, factor) = match text.strip_suffix('G') {
        Some(number) => (number, 1024),
        None => (text.strip_suffix('M').unwrap_or(""), 1),
    };
    let size = number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    size.filter(|size| MEMORY_MIB.contains(size)).ok_or_else(|| {
        let (least, most) = (MEMORY_MIB.start(), MEMORY_MIB.end() / 1024);
        format!("`{text}` is not a size of memory: expected `{least}M` to `{most}G`")
    })
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

/// `HERE`, or `HERE=THERE`.
pub(super) fn file(field: Field<'_>) -> Result<FileSpec, DocumentError> {
    field.parse(|text| {
        let (host, guest) = match text.split_once('=') {
            Some((host, guest)) => (host, Some(guest)),
            None => (text, None),
        };
        if host.is_empty() {
            return Err(format!("`{text}` names no file of this machine: expected `HERE=THERE`"));
        }
        let guest = guest.map(check_absolute).transpose()?;
        Ok(FileSpec { host: host.into(), guest })
    })
}

/// A path in the guest.
pub(super) fn absolute(field: Field<'_>) -> Result<String, DocumentError> {
    field.parse(check_absolute)
}

fn check_absolute(path: &str) -> Result<String, String> {
    match path.starts_with('/') {
        true => Ok(path.to_owned()),
        false => Err(format!("`{path}` is a path in the guest, and must begin with `/`")),
    }
}
