//! Anybody's objects, step by step, with the errors that Aya gives.

use std::{error::Error, fs, io};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::MapError,
    programs::{
        Program, ProgramError,
        uprobe::{UProbeAttachLocation, UProbeScope},
    },
};
use kernlab_core::{elf::file_offset, section::Place};

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The number of the error, if there is one.
    pub errno: Option<i32>,
    /// Aya's words.
    pub message: String,
}

/// An object that Aya has read, and whose maps it has created. Dropping it unloads everything.
#[derive(Debug)]
pub struct AnyObject {
    ebpf: Ebpf,
    btf: Option<Btf>,
}

/// Aya tries the kernel once, whenever it first wants to know what it can do: now.
pub fn try_features() {
    let _ = aya::features();
}

impl AnyObject {
    /// Reads an object, relocates it and creates its maps; type information comes from `btf` instead of
    /// from the kernel, if that is there.
    pub fn open(bytes: &[u8], btf: Option<&[u8]>) -> Result<Self, StepFailure> {
        let btf = match btf {
            Some(bytes) => Some(
                Btf::parse(bytes, aya::Endianness::default()).map_err(|error| failure(&error))?,
            ),
            None => Btf::from_sys_fs().ok(),
        };
        let ebpf =
            EbpfLoader::new().btf(btf.as_ref()).load(bytes).map_err(|error| failure(&error))?;
        Ok(AnyObject { ebpf, btf })
    }

    /// The names of its programs.
    pub fn programs(&self) -> Vec<String> {
        self.ebpf.programs().map(|(name, _)| name.to_owned()).collect()
    }

