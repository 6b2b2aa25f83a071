//! With libbpf: the object is opened again for each program, so that one that is refused hides no other.

use std::io;

use kernlab_core::{
    bpf::{map_type_name, program_type_name},
    object_record::{Call, MapRecord, ObjectRecord, ProgramRecord, Step, StepError},
};
use kernlab_libbpf::any_object::{AnyObject, MapHeading, ProgramHeading, take_warnings};
use nix::errno::Errno;

use super::{
    Circumstances, Failure, NO_ATTACH_POINT, NOT_ASKED, Question, Subject, created, map_record,
    watch::watch,
};

pub(super) fn fill(
    mut record: ObjectRecord,
    question: &Question<'_>,
    circumstances: &Circumstances,
) -> ObjectRecord {
    let object = match open(question) {
        Ok(object) => object,
        Err(error) => {
            record.error = Some(error);
            return record;
        }
    };
    let (programs, maps) = (object.programs(), object.maps());
    drop(object);
    record.maps = map_records(maps, question);
    record.programs =
        programs.into_iter().map(|heading| program(heading, question, circumstances)).collect();
    record.together = open(question).ok().map(|mut object| {
        let (result, calls) = watch(|| object.load());
        let all = Subject::new(String::new(), String::new(), circumstances);
        Step::of(result.map_err(|error| all.error(failure(&error), &calls)))
    });
    record
}

/// `BPF_PROG_TYPE_UNSPEC`: libbpf doesn't know the section.
const UNSPECIFIED: u32 = 0;

fn open(question: &Question<'_>) -> Result<AnyObject, StepError> {
    AnyObject::open(question.bytes, question.btf).map_err(|error| {
        let Failure { errno, message } = failure(&error);
        StepError { call: Call::Open, errno, message }
    })
}

fn program(
    heading: ProgramHeading,
    question: &Question<'_>,
    circumstances: &Circumstances,
) -> ProgramRecord {
    let ProgramHeading { name, section, program_type } = heading;
    let mut subject = Subject::new(name.clone(), section, circumstances);
    if program_type != UNSPECIFIED {
        subject.record.program_type = program_type_name(program_type);
    }
    let mut object = match open(question) {
        Ok(object) => object,
        Err(error) => {
            subject.record.open = Step::Failed(error);
            return subject.record;
        }
    };
    object.load_only(Some(&name));
    let (result, mut calls) = watch(|| object.prepare());
    let result = result.and_then(|()| {
        let (result, loads) = watch(|| object.load());
        calls.extend(loads);
        result
    });
    let is_loaded = result.is_ok();
    subject.loaded(result.map_err(|error| failure(&error)), &calls);
    if !is_loaded {
        return subject.record;
    }
    if !question.attach {
        subject.not_attached(NOT_ASKED);
        return subject.record;
    }
    let (result, calls) = watch(|| object.attach(&name));
    match result {
        Err(error)
            if subject.place.is_none()
                && error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) =>
        {
            subject.not_attached(NO_ATTACH_POINT);
        }
        result => subject.attached(result.map(drop).map_err(|error| failure(&error)), &calls),
    }
    subject.record
}

/// Creates all maps without a program; if one is refused, each by itself.
fn map_records(maps: Vec<MapHeading>, question: &Question<'_>) -> Vec<MapRecord> {
    let calls_of = |only: Option<&str>| {
        let Ok(mut object) = open(question) else { return (false, Vec::new()) };
        object.load_only(None);
        if let Some(only) = only {
            object.create_only(only);
        }
        let (result, calls) = watch(|| object.prepare());
        (result.is_ok(), calls)
    };
    let (all_created, _) = calls_of(None);
    let record = |MapHeading { name, map_type }: MapHeading| {
        let create = match all_created {
            true => Some(Step::Done),
            false => created(calls_of(Some(&name)).1.iter()),
        };
        map_record(name, &map_type_name(map_type), create)
    };
    maps.into_iter().map(record).collect()
}

/// An error with what libbpf said about it.
fn failure(error: &io::Error) -> Failure {
    const LONGEST: usize = 4 << 10;
    let warnings = take_warnings();
    // The verifier's log is kept elsewhere.
    let mut in_log = false;
    let lines = warnings.lines().filter(|line| {
        in_log |= line.contains("-- BEGIN PROG LOAD LOG --");
        let shown = !in_log;
        in_log &= !line.contains("-- END PROG LOAD LOG --");
        shown
    });
    let mut message = lines.collect::<Vec<_>>().join("\n");
    message.truncate(message.floor_char_boundary(LONGEST));
    if message.is_empty() {
        message = error.to_string();
    }
    Failure { errno: error.raw_os_error(), message }
}
