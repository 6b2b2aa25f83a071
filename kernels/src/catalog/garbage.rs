//! What the locks of a checkout want to be kept.

use crate::{
    catalog::Kernels,
    digest::Digest,
    image::unpack,
    store::{StoreError, Sweep, Wanted},
};

impl Kernels {
    /// What of the store may go: without a bound what the locks don't name, with one as much as it
    /// takes to be within so many bytes. Nothing is removed.
    pub fn sweep(&self, bound: Option<u64>) -> Result<Sweep, StoreError> {
        let mut wanted = Wanted::default();
        for kernel in self.catalog.lock.kernels().chain(self.catalog.local_lock.kernels()) {
            let digests: Vec<Digest> = kernel.files.iter().map(|file| file.sha256).collect();
            wanted.artifacts.insert(unpack::key(&kernel.release, digests.iter().copied()));
            wanted.objects.extend(digests);
        }
        for entry in &self.catalog.matrix.entries {
            let key = self.built(entry).and_then(|kernel| kernel.artifact_key());
            wanted.artifacts.extend(key);
        }
        self.catalog.store.sweep(&wanted, bound)
    }

    /// Removes what a sweep says. Only for kernels that were opened with
    /// [`Kernels::open_exclusive`].
    pub fn remove(&self, sweep: &Sweep) -> Result<(), StoreError> {
        self.catalog.store.remove(sweep)
    }
}