    /// Loads a program, which belongs to `place`.
    pub fn load(&mut self, program: &str, place: Option<&Place>) -> Result<(), StepFailure> {
        let btf = self.btf.as_ref();
        let program = self.ebpf.program_mut(program).ok_or_else(no_program)?;
        let target = || match place {
            Some(
                Place::BtfTracepoint(name)
                | Place::FunctionEntry(name)
                | Place::FunctionExit(name)
                | Place::SecurityHook(name)
                | Place::Iterator(name),
            ) => btf.map(|btf| (name.as_str(), btf)).ok_or(Lacking::Btf),
            _ => Err(Lacking::Place),
        };
        let result = match program {
            Program::KProbe(program) => program.load(),
            Program::UProbe(program) => program.load(),
            Program::TracePoint(program) => program.load(),
            Program::SocketFilter(program) => program.load(),
            Program::ReusePortSocketFilter(program) => program.load(),
            Program::Xdp(program) => program.load(),
            Program::SkMsg(program) => program.load(),
            Program::SkSkb(program) => program.load(),
            Program::CgroupSockAddr(program) => program.load(),
            Program::SockOps(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            Program::CgroupSkb(program) => program.load(),
            Program::CgroupSysctl(program) => program.load(),
            Program::CgroupSockopt(program) => program.load(),
            Program::LircMode2(program) => program.load(),
            Program::PerfEvent(program) => program.load(),
            Program::RawTracePoint(program) => program.load(),
            Program::FlowDissector(program) => program.load(),
            Program::SkLookup(program) => program.load(),
            Program::SkReuseport(program) => program.load(),
            Program::CgroupSock(program) => program.load(),
            Program::CgroupDevice(program) => program.load(),
            Program::Lsm(program) => target().map(|(name, btf)| program.load(name, btf))?,
            Program::LsmCgroup(program) => target().map(|(name, btf)| program.load(name, btf))?,
            Program::BtfTracePoint(program) => {
                target().map(|(name, btf)| program.load(name, btf))?
            }
            Program::FEntry(program) => target().map(|(name, btf)| program.load(name, btf))?,
            Program::FExit(program) => target().map(|(name, btf)| program.load(name, btf))?,
            Program::Iter(program) => target().map(|(name, btf)| program.load(name, btf))?,
            Program::Extension(_) => return Err(Lacking::Place.into()),
        };
        result.map_err(|error| program_failure(&error))
    }

    /// Attaches a program that is loaded to `place`; false if Aya can't attach it there by what a
    /// section says. It stays attached until it is [unloaded](Self::unload).
    pub fn attach(&mut self, program: &str, place: &Place) -> Result<bool, StepFailure> {
        let program = self.ebpf.program_mut(program).ok_or_else(no_program)?;
        let result = match (program, place) {
            (Program::KProbe(program), Place::Kprobe(function) | Place::Kretprobe(function)) => {
                let (function, offset) = at_offset(function);
                program.attach(function, offset).map(drop)
            }
            (Program::TracePoint(program), Place::Tracepoint { category, name }) => {
                program.attach(category, name).map(drop)
            }
            (Program::RawTracePoint(program), Place::RawTracepoint(name)) => {
                program.attach(name).map(drop)
            }
            (Program::UProbe(program), Place::UserFunction { binary, function, .. }) => {
                let (symbol, offset) = at_offset(function);
                let executable = fs::read(binary).map_err(|error| failure(&error))?;
                let start = file_offset(&executable, symbol).map_err(|error| StepFailure {
                    errno: Some(NO_ENTRY),
                    message: error.to_string(),
                })?;
                let location = UProbeAttachLocation::AbsoluteOffset(start + offset);
                program.attach(location, binary, UProbeScope::AllProcesses).map(drop)
            }
            (Program::BtfTracePoint(program), _) => program.attach().map(drop),
            (Program::FEntry(program), _) => program.attach().map(drop),
            (Program::FExit(program), _) => program.attach().map(drop),
            (Program::Lsm(program), _) => program.attach().map(drop),
            (Program::Iter(program), _) => program.attach().map(drop),
            _ => return Ok(false),
        };
        result.map(|()| true).map_err(|error| program_failure(&error))
    }

    /// Detaches a program and unloads it, if it is loaded.
    pub fn unload(&mut self, program: &str) {
        if let Some(program) = self.ebpf.program_mut(program) {
            unload(program);
        }
    }
}

/// What was never loaded can't be unloaded: that error says nothing.
fn unload(program: &mut Program) {
    let _ = match program {
        Program::KProbe(program) => program.unload(),
        Program::UProbe(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        Program::SocketFilter(program) => program.unload(),
        Program::ReusePortSocketFilter(program) => program.unload(),
        Program::Xdp(program) => program.unload(),
        Program::SkMsg(program) => program.unload(),
        Program::SkSkb(program) => program.unload(),
        Program::CgroupSockAddr(program) => program.unload(),
        Program::SockOps(program) => program.unload(),
        Program::SchedClassifier(program) => program.unload(),
        Program::CgroupSkb(program) => program.unload(),
        Program::CgroupSysctl(program) => program.unload(),
        Program::CgroupSockopt(program) => program.unload(),
        Program::LircMode2(program) => program.unload(),
        Program::PerfEvent(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        Program::FlowDissector(program) => program.unload(),
        Program::SkLookup(program) => program.unload(),
        Program::SkReuseport(program) => program.unload(),
        Program::CgroupSock(program) => program.unload(),
        Program::CgroupDevice(program) => program.unload(),
        Program::Lsm(program) => program.unload(),
        Program::LsmCgroup(program) => program.unload(),
        Program::BtfTracePoint(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::Iter(program) => program.unload(),
        Program::Extension(program) => program.unload(),
    };
}

/// `ENOENT`
const NO_ENTRY: i32 = 2;

/// `ESRCH`, with which libbpf answers if the kernel has no type information.
const NO_BTF: i32 = 3;

/// What a program needs to be loaded, and isn't there.
enum Lacking {
    Btf,
    Place,
}

impl From<Lacking> for StepFailure {
    fn from(lacking: Lacking) -> Self {
        match lacking {
            Lacking::Btf => StepFailure {
                errno: Some(NO_BTF),
                message: "the kernel's type information can't be read".to_owned(),
            },
            Lacking::Place => StepFailure {
                errno: None,
                message: "its section does not say what it is for".to_owned(),
            },
        }
    }
}

/// A function, and how many bytes after its begin.
fn at_offset(function: &str) -> (&str, u64) {
    let parse = |offset: &str| match offset.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => offset.parse().ok(),
    };
    let split = function.split_once('+').and_then(|(name, offset)| Some((name, parse(offset)?)));
    split.unwrap_or((function, 0))
}

fn no_program() -> StepFailure {
    StepFailure { errno: None, message: "the object has no such program".to_owned() }
}

fn program_failure(error: &ProgramError) -> StepFailure {
    match error {
        // Its own message repeats the verifier's log.
        ProgramError::LoadError { io_error, .. } => failure(io_error),
        ProgramError::SyscallError(error) => {
            let mut failure = failure(error);
            failure.errno = error.io_error.raw_os_error();
            failure
        }
        ProgramError::IOError(error) => failure(error),
        error => failure(error),
    }
}

/// The words of an error and of what caused it, and the first number among them.
fn failure(error: &(dyn Error + 'static)) -> StepFailure {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        causes.push(error);
        next = error.source();
    }
    let errno = causes.iter().find_map(|error| {
        let map = error.downcast_ref::<MapError>().and_then(|error| match error {
            MapError::CreateError { io_error, .. } => io_error.raw_os_error(),
            _ => None,
        });
        map.or_else(|| error.downcast_ref::<io::Error>()?.raw_os_error())
    });
    let mut words: Vec<String> = Vec::new();
    for cause in causes {
        let cause = cause.to_string();
        // Some of Aya's errors repeat their cause.
        if words.last().is_none_or(|words| !words.ends_with(&cause)) {
            words.push(cause);
        }
    }
    StepFailure { errno, message: words.join(": ") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("open", ("open", 0))]
    #[case("open+4", ("open", 4))]
    #[case("open+0x10", ("open", 16))]
    #[case("operator+", ("operator+", 0))]
    fn a_function_may_have_an_offset(#[case] function: &str, #[case] expected: (&str, u64)) {
        assert_eq!(at_offset(function), expected);
    }
}
