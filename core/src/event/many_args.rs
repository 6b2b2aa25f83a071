//! Events of `many_args`.

use kernlab_abi::CallEvent;

use super::{Action, DecodeError, Decoder, Event, Value, escape, read, with_header};
use crate::{
    function::{Class, Function, Parameter},
    scenario::Tracer,
};

pub(super) fn decode(decoder: &Decoder<'_>, record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid CallEvent.
    let event: CallEvent = unsafe { read(Tracer::ManyArgs, record)? };
    let function = Function::of_scenario(decoder.scenario);
    let arguments = function
        .parameters
        .iter()
        .zip(event.arguments)
        .map(|(parameter, bits)| {
            (parameter.name.to_owned(), value(decoder, parameter, bits, &event.text))
        })
        .collect();
    let action = Action::Call { function: function.name.to_owned(), arguments };
    Ok(with_header(&event.header, action))
}

fn value(decoder: &Decoder<'_>, parameter: &Parameter, bits: u64, text: &[u8]) -> Value {
    match parameter.class {
        Class::U32 => Value::Number((bits as u32).into()),
        Class::I32 => Value::Number((bits as i32).into()),
        Class::U64 => Value::Number(bits.into()),
        Class::Text => Value::Text(escape(text)),
        Class::Pointer if bits == 0 => Value::Null,
        Class::Pointer if bits < decoder.kernel_address_min => Value::User(bits),
        Class::Pointer => match decoder.symbols.get(&bits) {
            Some(name) => Value::Symbol((*name).to_owned()),
            None => Value::Kernel,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kernlab_abi::{MAX_ARGUMENTS, TEXT_LEN};

    use super::{
        super::tests::{bytes_of, header},
        *,
    };
    use crate::scenario::Scenario;

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
}
