//! What tracers report, in the terms of the traced program.

use std::{collections::BTreeMap, fmt};

use kernlab_abi::{CallEvent, EventHeader, InotifyEvent, RENAME_MASK, SysWriteEvent};
use serde::{Deserialize, Serialize};

use crate::{
    function::{Class, Function, Parameter},
    scenario::{Scenario, Tracer},
};

/// One observation of a tracer, or one claim of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// What the thread did.
    pub action: Action,
}

/// What a thread did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A write(2) that did not fail.
    Write {
        /// Where to.
        fd: i32,
        /// Bytes asked for.
        count: u64,
        /// Bytes written.
        ret: i64,
    },
    /// Half of a rename, as an inotify descriptor will tell it.
    Rename {
        /// Which half.
        half: RenameHalf,
        /// Is the entry a directory?
        directory: bool,
        /// Ties the halves together.
        cookie: u32,
        /// The entry's name, bytes outside of printable ASCII escaped.
        name: String,
    },
    /// A call of a kernel function.
    Call {
        /// Its symbol.
        function: String,
        /// Every argument with its parameter's name, in order.
        arguments: Vec<(String, Value)>,
    },
}

/// The side of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenameHalf {
    /// `IN_MOVED_FROM`.
    MovedFrom,
    /// `IN_MOVED_TO`.
    MovedTo,
}

/// An argument, as far as it can be known from outside the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A number.
    Number(i128),
    /// The null pointer.
    Null,
    /// An address in user space.
    User(u64),
    /// The address of this symbol.
    Symbol(String),
    /// Some other kernel address.
    Kernel,
    /// A string, bytes outside of printable ASCII escaped.
    Text(String),
}

/// Why bytes from a buffer are not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A record has another size than the event's structure.
    #[error("an event of {tracer} has {expected} bytes, got {got}")]
    Size {
        /// Whose event.
        tracer: Tracer,
        /// The size of the structure.
        expected: usize,
        /// The size of the record.
        got: usize,
    },
    /// A rename that is neither half, or both.
    #[error("mask {0:#x} is not one half of a rename")]
    Mask(u32),
}

/// The bytes of one event of `tracer`.
pub fn record_size(tracer: Tracer) -> usize {
    match tracer {
        Tracer::SysWrite => size_of::<SysWriteEvent>(),
        Tracer::Inotify => size_of::<InotifyEvent>(),
        Tracer::ManyArgs => size_of::<CallEvent>(),
    }
}

/// Turns the bytes of a session into events.
#[derive(Debug)]
pub struct Decoder<'a> {
    scenario: &'a Scenario,
    symbols: BTreeMap<u64, &'a str>,
    kernel_address_min: u64,
}

impl<'a> Decoder<'a> {
    /// A decoder for the events of one scenario on one kernel. `symbols` are names with addresses.
    pub fn new(
        scenario: &'a Scenario,
        symbols: &'a BTreeMap<String, u64>,
        kernel_address_min: u64,
    ) -> Self {
        let symbols = symbols.iter().map(|(name, &address)| (address, name.as_str())).collect();
        Decoder { scenario, symbols, kernel_address_min }
    }

    /// The event in `record`, with the time that orders it.
    pub fn decode(&self, record: &[u8]) -> Result<(u64, Event), DecodeError> {
        let tracer = self.scenario.tracer;
        match tracer {
            Tracer::SysWrite => {
                // SAFETY: any bytes are a valid SysWriteEvent.
                let event: SysWriteEvent = unsafe { read(tracer, record)? };
                let action = Action::Write { fd: event.fd, count: event.count, ret: event.ret };
                Ok(with_header(&event.header, action))
            }
            Tracer::Inotify => {
                // SAFETY: any bytes are a valid InotifyEvent.
                let event: InotifyEvent = unsafe { read(tracer, record)? };
                Ok(with_header(&event.header, rename(&event)?))
            }
            Tracer::ManyArgs => {
                // SAFETY: any bytes are a valid CallEvent.
                let event: CallEvent = unsafe { read(tracer, record)? };
                let function = Function::of_scenario(self.scenario);
                let arguments = function
                    .parameters
                    .iter()
                    .zip(event.arguments)
                    .map(|(parameter, bits)| {
                        (parameter.name.to_owned(), self.value(parameter, bits, &event.text))
                    })
                    .collect();
                let action = Action::Call { function: function.name.to_owned(), arguments };
                Ok(with_header(&event.header, action))
            }
        }
    }

