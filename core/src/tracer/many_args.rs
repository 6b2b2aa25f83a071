//! `many_args`: all arguments of functions that have more of them than registers.

mod function;

use kernlab_abi::{CallEvent, EventHeader, ProgramConfig};

use self::function::{Class, Function, Parameter};
use super::definition::{Definition, EventType, RawEvent, Wants, listed};
use crate::{
    attach::{AttachPoint, kprobe},
    decoder::{DecodeError, Decoder},
    event::{Action, Value, escape},
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "many_args",
    scenarios: &[
        listed("key_alloc", "8 arguments, on x86-64 two of them on the stack"),
        listed("ip_make_skb", "10 arguments, on x86-64 four of them on the stack"),
        listed("process_vm_rw", "7 arguments, on x86-64 one of them on the stack"),
        listed("get_user_pages", "8 arguments of `__get_user_pages`, where it has so many"),
    ],
    wants,
    attach,
    event: EventType::of::<CallEvent>(),
};

fn wants() -> Wants {
    Wants {
        functions: Function::ALL.iter().map(|function| function.name).collect(),
        symbols: Function::ALL.iter().flat_map(|function| function.pointees).copied().collect(),
        ..Wants::default()
    }
}

fn attach(
    scenario: &Scenario,
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let function = Function::of_scenario(scenario);
    if !facts.has_symbol(function.name) {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has no {}: {}", function.name, function.needs),
        ));
    }
    if let Some(unlisted) = function.unlisted(facts) {
        return Err(Unsupported::new(
            Reason::MissingConfig,
            format!("the symbol table does not list {unlisted}: CONFIG_KALLSYMS_ALL"),
        ));
    }
    match facts.described(function.name) {
        Some(found) if !function.matches(&found) => {
            return Err(Unsupported::new(
                Reason::SignatureChanged,
                format!("expected {function}, the kernel has {}{found}", function.name),
            ));
        }
        None if function.changed_between_releases => {
            let without = match facts.btf {
                Some(_) => "BTF does not describe it",
                None => "without BTF these can't be told apart",
            };
            return Err(Unsupported::new(
                Reason::MissingBtf,
                format!(
                    "the parameters of {} differ between releases, and {without}",
                    function.name
                ),
            ));
        }
        // BTF leaves out some functions. Those that never changed are read as where there is no BTF.
        Some(_) | None => {}
    }
    config.argument_count = function.parameters.len() as u32;
    config.text_argument = function.text_argument().unwrap_or(0);
    Ok(vec![kprobe("function_call", function.name)])
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for CallEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn action(&self, decoder: &Decoder<'_>) -> Result<Action, DecodeError> {
        let function = Function::of_scenario(decoder.scenario);
        let arguments = function
            .parameters
            .iter()
            .zip(self.arguments)
            .map(|(parameter, bits)| {
                (parameter.name.to_owned(), value(decoder, parameter, bits, &self.text))
            })
            .collect();
        Ok(Action::Call { function: function.name.to_owned(), arguments })
    }
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

    use super::{super::tests::header, *};
    use crate::plan::{
        plan,
        tests::{btf, facts, scenario},
    };

    #[test]
    fn a_function_is_probed_only_with_the_parameters_that_we_read() {
        let id = "many_args/process_vm_rw";
        let names = ["pid", "lvec", "liovcnt", "rvec", "riovcnt", "flags", "vm_write"];
        let parameters = names.map(|name| ("long", name));
        let with = |parameters: &[(&str, &str)]| {
            plan(scenario(id), &facts(&["process_vm_rw"], btf("process_vm_rw", parameters)))
        };
        assert_eq!(with(&parameters).unwrap().config.argument_count, 7);
        let refused = with(&parameters[1..]).unwrap_err();
        assert_eq!(refused.reason, Reason::SignatureChanged);
        assert!(
            refused.to_string().contains("process_vm_rw(pid, lvec,")
                && refused.to_string().contains("process_vm_rw(long lvec,"),
            "both prototypes are shown: {refused}"
        );
        let absent = plan(scenario(id), &facts(&[], None)).unwrap_err();
        assert_eq!(absent.reason, Reason::MissingSymbol);
        assert!(absent.to_string().contains("CONFIG_CROSS_MEMORY_ATTACH"), "{absent}");
    }

    #[test]
    fn what_changed_between_releases_is_not_assumed() {
        let others = || btf("vfs_open", &[("void *", "path")]);
        for (btf, why) in [(None, "without BTF"), (others(), "BTF does not describe it")] {
            let facts = facts(&["__get_user_pages"], btf);
            let gup = plan(scenario("many_args/get_user_pages"), &facts).unwrap_err();
            assert_eq!(gup.reason, Reason::MissingBtf);
            assert!(gup.to_string().contains(why), "{gup}");
        }
        let undescribed = facts(&["process_vm_rw"], others());
        let undescribed = plan(scenario("many_args/process_vm_rw"), &undescribed).unwrap();
        assert_eq!(undescribed.config.argument_count, 7);
        let key_alloc = plan(
            scenario("many_args/key_alloc"),
            &facts(&["key_alloc", "key_type_keyring", "key_type_user"], None),
        )
        .unwrap();
        assert_eq!((key_alloc.config.argument_count, key_alloc.config.text_argument), (8, 2));
    }

    #[test]
    fn a_pointer_is_the_users_below_the_kernels_addresses() {
        const MIN: u64 = 0xffff_8000_0000_0000;
        let function = Function::of_scenario(Scenario::by_id("many_args/key_alloc").unwrap());
        let pointer = function.parameters.iter().find(|it| it.class == Class::Pointer).unwrap();
        let symbols = BTreeMap::new();
        let decoder = Decoder::new(scenario("many_args/key_alloc"), &symbols, MIN);
        let values = [0, 1, MIN - 1, MIN, u64::MAX].map(|bits| value(&decoder, pointer, bits, b""));
        let expected =
            [Value::Null, Value::User(1), Value::User(MIN - 1), Value::Kernel, Value::Kernel];
        assert_eq!(values, expected);
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
        let event = CallEvent { header: header(), arguments, text };
        let Action::Call { arguments, .. } = event.action(&decoder).unwrap() else {
            panic!("not a call")
        };
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
