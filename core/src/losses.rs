//! Where events were lost: in the buffer, or before in one of the tracer's maps.

use kernlab_abi::{EMITTED_SLOTS, LOST_BIRTHS, LOST_PENDING, LOST_TOTALS, LOST_UNSEEN};
use serde::{Deserialize, Serialize};

use crate::buffer::BufferKind;

/// Events that never reached the buffer, by the reason that the programs counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Calls whose end went unseen: the next one of the thread found their entry in `pending`.
    pub unseen: u64,
    /// Calls that `pending` had no room for.
    pub pending: u64,
    /// Files that `births` had no room for.
    pub births: u64,
    /// Files that `totals` had no room for.
    pub totals: u64,
}

/// The sums over all processors of the slots of the map `emitted`.
pub type Slots = [u64; EMITTED_SLOTS as usize];

impl Losses {
    /// Nothing was lost before the buffer.
    pub const NONE: Losses = Losses { unseen: 0, pending: 0, births: 0, totals: 0 };

    /// What the slots say.
    pub fn of(slots: &Slots) -> Self {
        let slot = |number: u32| slots[number as usize];
        Losses {
            unseen: slot(LOST_UNSEEN),
            pending: slot(LOST_PENDING),
            births: slot(LOST_BIRTHS),
            totals: slot(LOST_TOTALS),
        }
    }

    /// Was nothing lost before the buffer?
    pub fn is_none(&self) -> bool {
        *self == Losses::NONE
    }

    /// How many events were lost before the buffer.
    pub fn counted(&self) -> u64 {
        let Losses { unseen, pending, births, totals } = *self;
        // The guest's numbers can be anything.
        [unseen, pending, births, totals].into_iter().fold(0, u64::saturating_add)
    }

    /// Where `lost` events were lost, in words. What the programs did not count was lost in the buffer.
    pub fn describe(&self, lost: u64, buffer: BufferKind) -> String {
        let Losses { unseen, pending, births, totals } = *self;
        let buffer = match buffer {
            BufferKind::Ring => "the ring buffer `events`",
            BufferKind::Perf => "the perf buffers of `events`",
        };
        let in_buffer = format!("found no room in {buffer}, or the loader did not read them");
        let places = [
            (lost.saturating_sub(self.counted()), in_buffer.as_str()),
            (
                unseen,
                "are of calls whose end went unseen: their entries were still in the map `pending`",
            ),
            (pending, "found no room in the map `pending`"),
            (births, "found no room in the map `births`"),
            (totals, "found no room in the map `totals`"),
        ];
        let told = places.iter().filter(|(count, _)| *count > 0);
        told.map(|(count, place)| format!("{count} {place}")).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::in_the_ring(
        [9, 0, 0, 0, 0], 2, BufferKind::Ring,
        "2 found no room in the ring buffer `events`, or the loader did not read them"
    )]
    #[case::in_perf_buffers(
        [9, 0, 0, 0, 0], 2, BufferKind::Perf,
        "2 found no room in the perf buffers of `events`, or the loader did not read them"
    )]
    #[case::in_maps(
        [9, 1, 2, 3, 4], 10, BufferKind::Ring,
        "1 are of calls whose end went unseen: their entries were still in the map `pending`; \
         2 found no room in the map `pending`; 3 found no room in the map `births`; \
         4 found no room in the map `totals`"
    )]
    #[case::in_both(
        [9, 0, 2, 0, 0], 3, BufferKind::Ring,
        "1 found no room in the ring buffer `events`, or the loader did not read them; \
         2 found no room in the map `pending`"
    )]
    fn the_place_of_a_loss_has_a_name(
        #[case] slots: Slots,
        #[case] lost: u64,
        #[case] buffer: BufferKind,
        #[case] expected: &str,
    ) {
        assert_eq!(Losses::of(&slots).describe(lost, buffer), expected);
    }

    #[test]
    fn numbers_can_be_anything() {
        let losses = Losses::of(&[u64::MAX; 5]);
        assert!(losses.describe(u64::MAX, BufferKind::Ring).contains("`births`"));
    }
}
