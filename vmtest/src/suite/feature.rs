//! Conditions on a kernel's features: `!map_type.ringbuf and helper.probe_read_kernel`.

use std::{collections::BTreeSet, fmt};

use kernlab_core::{
    arch::Arch,
    bpf::{HELPERS, MAP_TYPES},
    config::OPTIONS,
    dossier::missing::{KnownKernel, Need, State},
    facts::ProbeResult,
    tracer::{wanted_symbols, wanted_tracepoints},
};

pub use super::expression::SyntaxError;
use super::{
    expression::{Expression, Token, Tokens},
    spelling::{nearest, unknown},
};

/// A boolean expression over what a kernel's dossier has. There is nothing in it about versions.
///
/// | feature | holds if |
/// |---|---|
/// | `btf` | the kernel has type information of its own |
/// | `uprobes` | programs can be attached to functions in user space |
/// | `fentry` | `fentry` and `fexit` programs can be attached; where they can't, neither can `fmod_ret` and `lsm` |
/// | `five_level_paging` | the kernel runs with the larger of its address spaces: five-level page tables, 52 bits |
/// | `map_type.NAME` | such a map can be created: `map_type.ringbuf` |
/// | `helper.NAME` | a kprobe program may call the helper: `helper.probe_read_kernel` |
/// | `symbol.NAME` | a probe can be attached to this function: the kernel lists it under its own name |
/// | `tracepoint.NAME` | there is this tracepoint of a system call |
/// | `config.NAME` | the kernel was built with the option, as a module perhaps: `config.KEYS` |
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureCondition {
    text: String,
    expression: Expression<Feature>,
}

/// Something that a kernel has or has not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Feature {
    Btf,
    Uprobes,
    Fentry,
    FiveLevelPaging,
    MapType(String),
    Helper(String),
    Symbol(String),
    Tracepoint(String),
    /// With `CONFIG_`.
    Option(String),
}

/// A feature of which nothing is known on a kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing is known of `{feature}` on this kernel: {why}")]
pub struct UnknownFeature {
    /// As it is written in conditions.
    pub feature: String,
    /// Why nothing is known.
    pub why: String,
}

const PLAIN: [(&str, Feature); 4] = [
    ("btf", Feature::Btf),
    ("uprobes", Feature::Uprobes),
    ("fentry", Feature::Fentry),
    ("five_level_paging", Feature::FiveLevelPaging),
];

const KINDS: [&str; 5] = ["map_type", "helper", "symbol", "tracepoint", "config"];

