//! Whatever the peer sends gives a message or an error: never a panic, and never an endless wait.

use kernlab_proto::{
    CHUNK, Decoder, Exit, FrameError, GuestMessage, HostMessage, Input, Limits, MAX_ANSWER,
    MAX_REQUEST, Proceed, Run, RunReport, Stream, TerminalSize, VERSION, encode,
};
use proptest::{collection::vec, prelude::*};

fn decode_all<'a, M: kernlab_proto::Direction>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<M>, FrameError> {
    let mut decoder = Decoder::<M>::default();
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(message) = decoder.next_message()? {
            messages.push(message);
        }
    }
    assert!(decoder.is_at_boundary(), "a whole number of frames leaves nothing behind");
    Ok(messages)
}

fn host_message() -> impl Strategy<Value = HostMessage> {
    let write = (".*", any::<u32>(), any::<bool>(), vec(any::<u8>(), 0..200)).prop_map(
        |(path, mode, append, bytes)| HostMessage::WriteFile { path, mode, append, bytes },
    );
    let words = (vec(".*", 0..5), vec((".*", ".*"), 0..4), vec(".*", 0..3));
    let terminal = |(rows, columns)| Input::Terminal(TerminalSize { rows, columns });
    let input =
        prop_oneof![Just(Input::None), Just(Input::Later), any::<(u16, u16)>().prop_map(terminal)];
    let run = (words, any::<[u64; 4]>(), input).prop_map(
        |((argv, env, hide), [deadline_ms, stdout, stderr, result], input)| {
            let limits = Limits { stdout, stderr, result };
            HostMessage::Run(Run { argv, env, hide, deadline_ms, limits, input })
        },
    );
    let proceed = (vec(any::<u8>(), 0..200), any::<u64>())
        .prop_map(|(input, deadline_ms)| HostMessage::Proceed(Proceed { input, deadline_ms }));
    prop_oneof![
        write,
        run,
        proceed,
        any::<u64>().prop_map(|mark| HostMessage::ReadKernelLog { mark }),
        Just(HostMessage::PowerOff)
    ]
}

