//! What must hold for all bytes that a peer sends: compiled for tests and for fuzzing only. `fuzz/` has a
//! target for it.

use std::fmt::Debug;

use crate::{Decoder, Direction, FrameError, GuestMessage, HostMessage, VERSION, checksum, encode};

/// Frames of either side. The first byte decides where the stream is torn, and whether the bytes are a
/// stream, or the payload of a frame: no fuzzer finds a checksum. Returns whether there was a message.
pub fn frames(bytes: &[u8]) -> bool {
    let Some((&choice, bytes)) = bytes.split_first() else { return false };
    let stream = match choice & 1 {
        0 => bytes.to_vec(),
        _ => framed(bytes),
    };
    let at = (usize::from(choice >> 1) * 37).min(stream.len());
    of_direction::<GuestMessage>(&stream, at) | of_direction::<HostMessage>(&stream, at)
}

fn of_direction<M: Direction + Debug + PartialEq>(stream: &[u8], at: usize) -> bool {
    let whole = messages::<M>([stream]);
    let (first, second) = stream.split_at(at);
    assert_eq!(messages::<M>([first, second]), whole, "a tear changes messages");
    for message in &whole.0 {
        let frame = match encode(message) {
            // Another peer may have compressed it better.
            Err(FrameError::TooLong { .. }) => continue,
            frame => frame.expect("a message that was received can be sent"),
        };
        let again = messages::<M>([&frame[..]]);
        assert!(again.1.is_none() && again.0 == [again_of(message)], "{message:?}");
    }
    !whole.0.is_empty()
}

/// The same message, for a comparison: messages can't be cloned through their trait.
fn again_of<M: Direction>(message: &M) -> M {
    let bytes = postcard::to_stdvec(message).expect("it was encoded before");
    postcard::from_bytes(&bytes).expect("it was decoded before")
}

/// The messages of a stream up to the first error.
fn messages<'a, M: Direction + Debug + PartialEq>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<M>, Option<FrameError>) {
    let mut decoder = Decoder::<M>::default();
    let (mut messages, mut pushed) = (Vec::new(), 0);
    for piece in pieces {
        decoder.push(piece);
        pushed += piece.len();
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_message(), Err(error.clone()), "an error is final");
                    return (messages, Some(error));
                }
            }
            assert!(messages.len() <= pushed);
        }
    }
    (messages, None)
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = b"klab".to_vec();
    frame.extend(VERSION.to_le_bytes());
    frame.extend([0; 2]);
    frame.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(checksum(payload).to_le_bytes());
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn seeds_of_frames(
        #[files("../../fuzz/seeds/frames/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(frames(seed));
    }
}
