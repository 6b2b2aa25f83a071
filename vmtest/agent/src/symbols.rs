//! The kernel's symbol table in a form that is fast to search.

use std::{fs, io};

/// Where programs find the sorted table.
const SORTED: &str = "/run/kallsyms";

/// Writes `/proc/kallsyms` to [`SORTED`], its lines sorted by symbol name. This saves the kernel
/// printing the table again, and programs reading all of it. Later symbols of modules and BPF
/// programs are not in it.
pub(crate) fn sort_table() -> io::Result<()> {
    let table = fs::read("/proc/kallsyms")?;
    fs::create_dir_all("/run")?;
    fs::write(SORTED, sorted(&table))
}

fn sorted(table: &[u8]) -> Vec<u8> {
    let mut lines: Vec<_> = table
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| (beginning(name(line)), line))
        .collect();
    // Comparing the first bytes as one number decides most comparisons.
    lines.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| name(left).cmp(name(right))));
    lines.iter().flat_map(|(_, line)| *line).copied().collect()
}

/// Lines are `address type name`; those of modules have a fourth column after a tab.
fn name(line: &[u8]) -> &[u8] {
    let name = line.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    name.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default()
}

fn beginning(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = name.len().min(bytes.len());
    bytes[..length].copy_from_slice(&name[..length]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_name_and_those_of_one_name_stay_in_order() {
        let table =
            b"03 t vfs_write\n01 T vfs_open\n05 t vfs_open\t[nfs]\n04 t vfs_open.cold\n02 d a\n";
        let expected =
            b"02 d a\n01 T vfs_open\n05 t vfs_open\t[nfs]\n04 t vfs_open.cold\n03 t vfs_write\n";
        assert_eq!(sorted(table), expected);
    }
}
