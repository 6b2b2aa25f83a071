//! Loads anybody's BPF object, program by program, and tells what became of each.

mod measure;
mod watch;
mod with_aya;
mod with_libbpf;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use kernlab_core::{
    bpf::{helper_name, helper_number, map_type_number, program_type_name},
    cell::BackendKind,
    facts::ProbeResult,
    needs::{self, Needs},
    object_record::{Call, MapRecord, ObjectRecord, ProgramRecord, Step, StepError},
    section::{Place, Section},
};
use nix::errno::Errno;

use self::{measure::counts_alone, watch::Watched};
use crate::{facts, trial};

/// What is asked of an object.
pub(crate) struct Question<'a> {
    pub(crate) bytes: &'a [u8],
    /// Type information instead of the kernel's.
    pub(crate) btf: Option<&'a Path>,
    /// Whether programs are attached.
    pub(crate) attach: bool,
}

/// Loads each of the object's programs, attaches it, and unloads it.
pub(crate) fn record(backend: BackendKind, question: &Question<'_>) -> Result<ObjectRecord> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the release")?;
    let circumstances = Circumstances {
        // A loader may read what this doesn't.
        needs: needs::of_object(question.bytes).unwrap_or_default(),
        has_btf: question.btf.is_some() || facts::btf_bytes()?.is_some(),
    };
    let record = empty(backend, release.trim_end().to_owned());
    if let Err(error) = needs::check(question.bytes) {
        return Ok(unopened(record, error.to_string()));
    }
    // Tried before anything is watched.
    let _ = counts_alone();
    let record = match backend {
        BackendKind::Libbpf => with_libbpf::fill(record, question, &circumstances),
        BackendKind::Aya => with_aya::fill(record, question, &circumstances)?,
    };
    Ok(match record.error {
        None if record.programs.is_empty() => unopened(record, "it has no program".to_owned()),
        _ => record,
    })
}

fn empty(backend: BackendKind, release: String) -> ObjectRecord {
    ObjectRecord {
        backend,
        release,
        error: None,
        programs: Vec::new(),
        maps: Vec::new(),
        together: None,
        unrelocated: false,
    }
}

/// The object could not be opened, and no call is to blame.
fn unopened(record: ObjectRecord, message: String) -> ObjectRecord {
    ObjectRecord { error: Some(StepError { call: Call::Open, errno: None, message }), ..record }
}

/// What tells why a step failed.
struct Circumstances {
    needs: Needs,
    /// Whether type information is at hand.
    has_btf: bool,
}

/// A loader's error.
struct Failure {
    errno: Option<i32>,
    message: String,
}

/// A program that is being recorded.
struct Subject<'a> {
    record: ProgramRecord,
    place: Option<Place>,
    circumstances: &'a Circumstances,
}

impl<'a> Subject<'a> {
    fn new(name: String, section: String, circumstances: &'a Circumstances) -> Self {
        let parsed = Section::of(&section);
        let not_reached = || Step::Skipped("an earlier step failed".to_owned());
        let record = ProgramRecord {
            name,
            section,
            program_type: parsed
                .as_ref()
                .map_or("unknown", |parsed| parsed.program_type)
                .to_owned(),
            open: Step::Done,
            load: not_reached(),
            attach: not_reached(),
            verified_instructions: None,
            load_us: None,
            xlated_bytes: None,
            jited_bytes: None,
            verifier_log: None,
            lacking: Vec::new(),
        };
        Subject { record, place: parsed.and_then(|parsed| parsed.place), circumstances }
    }

    /// The object could not be prepared or the program not loaded.
    fn loaded(&mut self, result: Result<(), Failure>, calls: &[Watched]) {
        if let Some(first) = self.loads(calls).next() {
            self.record.program_type = program_type_name(first.kind);
            self.record.load_us = u64::try_from(first.took.as_micros()).ok();
            self.record.verified_instructions = first.measured.verified_instructions;
            self.record.xlated_bytes = first.measured.xlated_bytes;
            self.record.jited_bytes = first.measured.jited_bytes;
        }
        let Err(failure) = result else {
            self.record.load = Step::Done;
            return;
        };
        let error = self.error(failure, calls);
        if error.call == Call::ProgramLoad {
            self.record.verifier_log =
                self.loads(calls).next().and_then(|first| first.measured.log.clone());
        }
        self.record.lacking = self.lacking(&error, calls);
        self.record.load = Step::Failed(error);
    }

