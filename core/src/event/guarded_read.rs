//! Events of `guarded_read`.

use kernlab_abi::{READ_DONE, READ_REFUSED_BY_GUARD, READ_REFUSED_BY_KERNEL, ReadEvent};

use super::{Action, DecodeError, Event, ReadOutcome, read, with_header};
use crate::scenario::Tracer;

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid ReadEvent.
    let event: ReadEvent = unsafe { read(Tracer::GuardedRead, record)? };
    let outcome = match event.outcome {
        READ_DONE => ReadOutcome::Read(event.bytes.escape_ascii().to_string()),
        READ_REFUSED_BY_GUARD => ReadOutcome::RefusedByGuard,
        READ_REFUSED_BY_KERNEL => ReadOutcome::RefusedByKernel,
        other => return Err(DecodeError::ReadOutcome(other)),
    };
    Ok(with_header(&event.header, Action::Read { address: event.address, outcome }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        super::tests::{bytes_of, header},
        *,
    };

    #[rstest]
    #[case(0, Ok(ReadOutcome::Read("Linux\\x00ve".to_owned())))]
    #[case(1, Ok(ReadOutcome::RefusedByGuard))]
    #[case(2, Ok(ReadOutcome::RefusedByKernel))]
    #[case(3, Err(DecodeError::ReadOutcome(3)))]
    fn an_outcome_is_read_or_refused(
        #[case] outcome: u32,
        #[case] expected: Result<ReadOutcome, DecodeError>,
    ) {
        let bytes = *b"Linux\0ve";
        let event = ReadEvent { header: header(), address: 5, bytes, outcome, reserved: 0 };
        let action = decode(bytes_of(&event)).map(|(_, event)| event.action);
        assert_eq!(action, expected.map(|outcome| Action::Read { address: 5, outcome }));
    }
}
