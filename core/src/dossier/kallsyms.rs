//! What dossiers have of `/proc/kallsyms`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// One symbol of the kernel itself.
#[derive(Clone, Copy)]
struct Symbol<'a> {
    address: u64,
    letter: char,
    name: &'a str,
}

/// The symbols of the kernel itself: those of modules have a fourth column. What compilers and ftrace
/// put as padding before a function (`__pfx_`, `__cfi_`) is left out: it says nothing that the function
/// doesn't.
fn symbols(kallsyms: &[u8]) -> impl Iterator<Item = Symbol<'_>> {
    kallsyms.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut columns = str::from_utf8(line).ok()?.split_ascii_whitespace();
        let (address, letter, name) = (columns.next()?, columns.next()?, columns.next()?);
        let padding = ["__pfx_", "__cfi_"].iter().any(|prefix| name.starts_with(prefix));
        if columns.next().is_some() || padding {
            return None;
        }
        let address = u64::from_str_radix(address, 16).ok()?;
        Some(Symbol { address, letter: letter.chars().next()?, name })
    })
}

/// Picks the wanted symbols, and what the compiler made of them (`name.part.0`): by name, the letters
/// of all entries.
pub fn pick_symbols(kallsyms: &[u8], wanted: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let mut picked: BTreeMap<String, String> = BTreeMap::new();
    for Symbol { letter, name, .. } in symbols(kallsyms) {
        let base = name.split_once('.').map_or(name, |(base, _)| base);
        if wanted.contains(base) {
            picked.entry(name.to_owned()).or_default().push(letter);
        }
    }
    picked
}

/// Where code begins and ends: arch/x86/kernel/vmlinux.lds.S, include/asm-generic/sections.h.
const CODE: [(&str, &str); 2] = [("_stext", "_etext"), ("_sinittext", "_einittext")];

/// The names of all functions, each once. The compiler's copies of one count as one (`name.isra`), and
/// the cold ends of functions not at all: they come and go with every build.
///
/// What lies in the code is a function. The letters don't tell: some kernels list data with those of
/// code.
pub fn function_names(kallsyms: &[u8]) -> BTreeSet<&str> {
    let address = |wanted: &str| symbols(kallsyms).find(|symbol| symbol.name == wanted);
    let code: Vec<Range<u64>> = CODE
        .iter()
        .filter_map(|(start, end)| Some(address(start)?.address..address(end)?.address))
        .collect();
    symbols(kallsyms)
        .filter(|symbol| code.iter().any(|range| range.contains(&symbol.address)))
        .filter_map(|Symbol { name, .. }| match name.split_once('.') {
            None => Some(name),
            Some((_, suffix)) if suffix.starts_with("cold") => None,
            Some((base, suffix)) => {
                let kind = suffix.split_once('.').map_or(suffix, |(kind, _)| kind);
                name.get(..base.len() + 1 + kind.len())
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &[u8] = b"ffffffff81000000 T _stext\n\
        ffffffff81000000 T __pfx_vfs_open\n\
        ffffffff81000010 T vfs_open\n\
        ffffffff81000020 t vfs_open.cold\n\
        ffffffff81000030 t twice\n\
        ffffffff81000040 t twice\n\
        ffffffff81000050 t changed.isra.0\n\
        ffffffff81001000 T _etext\n\
        ffffffff82000000 T event_exit__read\n\
        ffffffff82000010 d socket_file_ops\n\
        ffffffffc0000000 t twice\t[module]\n\
        not a line\n";

    #[test]
    fn symbols_are_picked_with_what_the_compiler_made_of_them() {
        let wanted = ["vfs_open", "twice", "changed", "socket_file_ops", "gone"].into();
        let picked = pick_symbols(KALLSYMS, &wanted);
        let picked: Vec<_> =
            picked.iter().map(|(name, letters)| format!("{name} {letters}")).collect();
        assert_eq!(
            picked,
            ["changed.isra.0 t", "socket_file_ops d", "twice tt", "vfs_open T", "vfs_open.cold t"]
        );
    }

    #[test]
    fn functions_are_what_lies_in_the_code() {
        let names: Vec<_> = function_names(KALLSYMS).into_iter().collect();
        assert_eq!(names, ["_stext", "changed.isra", "twice", "vfs_open"]);
    }
}