impl FeatureCondition {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let expression = Expression::parse(text, feature)?;
        Ok(FeatureCondition { text: text.to_owned(), expression })
    }

    /// Whether a kernel fulfils the condition. An error if that depends on a fact that is not known
    /// of it.
    pub fn holds(&self, kernel: KnownKernel<'_>) -> Result<bool, UnknownFeature> {
        evaluate(&self.expression, kernel)
    }

    /// The functions that it names and that no dossier covers: all functions of a kernel are needed to
    /// decide it.
    pub fn other_functions(&self) -> Vec<&str> {
        let functions = self.expression.atoms().into_iter().filter_map(|feature| match feature {
            Feature::Symbol(name) if !is_covered(name) => Some(name.as_str()),
            _ => None,
        });
        functions.collect()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for FeatureCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn feature(tokens: &mut Tokens<'_>) -> Result<Feature, SyntaxError> {
    let offset = tokens.offset();
    let Some(Token::Name(written)) = tokens.next_if(|token| matches!(token, Token::Name(_))) else {
        return Err(tokens.unexpected("a feature such as `map_type.ringbuf`, `!` or `(`"));
    };
    named(&written).map_err(|message| SyntaxError::new(tokens.text(), offset, message))
}

/// The feature of a name, or what is wrong with the name.
fn named(written: &str) -> Result<Feature, String> {
    if let Some((_, feature)) = PLAIN.iter().find(|(name, _)| *name == written) {
        return Ok(feature.clone());
    }
    let Some((kind, name)) = written.split_once('.').filter(|(kind, _)| KINDS.contains(kind))
    else {
        let kind = written.split('.').next().unwrap_or_default();
        let known: Vec<&str> = PLAIN.iter().map(|(name, _)| *name).chain(KINDS).collect();
        if KINDS.contains(&kind) {
            return Err(format!("expected a name after `{kind}`: `{kind}.NAME`"));
        }
        return Err(unknown("feature", kind, &known));
    };
    let known_in = |table: &[(u32, &'static str)]| table.iter().map(|(_, name)| *name).collect();
    let name = if kind == "config" && !name.starts_with("CONFIG_") {
        format!("CONFIG_{name}")
    } else {
        name.to_owned()
    };
    let (known, feature): (BTreeSet<&str>, _) = match kind {
        "map_type" => (known_in(MAP_TYPES), Feature::MapType(name.clone())),
        "helper" => (known_in(HELPERS), Feature::Helper(name.clone())),
        // Every kernel has functions of its own.
        "symbol" => return Ok(Feature::Symbol(name)),
        "tracepoint" => (wanted_tracepoints().collect(), Feature::Tracepoint(name.clone())),
        _ => (OPTIONS.iter().copied().collect(), Feature::Option(name.clone())),
    };
    if known.contains(name.as_str()) {
        return Ok(feature);
    }
    let shown = |name: &str| format!("{kind}.{}", name.strip_prefix("CONFIG_").unwrap_or(name));
    let hint = match nearest(&plain(kind, &name), known) {
        Some(right) => format!(": did you mean `{}`?", shown(right)),
        None => String::new(),
    };
    Err(format!("dossiers do not cover `{}`{hint}", shown(&name)))
}

/// A name in the case that features of a kind have, without the beginning that it has in the kernel.
fn plain(kind: &str, name: &str) -> String {
    if kind == "config" {
        return name.to_uppercase();
    }
    let name = name.to_lowercase();
    let prefixes = ["bpf_map_type_", "bpf_func_", "bpf_"];
    let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    rest.map(str::to_owned).unwrap_or(name)
}

/// Whether dossiers have this function or variable.
fn is_covered(symbol: &str) -> bool {
    Arch::ALL.into_iter().any(|arch| wanted_symbols(arch).any(|known| known == symbol))
}

/// Kleene's logic: an unknown part only matters where the others do not decide.
fn evaluate(
    expression: &Expression<Feature>,
    kernel: KnownKernel<'_>,
) -> Result<bool, UnknownFeature> {
    let decided_by = |parts: &[Expression<Feature>], deciding: bool| {
        let mut unknown = None;
        for part in parts {
            match evaluate(part, kernel) {
                Ok(value) if value == deciding => return Ok(deciding),
                Ok(_) => {}
                Err(error) => unknown = unknown.or(Some(error)),
            }
        }
        unknown.map_or(Ok(!deciding), Err)
    };
    match expression {
        Expression::Atom(feature) => feature.holds(kernel),
        Expression::Not(inner) => evaluate(inner, kernel).map(|value| !value),
        Expression::All(parts) => decided_by(parts, false),
        Expression::Any(parts) => decided_by(parts, true),
    }
}

impl Feature {
    fn holds(&self, kernel: KnownKernel<'_>) -> Result<bool, UnknownFeature> {
        let dossier = kernel.dossier;
        match self {
            Feature::Btf => Ok(dossier.types.is_some()),
            Feature::Uprobes => Ok(dossier.features.uprobes),
            // Without BTF there is nothing to try.
            Feature::Fentry if dossier.types.is_none() => Ok(false),
            Feature::Fentry => self.probed(dossier.features.fentry.as_ref()),
            Feature::FiveLevelPaging => Ok(dossier.five_level_paging),
            Feature::MapType(name) => self.probed(dossier.features.maps.get(name)),
            Feature::Helper(name) => self.probed(dossier.features.helpers.get(name)),
            Feature::Symbol(_) if dossier.symbols.is_empty() => {
                Err(self.unknown("its dossier has no symbols at all"))
            }
            Feature::Symbol(name) if is_covered(name) => Ok(dossier.symbol(name).is_present()),
            Feature::Symbol(name) => match kernel.state(&Need::Function(name.clone())) {
                State::Present(_) => Ok(true),
                State::Missing(_) => Ok(false),
                State::Unknown(why) => Err(self.unknown(why)),
            },
            Feature::Tracepoint(name) => Ok(dossier.tracepoints.contains_key(name)),
            Feature::Option(name) => match &dossier.config {
                None => Err(self.unknown("its configuration is not available")),
                Some(config) => match config.get(name) {
                    None => Err(self.unknown("its dossier was taken without this option")),
                    Some(value) => Ok(value != "n"),
                },
            },
        }
    }

    fn probed(&self, probe: Option<&ProbeResult>) -> Result<bool, UnknownFeature> {
        match probe {
            Some(ProbeResult::Yes) => Ok(true),
            Some(ProbeResult::No) => Ok(false),
            Some(ProbeResult::CouldNotTell(errno)) => {
                Err(self.unknown(format!("the trial failed for another reason (errno {errno})")))
            }
            None => Err(self.unknown("it was not tried when its dossier was taken")),
        }
    }

    fn unknown(&self, why: impl Into<String>) -> UnknownFeature {
        UnknownFeature { feature: self.to_string(), why: why.into() }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Feature::Btf => f.write_str("btf"),
            Feature::Uprobes => f.write_str("uprobes"),
            Feature::Fentry => f.write_str("fentry"),
            Feature::FiveLevelPaging => f.write_str("five_level_paging"),
            Feature::MapType(name) => write!(f, "map_type.{name}"),
            Feature::Helper(name) => write!(f, "helper.{name}"),
            Feature::Symbol(name) => write!(f, "symbol.{name}"),
            Feature::Tracepoint(name) => write!(f, "tracepoint.{name}"),
            Feature::Option(name) => {
                write!(f, "config.{}", name.strip_prefix("CONFIG_").unwrap_or(name))
            }
        }
    }
}

#[cfg(test)]
mod tests;
