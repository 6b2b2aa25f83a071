//! `user_args`: all arguments and the result of a function in user space, some of them on the stack.

use kernlab_abi::{EventHeader, ProgramConfig, UserCallEvent};

use super::definition::{Definition, EventType, RawEvent, Wants, burst, listed};
use crate::{
    attach::{AttachPoint, Target, UserFunction},
    burst::Burst,
    decoder::{DecodeError, Decoder},
    event::Action,
    facts::KernelFacts,
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

pub(super) const TRACER: Definition = Definition {
    name: "user_args",
    scenarios: &[
        listed("eight_ints", "a function in user space with 8 arguments and a result"),
        listed("pie_and_static", "the same in a relocatable program and in one at fixed addresses"),
        listed(
            "ten_ints",
            "a function with 10 arguments, more than registers hold on any architecture",
        ),
        listed("mixed_types", "10 arguments of every width, with and without a sign, and pointers"),
        listed(
            "two_at_once",
            "threads inside of the function at the same time, and one that dies there",
        ),
        listed("recursive", "calls of a function inside of calls of the same, by one thread"),
        burst(
            "full_pending",
            Burst::FULL_PENDING,
            "one more thread inside of the function than there is room for",
        ),
        burst(
            "unseen_end",
            Burst::UNSEEN_END,
            "a call that jumps back into the function, so that two end with one return: one is counted as \
             lost",
        ),
    ],
    wants: Wants::default,
    attach,
    event: EventType::of::<UserCallEvent>(),
};

/// The workload's place in the guest: position-independent, as most programs are.
const WORKLOAD: &str = "/bin/kernlab-workload";

/// The same function in a program that is linked to fixed addresses.
pub const STATIC_WORKLOAD: &str = "/bin/kernlab-workload-static";

/// The function that both have.
pub const EIGHT_INTS: &str = "kernlab_eight_ints";

/// The function of the scenario `ten_ints`.
pub const TEN_INTS: &str = "kernlab_ten_ints";

/// The function of the scenario `mixed_types`.
pub const MIXED_TYPES: &str = "kernlab_mixed_types";

/// The function of the scenario `unseen_end`.
pub const JUMPS_BACK: &str = "kernlab_jumps_back";

/// A function in user space, as its source declares it.
struct UserSignature {
    symbol: &'static str,
    arguments: &'static [Integer],
    result: Integer,
}

impl UserSignature {
    /// The function that a scenario calls.
    fn of_scenario(scenario: &Scenario) -> Self {
        match scenario.name {
            "ten_ints" => UserSignature { symbol: TEN_INTS, arguments: &[I32; 10], result: I32 },
            "mixed_types" => UserSignature {
                symbol: MIXED_TYPES,
                arguments: &[I8, U64, U16, POINTER, U32, I64, U8, POINTER, I16, I32],
                result: I64,
            },
            "unseen_end" => UserSignature { symbol: JUMPS_BACK, arguments: &[I32; 2], result: I32 },
            _ => UserSignature { symbol: EIGHT_INTS, arguments: &[I32; 8], result: I32 },
        }
    }
}

/// The lower bits of a register or stack slot. The calling conventions say nothing of the others.
#[derive(Clone, Copy)]
struct Integer {
    bits: u32,
    signed: bool,
}

const I8: Integer = Integer { bits: 8, signed: true };
const U8: Integer = Integer { bits: 8, signed: false };
const I16: Integer = Integer { bits: 16, signed: true };
const U16: Integer = Integer { bits: 16, signed: false };
const I32: Integer = Integer { bits: 32, signed: true };
const U32: Integer = Integer { bits: 32, signed: false };
const I64: Integer = Integer { bits: 64, signed: true };
const U64: Integer = Integer { bits: 64, signed: false };
const POINTER: Integer = U64;

impl Integer {
    /// The value in a register or stack slot.
    fn value(self, raw: u64) -> i128 {
        let others = u64::BITS - self.bits;
        let upper = raw << others;
        if self.signed { (upper.cast_signed() >> others).into() } else { (upper >> others).into() }
    }
}

fn attach(
    scenario: &Scenario,
    facts: &KernelFacts,
    _: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if !facts.uprobes {
        return Err(Unsupported::new(
            Reason::MissingConfig,
            "the kernel has no uprobes: CONFIG_UPROBE_EVENTS",
        ));
    }
    let binaries: &[&str] = match scenario.name {
        "pie_and_static" => &[WORKLOAD, STATIC_WORKLOAD],
        _ => &[WORKLOAD],
    };
    let symbol = UserSignature::of_scenario(scenario).symbol;
    Ok(binaries
        .iter()
        .flat_map(|&binary| {
            let function = UserFunction { binary: binary.to_owned(), symbol: symbol.to_owned() };
            [
                ("user_call", Target::Uprobe(function.clone())),
                ("user_return", Target::Uretprobe(function)),
            ]
        })
        .map(|(program, target)| AttachPoint { program: program.to_owned(), target })
        .collect())
}

// SAFETY: integers and bytes.
unsafe impl RawEvent for UserCallEvent {
    fn header(&self) -> &EventHeader {
        &self.header
    }

    fn action(&self, decoder: &Decoder<'_>) -> Result<Action, DecodeError> {
        let signature = UserSignature::of_scenario(decoder.scenario);
        let arguments = signature.arguments.iter().zip(self.arguments);
        Ok(Action::UserCall {
            function: signature.symbol.to_owned(),
            arguments: arguments.map(|(argument, raw)| argument.value(raw)).collect(),
            ret: signature.result.value(self.ret),
        })
    }
}

#[cfg(test)]
mod tests {
    use kernlab_abi::USER_ARGUMENTS;
    use rstest::rstest;

    use super::{
        super::tests::{decoded, header},
        *,
    };
    use crate::plan::{
        plan,
        tests::{facts, scenario},
    };

    #[test]
    fn one_function_is_probed_in_every_binary_that_is_run() {
        let planned = plan(scenario("user_args/pie_and_static"), &facts(&[], None)).unwrap();
        let targets: Vec<_> = planned.attach.iter().map(|point| point.target.to_string()).collect();
        assert_eq!(
            targets,
            [
                "uprobe /bin/kernlab-workload:kernlab_eight_ints",
                "uretprobe /bin/kernlab-workload:kernlab_eight_ints",
                "uprobe /bin/kernlab-workload-static:kernlab_eight_ints",
                "uretprobe /bin/kernlab-workload-static:kernlab_eight_ints",
            ]
        );
        let without = KernelFacts { uprobes: false, ..facts(&[], None) };
        let refused = plan(scenario("user_args/eight_ints"), &without).unwrap_err();
        assert_eq!(refused.reason, Reason::MissingConfig);
    }

    #[test]
    fn an_argument_is_read_by_its_type() {
        let arguments = [
            0xdead_beef_0000_009c,
            0xfedc_ba98_7654_3210,
            0xffff_ffff_ffff_fedc,
            0x8123_4567_89ab_cdef,
            0xdead_beef_fedc_ba98,
            0x8123_4567_89ab_cdef,
            0xdead_beef_dead_bef0,
            0,
            0x0000_0000_0000_8001,
            0x0000_0000_8000_0001,
        ];
        let event = UserCallEvent { header: header(), arguments, ret: 0x8123_4567_89ab_cdef };
        let action = decoded("user_args/mixed_types", &event).unwrap();
        let Action::UserCall { arguments, ret, .. } = action else { panic!("not a call") };
        assert_eq!(
            arguments,
            [
                -100,
                0xfedc_ba98_7654_3210,
                0xfedc,
                0x8123_4567_89ab_cdef,
                0xfedc_ba98,
                -0x7edc_ba98_7654_3211,
                0xf0,
                0,
                -0x7fff,
                -0x7fff_ffff,
            ]
        );
        assert_eq!(ret, -0x7edc_ba98_7654_3211);
    }

    #[rstest]
    #[case("eight_ints", 8)]
    #[case("ten_ints", 10)]
    fn what_follows_the_last_argument_is_not_one(#[case] scenario: &str, #[case] count: usize) {
        let arguments = [0xdead_beef_8000_0000; USER_ARGUMENTS];
        let event = UserCallEvent { header: header(), arguments, ret: 0xffff_ffff_0000_0009 };
        let action = decoded(&format!("user_args/{scenario}"), &event).unwrap();
        let Action::UserCall { arguments, ret, .. } = action else { panic!("not a call") };
        assert_eq!((arguments, ret), (vec![i32::MIN.into(); count], 9));
    }
}
