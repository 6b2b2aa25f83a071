//! What BPF objects and names need, and whether each kernel has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use kernlab_core::{
    dossier::{
        Dossier,
        diff::Whole,
        missing::{KnownKernel, Need, State, needed},
    },
    needs::{embedded_objects, of_object},
    section::Place,
};
use kernlab_kernels::chain;
use serde::Serialize;

use crate::failure::Failure;

/// What is asked about.
pub(super) struct Subject {
    /// `opensnoop.bpf.o`, or `opensnoop, object at byte 4096`.
    title: String,
    needs: BTreeMap<Need, BTreeSet<String>>,
}

/// What each kernel has of a subject.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    subject: String,
    needs: Vec<Row>,
}

/// What each kernel has of one thing.
#[derive(Debug, Serialize)]
struct Row {
    need: String,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    programs: BTreeSet<String>,
    optional: bool,
    kernels: BTreeMap<String, State>,
}

/// The objects of a file: the file itself, or those that a program embeds.
pub(super) fn of_file(path: &Path) -> Result<Vec<Subject>, Failure> {
    let name = path.display();
    let file =
        fs::read(path).map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    let objects = embedded_objects(&file);
    if objects.is_empty() {
        return Err(Failure::usage(format!(
            "{name} is not a BPF object, and has none in it that is neither compressed nor encoded"
        )));
    }
    let subject = |(at, object): &(usize, Vec<u8>)| {
        let title = match at {
            0 => name.to_string(),
            at => format!("{name}, object at byte {at}"),
        };
        let needs = of_object(object)
            .map_err(|error| Failure::usage(format!("cannot read {title}: {}", chain(&error))))?;
        Ok(Subject { title, needs: needed(&needs) })
    };
    objects.iter().map(subject).collect()
}

/// Names: of a function, of a tracepoint (`sched:sched_switch`), or of a field (`file.f_op`).
pub(super) fn of_names(names: &[String]) -> Subject {
    let need = |name: &String| {
        if let Some((category, name)) = name.split_once(':') {
            return Need::Place(Place::Tracepoint {
                category: category.to_owned(),
                name: name.to_owned(),
            });
        }
        match name.split_once('.') {
            Some((structure, field)) => Need::Field {
                structure: structure.to_owned(),
                field: field.to_owned(),
                optional: false,
            },
            None => Need::Function(name.clone()),
        }
    };
    let needs = names.iter().map(|name| (need(name), BTreeSet::new())).collect();
    Subject { title: "names".to_owned(), needs }
}

/// Asks each kernel.
pub(super) fn answer(subject: &Subject, kernels: &BTreeMap<String, (Dossier, Whole)>) -> Answer {
    let row = |(need, programs): (&Need, &BTreeSet<String>)| {
        let state = |(id, (dossier, whole)): (&String, &(Dossier, Whole))| {
            (id.clone(), KnownKernel { dossier, whole: Some(whole) }.state(need))
        };
        Row {
            need: need.to_string(),
            programs: programs.clone(),
            optional: matches!(need, Need::Field { optional: true, .. }),
            kernels: kernels.iter().map(state).collect(),
        }
    };
    Answer { subject: subject.title.clone(), needs: subject.needs.iter().map(row).collect() }
}

/// What each kernel lacks comes last.
pub(super) fn render(Answer { subject, needs }: &Answer) -> String {
    let mut text = format!("\n{subject}\n");
    for row in needs {
        text += &render_row(row);
    }
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in needs.iter().filter(|row| !row.optional) {
        for (kernel, state) in &row.kernels {
            let list = match state {
                State::Present(_) => continue,
                State::Missing(_) => &mut missing,
                State::Unknown(_) => &mut unknown,
            };
            list.entry(kernel).or_default().push(&row.need);
        }
    }
    for (title, lists) in [("missing", missing), ("unknown", unknown)] {
        for (kernel, names) in lists {
            text += &format!("  {title} on {kernel}: {}\n", names.join(", "));
        }
    }
    text
}

/// One line where all kernels agree, else one for each state.
fn render_row(Row { need, programs, kernels, .. }: &Row) -> String {
    let programs = match programs.iter().map(String::as_str).collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        some => format!(" ({})", some.join(", ")),
    };
    let mut states: BTreeMap<&State, Vec<&str>> = BTreeMap::new();
    for (kernel, state) in kernels {
        states.entry(state).or_default().push(kernel);
    }
    if let (1, Some((state, _))) = (states.len(), states.first_key_value()) {
        return format!("  {need}{programs}: {state}\n");
    }
    let mut text = format!("  {need}{programs}:\n");
    for (state, kernels) in states {
        text += &format!("    {}: {state}\n", kernels.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(need: &str, programs: &[&str], kernels: &[(&str, State)]) -> Row {
        Row {
            need: need.to_owned(),
            programs: programs.iter().map(ToString::to_string).collect(),
            optional: false,
            kernels: kernels.iter().map(|(id, state)| ((*id).to_owned(), state.clone())).collect(),
        }
    }

    #[test]
    fn kernels_with_the_same_answer_share_a_line() {
        let present = || State::Present(String::new());
        let missing = || State::Missing("there is no such function".to_owned());
        let mut optional = row("field a.b", &[], &[("5.10", missing()), ("6.1", present())]);
        optional.optional = true;
        let answer = Answer {
            subject: "it.bpf.o".to_owned(),
            needs: vec![
                row("kprobe f", &["on_f"], &[("5.10", present()), ("6.1", present())]),
                row("kprobe g", &["on_g", "on_g_too"], &[("5.10", present()), ("6.1", missing())]),
                optional,
            ],
        };
        assert_eq!(
            render(&answer),
            "\nit.bpf.o\n  kprobe f (on_f): present\n  kprobe g (on_g, on_g_too):\n    \
             5.10: present\n    6.1: missing: there is no such function\n  field a.b:\n    \
             6.1: present\n    5.10: missing: there is no such function\n  missing on 6.1: kprobe g\n"
        );
    }

    #[test]
    fn a_name_tells_what_it_names() {
        let names = ["vfs_open", "sched:sched_switch", "file.f_op"].map(str::to_owned);
        let needs: Vec<_> = of_names(&names).needs.keys().map(ToString::to_string).collect();
        assert_eq!(
            needs,
            ["tracepoint sched:sched_switch", "function vfs_open", "field file.f_op"]
        );
    }
}