    /// The calls that load this program, or any of the object if it stands for all.
    fn loads<'c>(&self, calls: &'c [Watched]) -> impl Iterator<Item = &'c Watched> + use<'c> {
        let name = kept(&self.record.name).to_owned();
        calls.iter().filter(move |call| {
            call.call == Call::ProgramLoad
                && if name.is_empty() { call.is_of_object() } else { call.name == name }
        })
    }

    fn error(&self, failure: Failure, calls: &[Watched]) -> StepError {
        let Failure { errno, message } = failure;
        let map_refused = calls
            .iter()
            .filter(|made| made.call == Call::MapCreate && made.is_of_object())
            .find_map(Watched::errno)
            .filter(|&refused| errno.is_none_or(|errno| refused == errno));
        let last = calls.last().filter(|last| last.call == Call::BtfLoad);
        let needs_btf = self.place.as_ref().is_some_and(Place::needs_btf);
        let (call, errno) = if let Some(refused) = self.loads(calls).find_map(Watched::errno) {
            (Call::ProgramLoad, Some(refused))
        } else if let Some(refused) = map_refused {
            (Call::MapCreate, Some(refused))
        } else if let Some(refused) = last.and_then(Watched::errno) {
            (Call::BtfLoad, Some(refused))
        } else if !self.circumstances.has_btf
            && (needs_btf || !self.circumstances.needs.fields.is_empty())
        {
            (Call::KernelBtf, errno)
        } else if needs_btf {
            (Call::FindTarget, errno)
        } else {
            (Call::Loader, errno)
        };
        StepError { call, errno, message }
    }

    /// What the kernel lacks of what the program needs, tried where the error is one that tells of such.
    fn lacking(&self, error: &StepError, calls: &[Watched]) -> Vec<String> {
        let invalid = error.errno == Some(Errno::EINVAL as i32);
        let mut lacking = Vec::new();
        match error.call {
            Call::MapCreate => {
                let refused = calls.iter().filter(|call| call.call == Call::MapCreate);
                let refused = refused.filter(|call| call.is_of_object() && call.result.is_err());
                lacking.extend(refused.filter_map(|call| lacking_map_type(call.kind)));
                lacking.dedup();
            }
            Call::ProgramLoad if invalid => {
                let programs = &self.circumstances.needs.programs;
                let program = programs.iter().find(|program| program.name == self.record.name);
                let number = self.loads(calls).next().map_or(KPROBE, |call| call.kind);
                let number = if tried_as_kprobe(number) { KPROBE } else { number };
                if !trial::has_free_type(number) {
                    // Nothing can be tried: without more than its type, such a program is refused whatever
                    // it calls. The verifier names a helper, and a kernel without the type has none.
                    lacking.push(match &self.record.verifier_log {
                        None => format!("program type {}", self.record.program_type),
                        Some(log) => match refused_helper(log) {
                            Some(helper) => format!("helper bpf_{helper}"),
                            None => return lacking,
                        },
                    });
                    return lacking;
                }
                if trial::program_type(number) == ProbeResult::No {
                    lacking.push(format!("program type {}", self.record.program_type));
                    return lacking;
                }
                let helpers = program.into_iter().flat_map(|program| &program.helpers);
                let helpers = helpers.filter(|helper| !REPLACED.contains(&helper.as_str()));
                let gone = |helper: &&String| {
                    helper_number(helper)
                        .is_some_and(|helper| trial::helper_of(number, helper) == ProbeResult::No)
                };
                lacking.extend(helpers.filter(gone).map(|helper| format!("helper bpf_{helper}")));
            }
            _ => {}
        }
        lacking
    }

    fn attached(&mut self, result: Result<(), Failure>, calls: &[Watched]) {
        self.record.attach = match result {
            Ok(()) => Step::Done,
            Err(Failure { errno, message }) => {
                let refused = calls.iter().rfind(|call| call.result.is_err());
                let refused =
                    refused.filter(|call| errno.is_none_or(|errno| call.errno() == Some(errno)));
                let call = refused.map_or(Call::Loader, |call| call.call);
                let errno = errno.or_else(|| refused.and_then(Watched::errno));
                Step::Failed(StepError { call, errno, message })
            }
        };
    }

    fn not_attached(&mut self, why: &str) {
        self.record.attach = Step::Skipped(why.to_owned());
    }
}

