//! With Aya, which creates all maps when it opens an object, and loads programs one by one.

use std::fs;

use anyhow::{Context as _, Result};
use kernlab_aya::any_object::{AnyObject, StepFailure, try_features};
use kernlab_core::{
    bpf::map_type_name,
    object_record::{Call, MapRecord, ObjectRecord, ProgramRecord},
};

use super::{
    Circumstances, Failure, NO_ATTACH_POINT, NOT_ASKED, Question, Subject, created, map_record,
    watch::{Watched, watch},
};

pub(super) fn fill(
    mut record: ObjectRecord,
    question: &Question<'_>,
    circumstances: &Circumstances,
) -> Result<ObjectRecord> {
    let btf = question
        .btf
        .map(|path| fs::read(path).with_context(|| format!("reading {}", path.display())));
    let btf = btf.transpose()?;
    try_features();
    let (object, calls) = watch(|| AnyObject::open(question.bytes, btf.as_deref()));
    record.maps = map_records(&calls);
    let mut object = match object {
        Ok(object) => object,
        Err(error) => {
            let all = Subject::new(String::new(), String::new(), circumstances);
            let mut error = all.error(error.into(), &calls);
            if error.call == Call::Loader {
                error.call = Call::Open;
            }
            record.error = Some(error);
            return Ok(record);
        }
    };
    record.unrelocated = !circumstances.has_btf && !circumstances.needs.fields.is_empty();
    let mut names = object.programs();
    names.sort();
    record.programs = names
        .into_iter()
        .map(|name| program(&mut object, name, question.attach, circumstances))
        .collect();
    Ok(record)
}

fn program(
    object: &mut AnyObject,
    name: String,
    attach: bool,
    circumstances: &Circumstances,
) -> ProgramRecord {
    let known = circumstances.needs.programs.iter().find(|program| program.name == name);
    let section = known.map(|program| program.section.clone()).unwrap_or_default();
    let mut subject = Subject::new(name.clone(), section, circumstances);
    let place = subject.place.clone();
    let (result, calls) = watch(|| object.load(&name, place.as_ref()));
    let is_loaded = result.is_ok();
    subject.loaded(result.map_err(Failure::from), &calls);
    match place {
        _ if !is_loaded => {}
        _ if !attach => subject.not_attached(NOT_ASKED),
        None => subject.not_attached(NO_ATTACH_POINT),
        Some(place) => {
            let (result, calls) = watch(|| object.attach(&name, &place));
            match result {
                Ok(false) => {
                    subject.not_attached("not attached: Aya can't attach it by its section")
                }
                result => subject.attached(result.map(drop).map_err(Failure::from), &calls),
            }
        }
    }
    object.unload(&name);
    subject.record
}

fn map_records(calls: &[Watched]) -> Vec<MapRecord> {
    let mut records = Vec::<MapRecord>::new();
    let creations = calls.iter().filter(|call| call.call == Call::MapCreate && call.is_of_object());
    for call in creations {
        if records.iter().all(|record| record.name != call.name) {
            let create = created(calls.iter().filter(|it| it.name == call.name));
            records.push(map_record(call.name.clone(), &map_type_name(call.kind), create));
        }
    }
    records
}

impl From<StepFailure> for Failure {
    fn from(StepFailure { errno, message }: StepFailure) -> Self {
        Failure { errno, message }
    }
}
