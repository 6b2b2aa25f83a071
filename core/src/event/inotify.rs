//! Events of `inotify`.

use kernlab_abi::{InotifyEvent, RENAME_MASK};

use super::{Action, DecodeError, Event, RenameHalf, escape, read, with_header};
use crate::scenario::Tracer;

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid InotifyEvent.
    let event: InotifyEvent = unsafe { read(Tracer::Inotify, record)? };
    Ok(with_header(&event.header, rename(&event)?))
}

fn rename(event: &InotifyEvent) -> Result<Action, DecodeError> {
    // IN_MOVED_FROM, IN_MOVED_TO and IN_ISDIR: include/uapi/linux/inotify.h. Other bits are the
    // kernel's own and differ between releases.
    let half = match event.mask & RENAME_MASK {
        0x40 => RenameHalf::MovedFrom,
        0x80 => RenameHalf::MovedTo,
        _ => return Err(DecodeError::Mask(event.mask)),
    };
    Ok(Action::Rename {
        half,
        directory: event.mask & 0x4000_0000 != 0,
        cookie: event.cookie,
        name: escape(&event.name),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::header, *};

    #[test]
    fn internal_bits_of_a_mask_are_dropped() {
        let event =
            InotifyEvent { header: header(), mask: 0x5800_0040, cookie: 9, name: [b'n'; 256] };
        let Action::Rename { half, directory, cookie, name } = rename(&event).unwrap() else {
            panic!("not a rename")
        };
        assert_eq!((half, directory, cookie), (RenameHalf::MovedFrom, true, 9));
        assert_eq!(name.len(), 256);
        assert_eq!(rename(&InotifyEvent { mask: 0xc0, ..event }), Err(DecodeError::Mask(0xc0)));
    }
}