/// The answer if a section doesn't say where its programs belong.
const NO_ATTACH_POINT: &str = "not attached: its section names no attach point";

/// The answer if nobody asked.
const NOT_ASKED: &str = "not asked for";

/// Helpers that both loaders replace by `bpf_probe_read` where the kernel lacks them.
const REPLACED: [&str; 4] =
    ["probe_read_kernel", "probe_read_user", "probe_read_kernel_str", "probe_read_user_str"];

const KPROBE: u32 = 2;

/// Programs that are only loaded with a place: tracing, struct_ops, ext, lsm. What they may call, kprobe
/// programs may nearly always call as well.
fn tried_as_kprobe(program_type: u32) -> bool {
    (26..=29).contains(&program_type)
}

/// The helper that the verifier says a program may not call, by its number at the end of the line:
/// `check_helper_call`, kernel/bpf/verifier.c. The third wording replaced the second in 6.10.
fn refused_helper(log: &str) -> Option<String> {
    const WORDINGS: [&str; 3] =
        ["invalid func ", "unknown func ", "program of this type cannot use helper "];
    let line = log.lines().find(|line| WORDINGS.iter().any(|it| line.starts_with(it)))?;
    let (_, number) = line.rsplit_once('#')?;
    Some(helper_name(number.trim_end().parse().ok()?))
}

fn lacking_map_type(number: u32) -> Option<String> {
    let name = kernlab_core::bpf::map_type_name(number);
    let known = map_type_number(&name).is_some();
    (known && trial::map_type(number) == ProbeResult::No).then(|| format!("map type {name}"))
}

/// The outcome of a map, if calls for no other map of the object are given.
fn created<'a>(calls: impl Iterator<Item = &'a Watched>) -> Option<Step> {
    // Where it is refused with type information, a loader tries it without.
    let last = calls.filter(|call| call.call == Call::MapCreate && call.is_of_object()).last()?;
    Some(match last.result {
        Ok(_) => Step::Done,
        Err(errno) => Step::Failed(StepError {
            call: Call::MapCreate,
            errno: Some(errno),
            message: Errno::from_raw(errno).desc().to_owned(),
        }),
    })
}

/// As much of a name as the kernel keeps.
fn kept(name: &str) -> &str {
    name.get(..15).unwrap_or(name)
}

fn map_record(name: String, map_type: &str, create: Option<Step>) -> MapRecord {
    let create = create.unwrap_or_else(|| Step::Skipped("an earlier step failed".to_owned()));
    MapRecord { name, map_type: map_type.to_owned(), create }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_names_a_helper() {
        let known = "0: (85) call bpf_loop#181\nunknown func bpf_loop#181\nprocessed 1 insns\n";
        assert_eq!(refused_helper(known).as_deref(), Some("loop"));
        let older_kernel = "0: (85) call unknown#181\ninvalid func unknown#181\n";
        assert_eq!(refused_helper(older_kernel).as_deref(), Some("loop"));
        let newer_words = "program of this type cannot use helper bpf_override_return#58\n";
        assert_eq!(refused_helper(newer_words).as_deref(), Some("override_return"));
        assert_eq!(refused_helper("At program exit the register R0 has value 2\n"), None);
    }

    /// The kernel's names have 16 bytes with the terminator.
    #[test]
    fn a_long_name_is_known_by_what_the_kernel_keeps() {
        assert_eq!(kept("leave_openat_ring"), "leave_openat_ri");
        assert_eq!(kept("fifteen_letters"), "fifteen_letters");
        assert_eq!(kept("short"), "short");
    }
}
