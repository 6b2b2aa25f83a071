//! Where programs go.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::facts::Dependency;

/// A program and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachPoint {
    /// The program's name, the same in the C and the Rust object.
    pub program: String,
    /// The place.
    pub target: Target,
}

/// A place that a program can be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The tracepoint `category:name`.
    Tracepoint {
        /// `syscalls`, for example.
        category: String,
        /// `sys_enter_write`, for example.
        name: String,
    },
    /// The entry of a kernel function.
    Kprobe {
        /// As in `/proc/kallsyms`.
        symbol: String,
    },
    /// The return from a kernel function.
    Kretprobe {
        /// As in `/proc/kallsyms`.
        symbol: String,
    },
    /// The entry of a function in user space.
    Uprobe(UserFunction),
    /// The return from a function in user space.
    Uretprobe(UserFunction),
}

/// A function of an executable file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFunction {
    /// The file, absolute.
    pub binary: String,
    /// As in its symbol table.
    pub symbol: String,
}

/// A tracepoint of a system call.
pub(crate) fn tracepoint(program: &str, name: &str) -> AttachPoint {
    let target = Target::Tracepoint { category: "syscalls".to_owned(), name: name.to_owned() };
    AttachPoint { program: program.to_owned(), target }
}

pub(crate) fn kprobe(program: &str, symbol: &str) -> AttachPoint {
    let target = Target::Kprobe { symbol: symbol.to_owned() };
    AttachPoint { program: program.to_owned(), target }
}

pub(crate) fn kretprobe(program: &str, symbol: &str) -> AttachPoint {
    let target = Target::Kretprobe { symbol: symbol.to_owned() };
    AttachPoint { program: program.to_owned(), target }
}

impl Target {
    /// What a plan relies on that attaches a program here. The arguments of what is probed are relied on,
    /// whether or not the plan asks for them.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        match self {
            Target::Kprobe { symbol } | Target::Kretprobe { symbol } => {
                vec![Dependency::Symbol(symbol.clone()), Dependency::Prototype(symbol.clone())]
            }
            Target::Tracepoint { name, .. } => vec![Dependency::Tracepoint(name.clone())],
            Target::Uprobe(_) | Target::Uretprobe(_) => vec![],
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tracepoint { category, name } => write!(f, "tracepoint {category}:{name}"),
            Target::Kprobe { symbol } => write!(f, "kprobe {symbol}"),
            Target::Kretprobe { symbol } => write!(f, "kretprobe {symbol}"),
            Target::Uprobe(function) => write!(f, "uprobe {function}"),
            Target::Uretprobe(function) => write!(f, "uretprobe {function}"),
        }
    }
}

impl fmt::Display for UserFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.binary, self.symbol)
    }
}
