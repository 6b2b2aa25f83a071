//! Events of `user_args`.

use kernlab_abi::UserCallEvent;

use super::{Action, DecodeError, Event, read, with_header};
use crate::{plan::EIGHT_INTS, scenario::Tracer};

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid UserCallEvent.
    let event: UserCallEvent = unsafe { read(Tracer::UserArgs, record)? };
    let action = Action::UserCall {
        function: EIGHT_INTS.to_owned(),
        arguments: event.arguments.map(|bits| bits as i32).to_vec(),
        ret: event.ret as i32,
    };
    Ok(with_header(&event.header, action))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{bytes_of, header},
        *,
    };

    #[test]
    fn the_upper_half_of_an_int_is_dropped() {
        let arguments = [0xdead_beef_ffff_ffff, 2, 3, 4, 5, 6, 7, 0x1_8000_0000];
        let ret = 0xffff_ffff_0000_0009;
        let (_, event) =
            decode(bytes_of(&UserCallEvent { header: header(), arguments, ret })).unwrap();
        let Action::UserCall { arguments, ret, .. } = event.action else { panic!("not a call") };
        assert_eq!((arguments, ret), (vec![-1, 2, 3, 4, 5, 6, 7, i32::MIN], 9));
    }
}
