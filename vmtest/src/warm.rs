//! Guests that don't boot: each kernel boots once, is saved when its agent says hello, and every
//! guest of it is restored from that, in a QEMU process of its own, with a pristine kernel.
//!
//! What often changes (tracers, workloads) is handed to a guest after it was restored, so that a
//! saved state lives as long as its kernel, its agent and its QEMU. Where many guests begin with the
//! same program, one of them is saved again when that stands by, which lives as long as the program.

mod key;
mod shelf;

use std::path::PathBuf;

use kernlab_core::outcome::Outcome;

use crate::{
    kernels::{Store, chain},
    lab::{BOOT_TIMEOUT, Bootable, Guest, Job, LabError, Ready, SavedState, StandingBy},
};

use self::{
    key::Key,
    shelf::{Shelf, Taken},
};

/// The saved states of this machine.
#[derive(Clone, Debug)]
pub struct Warm {
    store: Store,
    shelf: Shelf,
}

/// What a user should know: a state that had to be made again, say. One line each.
pub type Tell<'a> = &'a mut dyn FnMut(String);

impl Warm {
    /// Those that are kept beside the kernels in this store.
    pub fn of(store: &Store) -> Self {
        Warm { store: store.clone(), shelf: Shelf::at(store.root().join("warm")) }
    }

    /// A guest that works: restored, if need be from a state that is made now. Where saving or
    /// restoring fails, and booting doesn't, it was booted.
    pub fn guest(&self, bootable: &Bootable, tell: Tell<'_>) -> Result<Guest<Ready>, LabError> {
        let Some(state) = self.state(bootable, tell)? else {
            return Guest::boot(bootable, BOOT_TIMEOUT);
        };
        Guest::restore(bootable, &state).or_else(|error| {
            // What keeps QEMU from starting at all is no fault of the state.
            let guest = Guest::boot(bootable, BOOT_TIMEOUT)?;
            tell(format!(
                "{}: a saved guest can't be used, so one is booted: {}",
                name(bootable),
                chain(&error)
            ));
            self.forget(bootable);
            Ok(guest)
        })
    }

    /// A guest in which a program stands by, if one was saved that can be restored. An error is one of
    /// a guest that was, and in which the program has already done something.
    pub fn standing_by(
        &self,
        bootable: &Bootable,
        program: &Job,
        tell: Tell<'_>,
    ) -> Result<Option<Guest<StandingBy>>, LabError> {
        let Ok(key) = Key::of_standby(bootable, program) else { return Ok(None) };
        let Some(state) = self.take(&key, bootable, tell) else { return Ok(None) };
        match Guest::restore_standby(&without_files(bootable), &state) {
            Ok(guest) => Ok(Some(guest)),
            Err(error) if error.is_about_restoring() => {
                self.shelf.discard(&key);
                let (name, why) = (name(bootable), chain(&error));
                tell(format!("{name}: a guest with its program standing by can't be used: {why}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that there is a saved guest in which a program stands by. Where there can be none, it
    /// is told why, unless the program crashed the kernel, which is an error.
    pub fn prepare_standby(
        &self,
        bootable: &Bootable,
        program: &Job,
        tell: Tell<'_>,
    ) -> Result<(), LabError> {
        let Ok(key) = Key::of_standby(bootable, program) else { return Ok(()) };
        if self.take(&key, bootable, tell).is_some() {
            return Ok(());
        }
        let _turn = self.store.take_turn(&format!("warm-{key}"));
        if self.take(&key, bootable, tell).is_some() {
            return Ok(());
        }
        let Some(settled) = self.state(bootable, tell)? else { return Ok(()) };
        match SavedState::of_standby(bootable, &settled, program) {
            Ok(state) => self.put(&key, &state, bootable, tell),
            Err(error) if error.outcome() == Outcome::KernelCrash => return Err(error),
            Err(error) => {
                let (name, why) = (name(bootable), chain(&error));
                tell(format!("{name}: no guest is saved with its program standing by: {why}"));
            }
        }
        Ok(())
    }

    /// The folder of a kernel's state; none if this machine can't have one.
    pub fn folder(&self, bootable: &Bootable) -> Option<PathBuf> {
        Key::of(bootable).ok().map(|key| self.shelf.place(&key))
    }

    /// Throws the state of a kernel away, if there is one.
    pub(crate) fn forget(&self, bootable: &Bootable) {
        if let Ok(key) = Key::of(bootable) {
            self.shelf.discard(&key);
        }
    }

    /// Makes sure that there is a state, so that guests are quick from now on.
    pub fn prepare(&self, bootable: &Bootable, tell: Tell<'_>) -> Result<(), LabError> {
        self.state(bootable, tell).map(drop)
    }

    /// The state of a kernel; none if this machine can't have one. An error is one of booting.
    fn state(&self, bootable: &Bootable, tell: Tell<'_>) -> Result<Option<SavedState>, LabError> {
        let Ok(key) = Key::of(bootable) else { return Ok(None) };
        if let Some(state) = self.take(&key, bootable, tell) {
            return Ok(Some(state));
        }
        // Of several processes that want a guest one boots it, and the others wait.
        let turn = self.store.take_turn(&format!("warm-{key}"));
        if let Some(state) = self.take(&key, bootable, tell) {
            return Ok(Some(state));
        }
        // Whoever may debug a guest has no part in others.
        let mut plain = bootable.clone();
        plain.machine.debugger = None;
        let state = match SavedState::of_boot(&plain, BOOT_TIMEOUT) {
            Ok(state) => state,
            Err(error) if error.is_about_saving() => {
                tell(format!("{}: guests are booted each time: {}", name(bootable), chain(&error)));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.put(&key, &state, bootable, tell);
        drop(turn);
        Ok(Some(state))
    }

    fn put(&self, key: &Key, state: &SavedState, bootable: &Bootable, tell: Tell<'_>) {
        if let Err(error) = self.shelf.put(key, state) {
            tell(format!("{}: a saved guest could not be kept: {error}", name(bootable)));
        }
    }

    fn take(&self, key: &Key, bootable: &Bootable, tell: Tell<'_>) -> Option<SavedState> {
        match self.shelf.take(key) {
            Taken::Whole(state) => Some(state),
            Taken::Nothing => None,
            Taken::Damaged(why) => {
                let name = name(bootable);
                tell(format!("{name}: a saved guest is damaged ({why}), so it is made again"));
                self.shelf.discard(key);
                None
            }
        }
    }
}

/// A guest that was saved with a program has the files that the program was started with.
fn without_files(bootable: &Bootable) -> Bootable {
    let mut bare = bootable.clone();
    bare.machine.handed.clear();
    bare
}

/// What a user knows the machine by.
fn name(bootable: &Bootable) -> String {
    bootable.machine.kernel.display().to_string()
}
