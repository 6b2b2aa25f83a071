//! Differences for people to read.

use std::fmt;

use super::{Change, Difference, Moved, TracepointChange};
use crate::{
    btf::Field, dossier::SymbolState, scenario::Scenario, tracepoint::TracepointField,
    tracer::Tracer,
};

impl fmt::Display for Difference {
    /// By tracer, then what concerns all, then which tracers nothing changed for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (tracer, changes) in &self.tracers {
            writeln!(f, "{tracer}")?;
            for change in changes {
                for line in change.to_string().lines() {
                    writeln!(f, "  {line}")?;
                }
            }
            writeln!(f)?;
        }
        if !self.general.is_empty() {
            writeln!(f, "features and options")?;
            for change in &self.general {
                writeln!(f, "  {change}")?;
            }
            writeln!(f)?;
        }
        let same = Tracer::all().filter(|tracer| !self.tracers.contains_key(tracer));
        let same: Vec<_> = same.map(Tracer::name).collect();
        match same.is_empty() {
            true => Ok(()),
            false => writeln!(f, "nothing changed for {}", same.join(", ")),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Plan { scenarios, btf, old_btf, old, new } => {
                f.write_str("planned otherwise (")?;
                old_btf.iter().try_for_each(|old| write!(f, "{old} -> "))?;
                write!(f, "{btf}): {}", Scenarios(scenarios))?;
                match (old.split_once("; "), new.split_once("; ")) {
                    (Some((place, old)), Some((other, new))) if place == other => {
                        write!(f, "\n  {old} -> {new}")
                    }
                    _ => write!(f, "\n  - {old}\n  + {new}"),
                }
            }
            Change::Symbol { symbol, old, new, declaration } => {
                let (what, sign) = match (old, new) {
                    (SymbolState::Present, SymbolState::Absent) => ("is gone", '-'),
                    (SymbolState::Absent, SymbolState::Present) => ("is new", '+'),
                    _ => return write!(f, "{symbol}: {old} -> {new}"),
                };
                write!(f, "{symbol} {what}")?;
                declaration.iter().try_for_each(|shown| write!(f, "\n  {sign} {shown}"))
            }
            Change::Prototype { function, old, new, moved } => {
                write!(f, "{function} has another prototype\n  - {old}\n  + {new}")?;
                for Moved { parameter, old, new } in moved {
                    write!(f, "\n  {parameter}: argument {old} -> {new}")?;
                }
                Ok(())
            }
            Change::Field { field, old, new } => match (old, new) {
                (Some(old), Some(new)) if old.type_name == new.type_name => {
                    write!(f, "{field}: {} -> {}", place(old), place(new))
                }
                (Some(old), Some(new)) if place(old) == place(new) => {
                    let (old, new) = (&old.type_name, &new.type_name);
                    write!(f, "{field} is of another type: {old} -> {new}")
                }
                (Some(old), Some(new)) => {
                    write!(f, "{field}: {} {} -> ", place(old), old.type_name)?;
                    write!(f, "{} {}", place(new), new.type_name)
                }
                (Some(old), None) => write!(f, "{field} is gone: it was at {}", place(old)),
                (None, Some(new)) => {
                    write!(f, "{field} is new: {} at {}", new.type_name, place(new))
                }
                (None, None) => write!(f, "{field}"),
            },
            Change::Size { structure, old, new } => {
                write!(f, "struct {structure}: {old} -> {new} bytes")
            }
            Change::Tracepoints { tracepoints, change } => {
                let (what, are, have) = match &tracepoints[..] {
                    [one] => (format!("tracepoint {one}"), "is", "has"),
                    many => (format!("tracepoints {}", many.join(", ")), "are", "have"),
                };
                match change {
                    TracepointChange::Gone => write!(f, "{what} {are} gone"),
                    TracepointChange::New => write!(f, "{what} {are} new"),
                    TracepointChange::Fields { old, new } => {
                        write!(f, "{what} {have} other fields")?;
                        for field in old {
                            write!(f, "\n  - {}", Shown(field))?;
                        }
                        for field in new {
                            write!(f, "\n  + {}", Shown(field))?;
                        }
                        Ok(())
                    }
                }
            }
            Change::Feature { feature, old, new } => write!(f, "{feature}: {old} -> {new}"),
        }
    }
}

/// Scenarios of one tracer.
struct Scenarios<'a>(&'a [String]);

impl fmt::Display for Scenarios<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0.first().and_then(|first| Scenario::by_id(first));
        match first.map_or(0, |first| first.tracer.scenarios().count()) {
            1 => f.write_str(&self.0.join(", ")),
            all if all == self.0.len() => f.write_str("all scenarios"),
            _ => f.write_str(&self.0.join(", ")),
        }
    }
}

fn place(field: &Field) -> String {
    match field.bit {
        0 => field.offset.to_string(),
        bit => format!("{}:{bit}", field.offset),
    }
}

struct Shown<'a>(&'a TracepointField);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TracepointField { name, type_name, offset, size } = self.0;
        write!(f, "{type_name} {name} at {offset}, {size} bytes")
    }
}
