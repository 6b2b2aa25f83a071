//! Assigns kernels to machines.

use std::collections::{BTreeMap, BTreeSet};

use kernlab_core::cell::Cell;
use serde::Serialize;

/// The cells of one machine. All cells of a kernel are in one shard, so that it is fetched and
/// booted once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shard {
    /// Counted from 1.
    pub shard: usize,
    /// The ids of the kernels.
    pub kernels: Vec<String>,
    /// The options of `cargo xtask vmtest` that select them.
    pub arguments: String,
    /// The number of their cells.
    pub cells: usize,
}

/// Divides cells into at most `count` shards of about the same size, none of them empty.
pub fn shards(cells: &[Cell], count: usize) -> Vec<Shard> {
    let mut order: Vec<&str> = Vec::new();
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in cells {
        *sizes.entry(&cell.kernel).or_insert_with(|| {
            order.push(&cell.kernel);
            0
        }) += 1;
    }
    // The largest kernel first, each to the shard with the fewest cells.
    let mut kernels = order.clone();
    kernels.sort_by_key(|kernel| std::cmp::Reverse(sizes[kernel]));
    let mut bins: Vec<(usize, BTreeSet<&str>)> = vec![Default::default(); count];
    for kernel in kernels {
        if let Some((size, bin)) = bins.iter_mut().min_by_key(|(size, _)| *size) {
            *size += sizes[kernel];
            bin.insert(kernel);
        }
    }
    bins.retain(|(size, _)| *size > 0);
    let shard = |(index, (cells, bin)): (usize, (usize, BTreeSet<&str>))| {
        let kernels: Vec<_> =
            order.iter().filter(|kernel| bin.contains(*kernel)).map(|k| (*k).to_owned()).collect();
        let arguments: Vec<_> = kernels.iter().map(|kernel| format!("--kernel {kernel}")).collect();
        Shard { shard: index + 1, arguments: arguments.join(" "), kernels, cells }
    };
    bins.into_iter().enumerate().map(shard).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Makes the given number of cells for each kernel.
    fn cells(kernels: &[(&str, usize)]) -> Vec<Cell> {
        let scenarios = ["sys_write/threads", "inotify/unwatched", "filetop/mixed_io"];
        kernels
            .iter()
            .flat_map(|(kernel, count)| {
                scenarios[..*count]
                    .iter()
                    .map(move |scenario| format!("{kernel}/masked/aya/{scenario}").parse().unwrap())
            })
            .collect()
    }

    #[rstest]
    #[case::one(1, &["a b c d"])]
    #[case::balanced(2, &["a c", "b d"])]
    #[case::more_than_kernels(9, &["a", "b", "d", "c"])]
    fn every_kernel_is_in_one_shard(#[case] count: usize, #[case] expected: &[&str]) {
        let cells = cells(&[("a", 3), ("b", 2), ("c", 1), ("d", 2)]);
        let shards = shards(&cells, count);
        let kernels: Vec<_> = shards.iter().map(|shard| shard.kernels.join(" ")).collect();
        assert_eq!(kernels, expected);
        assert_eq!(shards.iter().map(|shard| shard.cells).sum::<usize>(), cells.len());
        assert_eq!(shards[0].shard, 1);
        assert!(shards[0].arguments.starts_with("--kernel a"));
    }
}
