//! Splits a run across several machines.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use kernlab_core::cell::Cell;
use serde::Serialize;

/// One of several parts of a run, split by cell rather than by kernel: for machines that have all
/// kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Counted from 1.
    part: usize,
    /// How many parts there are.
    of: usize,
}

impl Partition {
    /// The cells of this part. Each cell is in exactly one part.
    pub fn of<T>(self, cells: Vec<T>) -> Vec<T> {
        cells.into_iter().skip(self.part - 1).step_by(self.of).collect()
    }
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(part, of)| {
                Some(Partition { part: part.parse().ok()?, of: of.parse().ok()? })
            })
            .filter(|partition| (1..=partition.of).contains(&partition.part));
        parsed.ok_or_else(|| {
            format!("{text:?} is not a part of a run: expected PART/OF, for example 1/4 to 4/4")
        })
    }
}

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

    #[test]
    fn every_cell_is_in_one_part() {
        let all = cells(&[("a", 3), ("b", 2)]);
        let parts = ["1/2", "2/2"].map(|part| part.parse::<Partition>().unwrap().of(all.clone()));
        assert_eq!(parts.each_ref().map(Vec::len), [3, 2]);
        assert!(all.iter().all(|cell| parts.concat().contains(cell)));
    }

    #[rstest]
    #[case("2")]
    #[case("0/2")]
    #[case("3/2")]
    #[case("1/0")]
    #[case("a/b")]
    fn no_part_is_told_so(#[case] text: &str) {
        assert!(text.parse::<Partition>().unwrap_err().contains("expected PART/OF"));
    }
}
