//! What programs count instead of reporting each call: the map `totals`.

use aya::maps::{HashMap, Map, MapData, MapError};
use kernlab_abi::{FileKey, FileTotals};

/// Only `filetop` counts.
type Entries = HashMap<MapData, [u8; size_of::<FileKey>()], [u8; size_of::<FileTotals>()]>;

/// Records that are read at the end.
pub(crate) struct Totals(Entries);

impl Totals {
    pub(crate) fn open(map: Map) -> Result<Self, MapError> {
        Entries::try_from(map).map(Totals)
    }

    /// Hands over every record, and returns how many there were.
    pub(crate) fn hand_over(&self, sink: &mut dyn FnMut(&[u8])) -> Result<u64, MapError> {
        self.0.iter().try_fold(0, |count, entry| {
            let (_, record) = entry?;
            sink(&record);
            Ok(count + 1)
        })
    }
}
