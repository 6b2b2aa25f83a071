//! What objects of one program differ in, and which cells load which.

use serde::Deserialize;

/// The scenarios that are about perf buffers, and so need objects with one.
const OF_PERF_BUFFERS: &str = "_perf";

/// A kernel of the matrix, as `kernels list --json` has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Kernel {
    pub(super) id: String,
    /// Such as `5.4`; none of a kernel that only this machine has.
    release: Option<String>,
    /// The modes that it has.
    pub(super) btf: Vec<String>,
}

impl Kernel {
    /// Whether it is a kernel from 5.8 on. Vendors brought ring buffers to older ones.
    fn surely_has_ring_buffers(&self) -> bool {
        let release = self.release.as_deref().unwrap_or_default();
        let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(5), Some(8))
    }
}

/// What an object is compiled for, and the cells that load it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variant {
    RingLayout,
    RingCore,
    PerfLayout,
}

impl Variant {
    pub(super) const ALL: [Variant; 3] =
        [Variant::RingLayout, Variant::RingCore, Variant::PerfLayout];

    /// That of a C object: `kernlab_libbpf::source::Variant`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Variant::RingLayout => "ring.layout",
            Variant::RingCore => "ring.core",
            Variant::PerfLayout => "perf.layout",
        }
    }

    /// That of a Rust object, which takes its layout from the plan always.
    pub(super) fn buffer(self) -> &'static str {
        match self {
            Variant::RingLayout | Variant::RingCore => "ring",
            Variant::PerfLayout => "perf",
        }
    }

    /// The mode of its cells on a kernel with these modes.
    pub(super) fn btf(self, of_kernel: &[String]) -> Option<&String> {
        let modes: &[&str] = match self {
            Variant::RingCore => &["embedded"],
            Variant::RingLayout | Variant::PerfLayout => &["masked", "absent"],
        };
        of_kernel.iter().find(|mode| modes.contains(&mode.as_str()))
    }

    /// May the scenario's cells on a kernel load such an object? Where the kernel may have no ring buffers,
    /// both kinds are tried: the cells of one don't pass when nothing is broken, and drop out.
    pub(super) fn serves(self, scenario: &str, kernel: &Kernel) -> bool {
        let is_perf = self == Variant::PerfLayout;
        match scenario.ends_with(OF_PERF_BUFFERS) {
            true => is_perf,
            false => !is_perf || !kernel.surely_has_ring_buffers(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_from_5_8_on_have_ring_buffers() {
        let has = |release: Option<&str>| {
            let release = release.map(str::to_owned);
            Kernel { id: String::new(), release, btf: Vec::new() }.surely_has_ring_buffers()
        };
        assert_eq!([Some("4.18"), Some("5.7"), None].map(has), [false; 3]);
        assert_eq!(["5.8", "5.10", "6.1", "7.3"].map(Some).map(has), [true; 4]);
    }
}