    fn value(&self, parameter: &Parameter, bits: u64, text: &[u8]) -> Value {
        match parameter.class {
            Class::U32 => Value::Number((bits as u32).into()),
            Class::I32 => Value::Number((bits as i32).into()),
            Class::U64 => Value::Number(bits.into()),
            Class::Text => Value::Text(escape(text)),
            Class::Pointer if bits == 0 => Value::Null,
            Class::Pointer if bits < self.kernel_address_min => Value::User(bits),
            Class::Pointer => match self.symbols.get(&bits) {
                Some(name) => Value::Symbol((*name).to_owned()),
                None => Value::Kernel,
            },
        }
    }
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

fn with_header(header: &EventHeader, action: Action) -> (u64, Event) {
    let event = Event { pid: header.tgid, tid: header.tid, comm: escape(&header.comm), action };
    (header.time, event)
}

/// # Safety
///
/// Every bit pattern of `T`'s size must be a valid `T`.
unsafe fn read<T: Copy>(tracer: Tracer, record: &[u8]) -> Result<T, DecodeError> {
    let expected = size_of::<T>();
    if record.len() != expected {
        return Err(DecodeError::Size { tracer, expected, got: record.len() });
    }
    // SAFETY: the record has T's size, and the caller promises that its bytes are a valid T.
    Ok(unsafe { record.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes up to the first zero, with everything but printable ASCII escaped.
pub fn escape(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes[..end].escape_ascii().to_string()
}

impl fmt::Display for RenameHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RenameHalf::MovedFrom => "moved_from",
            RenameHalf::MovedTo => "moved_to",
        })
    }
}

#[cfg(test)]
mod tests {
    use kernlab_abi::{COMM_LEN, MAX_ARGUMENTS, TEXT_LEN};

    use super::*;

    fn bytes_of<T: Copy>(value: &T) -> &[u8] {
        // SAFETY: the ABI's structures have no padding, so all their bytes are initialised.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
    }

    fn header() -> EventHeader {
        let mut comm = [0xff; COMM_LEN];
        comm[..4].copy_from_slice(b"a\tb\0");
        EventHeader { time: 7, tgid: 1, tid: 2, comm }
    }

    #[test]
    fn a_call_is_read_by_the_classes_of_its_parameters() {
        let scenario = Scenario::by_id("many_args/key_alloc").unwrap();
        let symbols = BTreeMap::from([("key_type_keyring".to_owned(), 0xffff_ffff_8100_0000)]);
        let decoder = Decoder::new(scenario, &symbols, 0xffff_8000_0000_0000);
        let mut arguments = [0; MAX_ARGUMENTS];
        arguments[..8].copy_from_slice(&[
            0xffff_ffff_8100_0000,
            0xffff_ffff_8200_0000,
            0xdead_beef_0000_03e8,
            0,
            0xffff_8880_0000_0000,
            0xffff_ffff_3f01_0000,
            1,
            0,
        ]);
        let mut text = [0; TEXT_LEN];
        text[..4].copy_from_slice(b"_pid");
        let (time, event) =
            decoder.decode(bytes_of(&CallEvent { header: header(), arguments, text })).unwrap();
        assert_eq!((time, event.comm.as_str()), (7, "a\\tb"));
        let Action::Call { arguments, .. } = event.action else { panic!("not a call") };
        let values: Vec<_> = arguments.into_iter().map(|(_, value)| value).collect();
        assert_eq!(
            values,
            [
                Value::Symbol("key_type_keyring".into()),
                Value::Text("_pid".into()),
                Value::Number(1000),
                Value::Number(0),
                Value::Kernel,
                Value::Number(0x3f01_0000),
                Value::Number(1),
                Value::Null,
            ]
        );
    }

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

    #[test]
    fn a_record_of_another_size_is_refused() {
        let decoder = Decoder::new(&Scenario::ALL[0], &BTreeMap::new(), 0).decode(&[0; 5]);
        let expected = size_of::<SysWriteEvent>();
        assert_eq!(decoder, Err(DecodeError::Size { tracer: Tracer::SysWrite, expected, got: 5 }));
    }
}
