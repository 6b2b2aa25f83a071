//! Keyboard input for a guest's console.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
};

/// Sends keys to a guest, from any thread. Keys from before a program has the console are buffered.
#[derive(Clone, Debug, Default)]
pub struct Keyboard(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    console: Option<UnixStream>,
    kept: Vec<u8>,
}

impl Keyboard {
    /// Types these bytes. An error means that the guest is gone.
    pub fn press(&self, keys: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut state.console {
            Some(console) => console.write_all(keys),
            None => {
                state.kept.extend_from_slice(keys);
                Ok(())
            }
        }
    }

    /// Connects the console of a program, and sends it the buffered keys.
    pub(super) fn connect(&self, mut console: UnixStream) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        console.write_all(&std::mem::take(&mut state.kept))?;
        state.console = Some(console);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_typed_early_comes_first() {
        let keyboard = Keyboard::default();
        keyboard.press(b"ear").unwrap();
        keyboard.press(b"ly ").unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        keyboard.connect(ours).unwrap();
        keyboard.press(b"late").unwrap();
        drop(keyboard);
        let mut typed = String::new();
        theirs.read_to_string(&mut typed).unwrap();
        assert_eq!(typed, "early late");
    }
}
