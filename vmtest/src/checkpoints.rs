//! Saved guests, so that most guests don't boot: each kernel boots once and is saved when its agent
//! says hello. Every guest of that kernel is restored from there, in its own QEMU process, with a
//! pristine kernel.
//!
//! A guest gets files that change often (tracers, workloads) after it was restored, so a checkpoint
//! stays valid as long as its kernel, its agent and its QEMU. If many guests begin with the same
//! program, one of them is saved again after that program is primed. That checkpoint stays valid as
//! long as the program.

mod cache;
mod key;

use std::{io, path::PathBuf};

use kernlab_core::outcome::Outcome;

use crate::{
    accel,
    lab::{BOOT_TIMEOUT, Bootable, Checkpoint, Guest, Job, LabError, LabErrorKind, Primed, Ready},
    qemu::{Accelerator, Binary, InjectedFile},
};
use kernlab_kernels::{Digest, Observer, Part, Store, chain};

use self::{
    cache::{CheckpointCache, Taken},
    key::Key,
};

/// The checkpoints of this machine.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    store: Store,
    cache: CheckpointCache,
}

impl Checkpoints {
    /// The checkpoints beside the kernels in this store.
    pub fn of(store: &Store) -> Self {
        Checkpoints {
            store: store.clone(),
            cache: CheckpointCache::at(store.root().join(Part::Checkpoints.name())),
        }
    }

    /// Identifies what all checkpoints of this machine depend on beside their kernel: the processor,
    /// the running kernel, and QEMU.
    ///
    /// # Errors
    ///
    /// QEMU can't be read.
    pub fn host_key(&self, qemu: &Binary) -> io::Result<Digest> {
        key::host_key(qemu.path(), &self.store.content_digests())
    }

    /// A guest that works: booted if `cold`, else as from [`Checkpoints::guest`].
    pub fn start(
        &self,
        bootable: &Bootable,
        cold: bool,
        observer: &dyn Observer,
    ) -> Result<Guest<Ready>, LabError> {
        let start = |bootable: &Bootable| match cold {
            true => Guest::boot(bootable, BOOT_TIMEOUT),
            false => self.guest(bootable, observer),
        };
        let error = match start(bootable) {
            Err(error) if error.is_about_starting() => error,
            started => return started,
        };
        if !accel::forget_kvm(&self.store, bootable.machine.accelerator) {
            return Err(error);
        }
        let (name, why) = (&bootable.name, chain(&error));
        observer.notice(&format!(
            "{name}: it does not run under KVM, so it is started without (TCG): {why}"
        ));
        let mut emulated = bootable.clone();
        emulated.machine.accelerator = Accelerator::Tcg;
        start(&emulated)
    }

    /// Makes a guest ready by restoring it from the kernel's checkpoint, which is saved first if
    /// need be. If saving or restoring fails but booting works, the guest is booted instead.
    pub fn guest(
        &self,
        bootable: &Bootable,
        observer: &dyn Observer,
    ) -> Result<Guest<Ready>, LabError> {
        let Some(state) = self.state(bootable, observer)? else {
            return Guest::boot(bootable, BOOT_TIMEOUT);
        };
        Guest::restore(bootable, &state).or_else(|error| {
            // If QEMU can't start at all, the checkpoint is not at fault, and this fails as well.
            let guest = Guest::boot(bootable, BOOT_TIMEOUT)?;
            observer.notice(&format!(
                "{}: restoring the saved guest failed, booting one instead: {}",
                bootable.name,
                chain(&error)
            ));
            if !error.is_about_the_host() {
                self.forget(bootable);
            }
            Ok(guest)
        })
    }

    /// Restores a guest with a primed program, and gives it more files; none if no such guest is
    /// saved, or it can't be restored. Its program has then done none of its work.
    pub fn primed(
        &self,
        bootable: &Bootable,
        program: &Job,
        files: &[InjectedFile],
        observer: &dyn Observer,
    ) -> Option<Guest<Primed>> {
        let key = Key::of_primed(bootable, program, &self.store.content_digests()).ok()?;
        let state = self.take(&key, bootable, observer).ok()??;
        // The guest was saved with the other files.
        let mut bootable = bootable.clone();
        bootable.machine.injected = files.to_vec();
        let restored = Guest::restore_primed(&bootable, &state);
        let failed = |error: &LabError| {
            if !error.is_about_the_host() {
                self.cache.discard(&key);
            }
            let (name, why) = (&bootable.name, chain(error));
            observer.notice(&format!("{name}: restoring the primed guest failed: {why}"));
        };
        restored.inspect_err(failed).ok()
    }

