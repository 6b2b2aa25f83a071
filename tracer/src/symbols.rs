//! The kernel's symbol table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
};

use kernlab_core::tracer::wanted_symbols;
use memmap2::Mmap;

use crate::arch::ARCH;

/// Before the name come an address, a blank, a letter and another blank.
const ADDRESS_DIGITS: usize = 16;
const NAME: usize = ADDRESS_DIGITS + 3;

/// The wanted symbols of the kernel itself, with their addresses.
pub(crate) fn wanted() -> io::Result<BTreeMap<String, u64>> {
    Ok(match sorted()? {
        Some(table) => wanted_symbols(ARCH)
            .filter_map(|name| Some((name.to_owned(), look_up(&table, name)?)))
            .collect(),
        None => scan(&fs::read("/proc/kallsyms")?),
    })
}

/// All of it.
pub(crate) fn table() -> io::Result<Vec<u8>> {
    match sorted()? {
        Some(table) => Ok(table.to_vec()),
        None => fs::read("/proc/kallsyms"),
    }
}

/// The agent's copy, whose lines are sorted by name. A guest that was not restored has none.
fn sorted() -> io::Result<Option<Mmap>> {
    match File::open("/run/kallsyms") {
        // SAFETY: nothing writes to the file once it is there.
        Ok(file) => unsafe { Mmap::map(&file) }.map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The address of a symbol in a table whose lines are sorted by name.
fn look_up(sorted: &[u8], wanted: &str) -> Option<u64> {
    // Lines that begin before `low` have lesser names; no line that begins at `high` or later has.
    let (mut low, mut high) = (0, sorted.len());
    while low < high {
        let middle = low.midpoint(high);
        let newline = sorted[low..middle].iter().rposition(|&byte| byte == b'\n');
        let start = newline.map_or(low, |newline| low + newline + 1);
        let line = lines(&sorted[start..]).next().unwrap_or_default();
        if name(line) < wanted.as_bytes() {
            low = start + line.len() + 1;
        } else {
            high = start;
        }
    }
    lines(sorted.get(low..)?)
        .take_while(|line| name(line) == wanted.as_bytes())
        .filter_map(of_the_kernel_itself)
        .last()
        .map(|(_, address)| address)
}

/// The wanted symbols of a table in whatever order.
fn scan(table: &[u8]) -> BTreeMap<String, u64> {
    let wanted: BTreeSet<&[u8]> = wanted_symbols(ARCH).map(str::as_bytes).collect();
    lines(table)
        .filter(|line| wanted.contains(name(line)))
        .filter_map(of_the_kernel_itself)
        .map(|(name, address)| (name.to_owned(), address))
        .collect()
}

/// Lines are `address type name`.
fn lines(table: &[u8]) -> impl Iterator<Item = &[u8]> {
    table.split(|&byte| byte == b'\n')
}

fn name(line: &[u8]) -> &[u8] {
    let rest = line.get(NAME..).unwrap_or_default();
    rest.split(|&byte| byte == b'\t').next().unwrap_or_default()
}

/// A symbol's name and address; none for those of modules, which have a fourth column behind a tab.
fn of_the_kernel_itself(line: &[u8]) -> Option<(&str, u64)> {
    let name = str::from_utf8(line.get(NAME..)?).ok()?;
    let address = u64::from_str_radix(str::from_utf8(&line[..ADDRESS_DIGITS]).ok()?, 16).ok()?;
    (!name.contains('\t')).then_some((name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SORTED: &[u8] = b"ffffffff81000000 T _stext\n\
        ffffffff81234560 T key_alloc\n\
        ffffffff81234570 t key_alloc.cold\n\
        ffffffff81234580 t process_vm_rw\n\
        ffffffff81234590 t process_vm_rw\n\
        ffffffffc0000000 t process_vm_rw\t[module]\n\
        ffffffffc0000010 t vfs_read\t[module]\n";

    #[test]
    fn only_wanted_symbols_of_the_kernel_itself_are_kept() {
        let expected = BTreeMap::from([
            ("key_alloc".to_owned(), 0xffff_ffff_8123_4560),
            ("process_vm_rw".to_owned(), 0xffff_ffff_8123_4590),
        ]);
        assert_eq!(scan(SORTED), expected);
        let found = ["key_alloc", "process_vm_rw", "vfs_read", "vfs_write", "a"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), look_up(SORTED, name)?)));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
    }

    #[test]
    fn every_line_of_a_sorted_table_is_found_wherever_it_is() {
        let names: Vec<_> = (0..100).map(|number| format!("f{}", number * number)).collect();
        let sorted: BTreeSet<_> = names.iter().collect();
        let table: Vec<u8> = sorted
            .iter()
            .flat_map(|name| format!("{:016x} T {name}\n", name.len()).into_bytes())
            .collect();
        for name in &names {
            assert_eq!(look_up(&table, name), Some(name.len() as u64), "{name}");
        }
        assert_eq!(look_up(&table, "f2"), None);
        assert_eq!(look_up(b"", "f0"), None);
        assert_eq!(look_up(b"\n\n", "f0"), None);
    }
}
