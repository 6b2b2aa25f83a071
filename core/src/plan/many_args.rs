//! Where the programs of `many_args` go, and how many arguments they capture.

use kernlab_abi::ProgramConfig;

use super::{AttachPoint, Unsupported, kprobe};
use crate::{facts::KernelFacts, function::Function, outcome::Reason};

pub(super) fn attach(
    function: &Function,
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if !facts.has_symbol(function.name) {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has no {}: {}", function.name, function.needs),
        ));
    }
    match &facts.btf {
        Some(_) => {
            let found = facts.described(function.name).ok_or_else(|| {
                Unsupported::new(
                    Reason::MissingBtf,
                    format!("BTF does not describe {}", function.name),
                )
            })?;
            if !function.matches(&found) {
                return Err(Unsupported::new(
                    Reason::SignatureChanged,
                    format!("expected {function}, the kernel has {}{found}", function.name),
                ));
            }
        }
        None if function.changed_between_releases => {
            return Err(Unsupported::new(
                Reason::MissingBtf,
                format!(
                    "the parameters of {} differ between releases, and without BTF there is no \
                     telling which these are",
                    function.name
                ),
            ));
        }
        None => {}
    }
    config.argument_count = function.parameters.len() as u32;
    config.text_argument = function.text_argument().unwrap_or(0);
    Ok(vec![kprobe("function_call", function.name)])
}