    /// Makes sure that a guest with this primed program is saved. If that fails, the observer is
    /// notified; it is an error only if the program crashed the kernel.
    pub fn prime(
        &self,
        bootable: &Bootable,
        program: &Job,
        observer: &dyn Observer,
    ) -> Result<(), LabError> {
        let Ok(key) = Key::of_primed(bootable, program, &self.store.content_digests()) else {
            return Ok(());
        };
        let is_made = || !matches!(self.take(&key, bootable, observer), Ok(None));
        if is_made() {
            return Ok(());
        }
        let _lock = self.store.lock(&format!("checkpoint-{key}"));
        if is_made() {
            return Ok(());
        }
        let failed = |error: &LabError| {
            let (name, why) = (&bootable.name, chain(error));
            observer.notice(&format!("{name}: could not save a primed guest: {why}"));
        };
        // Without the program, what fails here fails again when the guest is booted for its work.
        let booted = self.state(bootable, observer).inspect_err(failed);
        let Ok(Some(booted)) = booted else { return Ok(()) };
        match Checkpoint::of_primed(bootable, &booted, program) {
            Ok(state) => self.put(&key, &state, bootable, observer),
            Err(error) if error.outcome() == Outcome::KernelCrash => return Err(error),
            Err(error) => failed(&error),
        }
        Ok(())
    }

    /// The directory of a kernel's checkpoint; none if this machine can't have one.
    pub fn dir(&self, bootable: &Bootable) -> Option<PathBuf> {
        Key::of(bootable, &self.store.content_digests()).ok().map(|key| self.cache.place(&key))
    }

    /// Removes the checkpoint of a kernel, if there is one.
    pub(crate) fn forget(&self, bootable: &Bootable) {
        if let Ok(key) = Key::of(bootable, &self.store.content_digests()) {
            self.cache.discard(&key);
        }
    }

    /// Makes sure that the kernel has a checkpoint, so that guests start quickly from now on.
    pub fn prepare(&self, bootable: &Bootable, observer: &dyn Observer) -> Result<(), LabError> {
        self.state(bootable, observer).map(drop)
    }

    /// The checkpoint of a kernel; none if this machine can't have one. An error means that the
    /// boot failed.
    fn state(
        &self,
        bootable: &Bootable,
        observer: &dyn Observer,
    ) -> Result<Option<Checkpoint>, LabError> {
        let Ok(key) = Key::of(bootable, &self.store.content_digests()) else { return Ok(None) };
        match self.take(&key, bootable, observer) {
            Ok(None) => {}
            taken => return Ok(taken.unwrap_or(None)),
        }
        // If several processes want a guest, one boots it and the others wait.
        let lock = self.store.lock(&format!("checkpoint-{key}"));
        match self.take(&key, bootable, observer) {
            Ok(None) => {}
            taken => return Ok(taken.unwrap_or(None)),
        }
        // Every guest that is restored from this one has this kernel in its memory.
        let kernel = &bootable.machine.kernel;
        let damaged = || io::Error::other(format!("{} has another content", kernel.display()));
        let whole = match self.store.is_damaged(kernel) {
            Ok(true) => Err(damaged()),
            read => read.map(drop),
        };
        let what = "the kernel in the store is damaged; the next run makes it again";
        whole.map_err(|source| LabErrorKind::Host { what, source })?;
        // The debugger's connection belongs to one guest, not to the checkpoint.
        let mut plain = bootable.clone();
        plain.machine.debugger = None;
        let state = match Checkpoint::of_boot(&plain, BOOT_TIMEOUT) {
            Ok(state) => state,
            Err(error) if error.is_about_saving() => {
                observer.notice(&format!(
                    "{}: can't save guests, each one is booted: {}",
                    bootable.name,
                    chain(&error)
                ));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.put(&key, &state, bootable, observer);
        drop(lock);
        Ok(Some(state))
    }

    fn put(&self, key: &Key, state: &Checkpoint, bootable: &Bootable, observer: &dyn Observer) {
        if let Err(error) = self.cache.put(key, state) {
            observer
                .notice(&format!("{}: could not store the saved guest: {error}", bootable.name));
        }
    }

    /// A checkpoint, if there is one. An error means that nobody knows: nothing is to replace it.
    fn take(
        &self,
        key: &Key,
        bootable: &Bootable,
        observer: &dyn Observer,
    ) -> Result<Option<Checkpoint>, Unreadable> {
        let name = &bootable.name;
        match self.cache.take(key) {
            Taken::Whole(state) => Ok(Some(state)),
            Taken::Nothing => Ok(None),
            Taken::Unreadable(why) => {
                observer.notice(&format!("{name}: the saved guest can't be read: {why}"));
                Err(Unreadable)
            }
            Taken::Damaged(why) => {
                observer.notice(&format!(
                    "{name}: the saved guest is damaged ({why}), saving it again"
                ));
                self.cache.discard(key);
                Ok(None)
            }
        }
    }
}

/// A saved guest can't be read. The observer knows why.
struct Unreadable;
