//! Calls that began and have not ended: the map `pending`.

use aya::maps::{HashMap, Map, MapData, MapError};
use kernlab_abi::{PendingCall, PendingSocketWrite, PendingTransfer, PendingUnlink, PendingWrite};
use kernlab_core::scenario::Tracer;

/// Entries by thread. They are counted, never looked into.
pub(crate) trait Pending {
    /// How many there are.
    fn count(&self) -> Result<u64, MapError>;
}

impl<const LEN: usize> Pending for HashMap<MapData, u64, [u8; LEN]> {
    fn count(&self) -> Result<u64, MapError> {
        self.keys().try_fold(0, |count, key| key.map(|_| count + 1))
    }
}

/// Opens the map of a tracer, with the size of its values: Aya insists on it.
pub(crate) fn open(tracer: Tracer, map: Map) -> Result<Box<dyn Pending>, MapError> {
    match tracer {
        Tracer::UserArgs => with_values_of::<{ size_of::<PendingCall>() }>(map),
        Tracer::SocketWrite => with_values_of::<{ size_of::<PendingSocketWrite>() }>(map),
        Tracer::Filetop => with_values_of::<{ size_of::<PendingTransfer>() }>(map),
        Tracer::Filelife => with_values_of::<{ size_of::<PendingUnlink>() }>(map),
        _ => with_values_of::<{ size_of::<PendingWrite>() }>(map),
    }
}

fn with_values_of<const LEN: usize>(map: Map) -> Result<Box<dyn Pending>, MapError> {
    HashMap::<_, u64, [u8; LEN]>::try_from(map).map(|map| Box::new(map) as _)
}
