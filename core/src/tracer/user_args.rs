//! `user_args`: all arguments and the result of a function in user space, some of them on the stack.

use kernlab_abi::{EventHeader, ProgramConfig, UserCallEvent};

use super::definition::{Definition, EventType, RawEvent, Wants};
use crate::{
    attach::{AttachPoint, Target, UserFunction},
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
        ("eight_ints", "a function in user space with 8 arguments and a result"),
        ("pie_and_static", "the same in a relocatable program and in one at fixed addresses"),
        ("two_at_once", "threads inside of the function at the same time, and one that dies there"),
        ("full_pending", "one more thread inside of the function than there is room for"),
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
    Ok(binaries
        .iter()
        .flat_map(|&binary| {
            let function =
                UserFunction { binary: binary.to_owned(), symbol: EIGHT_INTS.to_owned() };
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

    fn action(&self, _: &Decoder<'_>) -> Result<Action, DecodeError> {
        Ok(Action::UserCall {
            function: EIGHT_INTS.to_owned(),
            arguments: self.arguments.map(|bits| bits as i32).to_vec(),
            ret: self.ret as i32,
        })
    }
}

#[cfg(test)]
mod tests {
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
    fn the_upper_half_of_an_int_is_dropped() {
        let arguments = [0xdead_beef_ffff_ffff, 2, 3, 4, 5, 6, 7, 0x1_8000_0000];
        let ret = 0xffff_ffff_0000_0009;
        let event = UserCallEvent { header: header(), arguments, ret };
        let action = decoded("user_args/eight_ints", &event).unwrap();
        let Action::UserCall { arguments, ret, .. } = action else { panic!("not a call") };
        assert_eq!((arguments, ret), (vec![-1, 2, 3, 4, 5, 6, 7, i32::MIN], 9));
    }
}
