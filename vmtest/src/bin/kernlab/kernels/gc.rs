//! `kernlab kernels gc`: removes files from the store.

use indicatif::HumanBytes;
use kernlab_cli::Exit;
use kernlab_kernels::{Item, Kernels, Kind, StoreError, Sweep};

use crate::failure::Failure;

/// Remove from the store what no lock names.
#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    /// Remove only as much as it takes to shrink the store to this size: what was unused for the
    /// longest time goes first, what a lock names goes last. `10G`, `500M`, or bytes.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    keep: Option<u64>,
    /// Show what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(kernels: &Kernels, arguments: &Gc) -> Result<Exit, Failure> {
    let sweep = sweep(kernels, arguments)?;
    print!("{}", describe(&sweep, arguments.dry_run));
    Ok(Exit::Success)
}

fn sweep(kernels: &Kernels, arguments: &Gc) -> Result<Sweep, StoreError> {
    let sweep = kernels.sweep(arguments.keep)?;
    if !arguments.dry_run {
        kernels.remove(&sweep)?;
    }
    Ok(sweep)
}

fn describe(sweep: &Sweep, is_dry: bool) -> String {
    let size = |items: &[&Item]| items.iter().map(|item| item.size).sum::<u64>();
    let mut text = String::new();
    let verb = if is_dry { "would remove" } else { "removed" };
    for (kind, what) in [
        (Kind::Leftover, "leftovers of killed processes"),
        (Kind::Unnamed, "packages and kernels that no lock names"),
        (Kind::Derived, "saved guests and other files that are made again when needed"),
        (Kind::Built, "kernels that were built here"),
        (Kind::Named, "packages and kernels that a lock names"),
    ] {
        let items: Vec<_> = sweep.remove.iter().filter(|item| item.kind == kind).collect();
        // Empty files are not worth a line.
        if size(&items) > 0 {
            text += &format!("{verb} {what}: {}, {}\n", items.len(), HumanBytes(size(&items)));
        }
    }
    let kept: Vec<_> = sweep.keep.iter().collect();
    let verb = if is_dry { "would have" } else { "has" };
    text + &format!("the store {verb} {}\n", HumanBytes(size(&kept)))
}

/// Parses `10G` with binary multiples, as df(1) and du(1) do.
fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is not a size such as 10G, 500M or a number of bytes");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", Some(0))]
    #[case("1000", Some(1000))]
    #[case("10G", Some(10 << 30))]
    #[case("3k", Some(3072))]
    #[case("", None)]
    #[case("G", None)]
    #[case("-1G", None)]
    #[case("1.5G", None)]
    #[case("99999999999T", None)]
    #[case("10\u{e9}", None)]
    fn sizes(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(parse_size(text).ok(), expected);
    }
}