fn guest_message() -> impl Strategy<Value = GuestMessage> {
    let exit = prop_oneof![
        any::<i32>().prop_map(Exit::Code),
        any::<i32>().prop_map(Exit::Signal),
        Just(Exit::Deadline),
    ];
    let stream = prop_oneof![Just(Stream::Stdout), Just(Stream::Result), Just(Stream::KernelLog)];
    prop_oneof![
        (".*", ".*").prop_map(|(module, error)| GuestMessage::ModuleRefused { module, error }),
        ".*".prop_map(|what| GuestMessage::Refused { what }),
        (stream, vec(any::<u8>(), 0..300))
            .prop_map(|(stream, bytes)| GuestMessage::Output { stream, bytes }),
        (exit, any::<u64>(), any::<u64>(), any::<u32>(), any::<bool>()).prop_map(
            |(exit, duration_us, dropped, killed, stuck)| {
                GuestMessage::Exited(RunReport { exit, duration_us, dropped, killed, stuck })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn messages_survive_any_tearing(
        messages in vec(guest_message(), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(decode_all::<GuestMessage>(pieces).unwrap(), messages);
    }

    #[test]
    fn requests_read_back_what_was_written(message in host_message()) {
        let bytes = encode(&message).unwrap();
        prop_assert_eq!(decode_all::<HostMessage>([&bytes[..]]).unwrap(), vec![message]);
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..400)) {
        let mut decoder = Decoder::<GuestMessage>::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_message() {}
    }

    #[test]
    fn a_well_framed_payload_never_panics(payload in vec(any::<u8>(), 0..400)) {
        let mut decoder = Decoder::<GuestMessage>::default();
        decoder.push(&frame(VERSION, 0, &payload));
        while let Ok(Some(_)) = decoder.next_message() {}
    }

    #[test]
    fn a_flipped_bit_is_noticed(
        message in guest_message(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = encode(&message).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut decoder = Decoder::<GuestMessage>::default();
        decoder.push(&bytes);
        // A longer length is only noticed when its bytes arrive, or are missing at the deadline.
        prop_assert_ne!(decoder.next_message(), Ok(Some(message)));
    }
}

fn frame(version: u16, reserved: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = b"klab".to_vec();
    frame.extend(version.to_le_bytes());
    frame.extend(reserved.to_le_bytes());
    frame.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    frame.extend(crc32fast::hash(payload).to_le_bytes());
    frame.extend(payload);
    frame
}

fn first_error(bytes: &[u8]) -> FrameError {
    let mut decoder = Decoder::<GuestMessage>::default();
    decoder.push(bytes);
    decoder.next_message().expect_err("not a message")
}

#[test]
fn each_part_of_the_header_is_checked() {
    assert_eq!(first_error(b"[    0.000000] Linux"), FrameError::Magic(b"[".to_vec()));
    assert_eq!(first_error(&frame(9, 0, b"")), FrameError::Version { theirs: 9 });
    assert_eq!(first_error(&frame(VERSION, 1, b"")), FrameError::Reserved(1));

    let mut endless = frame(VERSION, 0, b"");
    endless[8..12].fill(0xff);
    let expected = FrameError::TooLong { length: 0xffff_ffff, max: MAX_ANSWER };
    assert_eq!(first_error(&endless), expected);

    let mut damaged = encode(&GuestMessage::Done).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(first_error(&damaged), FrameError::Checksum { .. }));

    let mut payload = encode(&GuestMessage::Done).unwrap().split_off(16);
    payload.extend(*b"more");
    assert_eq!(first_error(&frame(VERSION, 0, &payload)), FrameError::Trailing(4));
    assert!(matches!(first_error(&frame(VERSION, 0, &[0xff])), FrameError::Payload(_)));
}

#[test]
fn one_wrong_byte_is_enough_to_refuse() {
    assert_eq!(first_error(b"k\n"), FrameError::Magic(b"k\n".to_vec()));
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let message = GuestMessage::Refused { what: "x".repeat(MAX_ANSWER) };
    assert!(matches!(encode(&message), Err(FrameError::TooLong { max: MAX_ANSWER, .. })));
    let message = GuestMessage::Output { stream: Stream::Stdout, bytes: vec![0; CHUNK + 1] };
    assert!(matches!(encode(&message), Err(FrameError::Payload(_))));
}

#[test]
fn the_longest_chunk_fits_a_request_even_if_it_can_not_be_compressed() {
    // Pseudo-random bytes from xorshift, which LZ4 can't compress.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let bytes: Vec<u8> = (0..CHUNK / 8).flat_map(|_| next()).collect();
    let path = "/x".repeat(2000);
    let message = HostMessage::WriteFile { path, mode: 0o644, append: true, bytes };
    assert!(encode(&message).unwrap().len() <= MAX_REQUEST);
}

#[test]
fn text_shrinks() {
    let bytes: Vec<u8> = (0..200)
        .flat_map(|pid| format!("{{\"pid\":{pid},\"comm\":\"writer\",\"count\":12}}").into_bytes())
        .collect();
    let length = bytes.len();
    let frame = encode(&GuestMessage::Output { stream: Stream::Result, bytes }).unwrap();
    assert!(frame.len() * 3 < length, "{} of {length}", frame.len());
}

#[test]
fn a_chunk_that_promises_too_much_is_refused() {
    // Output, stdout, a length of 4 GiB, a block of one byte.
    let payload = [4, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0];
    assert!(matches!(first_error(&frame(VERSION, 0, &payload)), FrameError::Payload(_)));
    // A length that the block does not have.
    let payload = [4, 0, 9, 2, 0x10, b'x'];
    assert!(matches!(first_error(&frame(VERSION, 0, &payload)), FrameError::Payload(_)));
    let payload = [4, 0, 1, 2, 0x10, b'x'];
    let mut decoder = Decoder::<GuestMessage>::default();
    decoder.push(&frame(VERSION, 0, &payload));
    let expected = GuestMessage::Output { stream: Stream::Stdout, bytes: b"x".to_vec() };
    assert_eq!(decoder.next_message(), Ok(Some(expected)));
}
