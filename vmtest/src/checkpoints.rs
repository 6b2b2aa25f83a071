//! Guests that don't boot: each kernel boots once, is saved when its agent says hello, and every
//! guest of it is restored from that, in a QEMU process of its own, with a pristine kernel.
//!
//! What often changes (tracers, workloads) is handed to a guest after it was restored, so that a
//! checkpoint lives as long as its kernel, its agent and its QEMU. Where many guests begin with the
//! same program, one of them is saved again when that is primed, which lives as long as the program.

mod cache;
mod key;

use std::path::PathBuf;

use kernlab_core::outcome::Outcome;

use crate::lab::{BOOT_TIMEOUT, Bootable, Checkpoint, Guest, Job, LabError, Primed, Ready};
use kernlab_kernels::{Observer, Store, chain};

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
    /// Those that are kept beside the kernels in this store.
    pub fn of(store: &Store) -> Self {
        Checkpoints {
            store: store.clone(),
            cache: CheckpointCache::at(store.root().join("checkpoints")),
        }
    }

    /// A guest that works: restored, if need be from a state that is made now. Where saving or
    /// restoring fails, and booting doesn't, it was booted.
    pub fn guest(
        &self,
        bootable: &Bootable,
        observer: &dyn Observer,
    ) -> Result<Guest<Ready>, LabError> {
        let Some(state) = self.state(bootable, observer)? else {
            return Guest::boot(bootable, BOOT_TIMEOUT);
        };
        Guest::restore(bootable, &state).or_else(|error| {
            // What keeps QEMU from starting at all is no fault of the state.
            let guest = Guest::boot(bootable, BOOT_TIMEOUT)?;
            observer.notice(&format!(
                "{}: a saved guest can't be used, so one is booted: {}",
                name(bootable),
                chain(&error)
            ));
            self.forget(bootable);
            Ok(guest)
        })
    }

    /// A guest with a primed program, if one was saved that can be restored. An error is one of
    /// a guest that was, and in which the program has already done something.
    pub fn primed(
        &self,
        bootable: &Bootable,
        program: &Job,
        observer: &dyn Observer,
    ) -> Result<Option<Guest<Primed>>, LabError> {
        let Ok(key) = Key::of_primed(bootable, program) else { return Ok(None) };
        let Some(state) = self.take(&key, bootable, observer) else { return Ok(None) };
        match Guest::restore_primed(&without_files(bootable), &state) {
            Ok(guest) => Ok(Some(guest)),
            Err(error) if error.is_about_restoring() => {
                self.cache.discard(&key);
                let (name, why) = (name(bootable), chain(&error));
                observer.notice(&format!(
                    "{name}: a guest with its program primed can't be used: {why}"
                ));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that there is a saved guest in which a program is primed. Where there can be none, it
    /// is told why, unless the program crashed the kernel, which is an error.
    pub fn prime(
        &self,
        bootable: &Bootable,
        program: &Job,
        observer: &dyn Observer,
    ) -> Result<(), LabError> {
        let Ok(key) = Key::of_primed(bootable, program) else { return Ok(()) };
        if self.take(&key, bootable, observer).is_some() {
            return Ok(());
        }
        let _lock = self.store.lock(&format!("checkpoint-{key}"));
        if self.take(&key, bootable, observer).is_some() {
            return Ok(());
        }
        let Some(booted) = self.state(bootable, observer)? else { return Ok(()) };
        match Checkpoint::of_primed(bootable, &booted, program) {
            Ok(state) => self.put(&key, &state, bootable, observer),
            Err(error) if error.outcome() == Outcome::KernelCrash => return Err(error),
            Err(error) => {
                let (name, why) = (name(bootable), chain(&error));
                observer
                    .notice(&format!("{name}: no guest is saved with its program primed: {why}"));
            }
        }
        Ok(())
    }

    /// The directory of a kernel's state; none if this machine can't have one.
    pub fn dir(&self, bootable: &Bootable) -> Option<PathBuf> {
        Key::of(bootable).ok().map(|key| self.cache.place(&key))
    }

    /// Throws the state of a kernel away, if there is one.
    pub(crate) fn forget(&self, bootable: &Bootable) {
        if let Ok(key) = Key::of(bootable) {
            self.cache.discard(&key);
        }
    }

    /// Makes sure that there is a state, so that guests are quick from now on.
    pub fn prepare(&self, bootable: &Bootable, observer: &dyn Observer) -> Result<(), LabError> {
        self.state(bootable, observer).map(drop)
    }

    /// The state of a kernel; none if this machine can't have one. An error is one of booting.
    fn state(
        &self,
        bootable: &Bootable,
        observer: &dyn Observer,
    ) -> Result<Option<Checkpoint>, LabError> {
        let Ok(key) = Key::of(bootable) else { return Ok(None) };
        if let Some(state) = self.take(&key, bootable, observer) {
            return Ok(Some(state));
        }
        // Of several processes that want a guest one boots it, and the others wait.
        let lock = self.store.lock(&format!("checkpoint-{key}"));
        if let Some(state) = self.take(&key, bootable, observer) {
            return Ok(Some(state));
        }
        // Whoever may debug a guest has no part in others.
        let mut plain = bootable.clone();
        plain.machine.debugger = None;
        let state = match Checkpoint::of_boot(&plain, BOOT_TIMEOUT) {
            Ok(state) => state,
            Err(error) if error.is_about_saving() => {
                observer.notice(&format!(
                    "{}: guests are booted each time: {}",
                    name(bootable),
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
                .notice(&format!("{}: a saved guest could not be kept: {error}", name(bootable)));
        }
    }

    fn take(&self, key: &Key, bootable: &Bootable, observer: &dyn Observer) -> Option<Checkpoint> {
        match self.cache.take(key) {
            Taken::Whole(state) => Some(state),
            Taken::Nothing => None,
            Taken::Damaged(why) => {
                let name = name(bootable);
                observer.notice(&format!(
                    "{name}: a saved guest is damaged ({why}), so it is made again"
                ));
                self.cache.discard(key);
                None
            }
        }
    }
}

/// A guest that was saved with a program has the files that the program was started with.
fn without_files(bootable: &Bootable) -> Bootable {
    let mut bare = bootable.clone();
    bare.machine.injected.clear();
    bare
}

/// What a user knows the machine by.
fn name(bootable: &Bootable) -> String {
    bootable.machine.kernel.display().to_string()
}
