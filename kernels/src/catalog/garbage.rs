//! Which objects of the store the locks of a checkout still need.

use crate::{
    busybox,
    catalog::Kernels,
    digest::Digest,
    image::unpack,
    store::{StoreError, Sweep, Wanted},
};

impl Kernels {
    /// What can be removed from the store. Without a bound, everything that no lock names; with a
    /// bound, as much as is needed to shrink the store to that many bytes. This removes nothing.
    pub fn sweep(&self, bound: Option<u64>) -> Result<Sweep, StoreError> {
        let mut wanted = Wanted::default();
        for kernel in self.catalog.locks.kernels() {
            let digests: Vec<Digest> = kernel.files.iter().map(|file| file.sha256).collect();
            wanted.artifacts.insert(unpack::key(&kernel.release, digests.iter().copied()));
            wanted.objects.extend(digests);
        }
        wanted.objects.extend(busybox::digests());
        for entry in &self.catalog.matrix.entries {
            let key = self.built(entry).and_then(|kernel| kernel.artifact_key());
            wanted.artifacts.extend(key);
        }
        self.catalog.store.sweep(&wanted, bound)
    }

    /// Removes what a sweep lists. Only for kernels opened with [`Kernels::open_exclusive`].
    pub fn remove(&self, sweep: &Sweep) -> Result<(), StoreError> {
        self.catalog.store.remove(sweep)
    }
}
