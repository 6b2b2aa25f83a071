//! The table of a suite.

use std::{
    collections::BTreeMap,
    path::{Component, PathBuf},
    time::Duration,
};

use kernlab_core::cell::BtfMode;
use kernlab_kernels::DocumentError;

use super::{
    field::{Field, Table},
    guest, matching,
};
use crate::suite::{
    condition::{Condition, Stream},
    manifest::{
        Assertion, CargoTests, Command, FieldRule, Normalise, ObjectSubject, Pattern, Ready, Stop,
        Subject, Suite, check_name, suite::signal_of,
    },
    spelling::nearest,
};

pub(super) const SUITE: &[&str] = &[
    "name",
    "run",
    "bpftrace",
    "object",
    "cargo-test",
    "attach",
    "insns",
    "setup",
    "ready",
    "workload",
    "stop",
    "timeout",
    "exit",
    "user",
    "env",
    "files",
    "collect",
    "root",
    "guest",
    "btf",
    "normalise",
    "replace",
    "events",
    "golden",
    "order",
    "lost",
    "assert",
    "expect",
];
pub(super) const READY: &[&str] = &["stdout", "stderr", "programs"];
pub(super) const STOP: &[&str] = &["signal", "within"];
pub(super) const CARGO: &[&str] =
    &["package", "test", "features", "release", "manifest", "target", "args"];
pub(super) const INSTRUCTIONS: &[&str] = &["max", "growth"];
/// Nobody waits longer for a suite, in seconds.
const LONGEST: u32 = 24 * 60 * 60;

/// Reads a suite, whose name must not be among `names`. With cargo's tests, it is what they have in
/// common.
pub(super) fn suite(
    field: Field<'_>,
    rules: &BTreeMap<String, FieldRule>,
    names: &mut Vec<String>,
) -> Result<(Suite, Option<CargoTests>), DocumentError> {
    let mut table = field.table(SUITE)?;
    let name = table.need("name", |field| {
        let name = field.clone().text()?;
        check_name(&name).map_err(|why| field.invalid(why))?;
        if names.contains(&name) {
            return Err(field.invalid(format!("there is another suite {name:?} above")));
        }
        Ok(name)
    })?;
    names.push(name.clone());
    let (subject, tests) = subject(&mut table)?;
    match tests {
        Some(_) => check_that_keys_fit_tests(&table)?,
        None => check_that_keys_fit(&subject, &table)?,
    }
    let mut suite = Suite::of(name, subject);
    suite.setup = table.read("setup", Field::texts)?.unwrap_or_default();
    suite.ready = table.read("ready", ready)?;
    suite.workload = table.read("workload", command)?;
    suite.stop = table.read("stop", stop)?.unwrap_or_default();
    if let Some(timeout) = table.read("timeout", seconds)? {
        suite.timeout = timeout;
    }
    suite.exit = table.read("exit", |field| field.count(0..=255))?.map(|code| code as i32);
    suite.user = table.read("user", guest::user)?;
    suite.env = table.read("env", guest::environment)?.unwrap_or_default();
    suite.files = table.read("files", guest::files)?.unwrap_or_default();
    suite.collect = table
        .read("collect", |field| field.list("a list of paths", guest::absolute))?
        .unwrap_or_default();
    suite.root = table.read("root", Field::text)?.map(Into::into);
    suite.guest = table.read("guest", guest::guest)?.unwrap_or_default();
    suite.btf = table.read("btf", modes)?.unwrap_or_default();
    let fields = matching::field_rules(table.take("normalise"), rules.clone())?;
    let is_shared = |name: &&String| rules.get(*name) == fields.get(*name);
    suite.normalise = Normalise {
        shared: fields.keys().filter(is_shared).cloned().collect(),
        fields,
        replace: table.read("replace", matching::replacements)?.unwrap_or_default(),
    };
    suite.events = table.read("events", |field| field.parse(Condition::parse))?;
    suite.golden = table.read("golden", golden)?;
    suite.order = table.read("order", |field| field.parse(matching::order))?.unwrap_or_default();
    suite.lost = table.read("lost", matching::lost)?;
    suite.assertions = table
        .read("assert", |field| {
            field.list("a list of assertions", |item| item.parse(Assertion::parse))
        })?
        .unwrap_or_default();
    suite.expect = table
        .read("expect", |field| field.list("`[[suite.expect]]` tables", matching::expectation))?
        .unwrap_or_default();
    Ok((suite, tests))
}

/// A path below the directory of the file: `--update-snapshots` writes there.
fn golden(field: Field<'_>) -> Result<PathBuf, DocumentError> {
    let whole = field.clone();
    let path = PathBuf::from(field.text()?);
    let mut depth = 0_i32;
    for part in path.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => depth = i32::MIN / 2,
        }
        if depth < 0 {
            break;
        }
    }
    if depth <= 0 {
        return Err(whole.invalid("expected a file below the directory of this file"));
    }
    Ok(path)
}

/// What is tested. With cargo's tests, nothing yet.
fn subject(table: &mut Table<'_>) -> Result<(Subject, Option<CargoTests>), DocumentError> {
    let (name, field) = table.one_of(&["run", "bpftrace", "object", "cargo-test"])?;
    let subject = match name {
        "run" => command(field).map(Subject::Run),
        "bpftrace" => Ok(Subject::Bpftrace(field.text()?.into())),
        "cargo-test" => {
            let nothing = Subject::Run(Command::Argv(Vec::new()));
            return Ok((nothing, Some(cargo_tests(field)?)));
        }
        _ => {
            let (max_instructions, max_growth_percent) =
                table.read("insns", instructions)?.unwrap_or_default();
            Ok(Subject::Object(ObjectSubject {
                path: field.text()?.into(),
                attach: table.read("attach", Field::boolean)?.unwrap_or(false),
                max_instructions,
                max_growth_percent,
            }))
        }
    };
    Ok((subject?, None))
}

fn cargo_tests(field: Field<'_>) -> Result<CargoTests, DocumentError> {
    let mut table = field.table(CARGO)?;
    let mut texts = |name| table.read(name, texts).map(Option::unwrap_or_default);
    Ok(CargoTests {
        packages: texts("package")?,
        tests: texts("test")?,
        features: texts("features")?,
        args: texts("args")?,
        release: table.read("release", Field::boolean)?.unwrap_or(false),
        manifest: table.read("manifest", Field::text)?.map(Into::into),
        target: table.read("target", Field::text)?,
    })
}

/// One text or a list of texts.
fn texts(field: Field<'_>) -> Result<Vec<String>, DocumentError> {
    match field.is_text() {
        true => field.text().map(|text| vec![text]),
        false => field.texts(),
    }
}

/// Refuses keys that would have no effect on cargo's tests.
fn check_that_keys_fit_tests(table: &Table<'_>) -> Result<(), DocumentError> {
    const TRACER: [&str; 11] = [
        "ready",
        "workload",
        "stop",
        "exit",
        "normalise",
        "replace",
        "events",
        "golden",
        "order",
        "lost",
        "assert",
    ];
    for key in TRACER {
        table.refuse(
            key,
            "a test of `cargo-test` judges itself: its exit code and its harness say so",
        )?;
    }
    for key in ["attach", "insns"] {
        table.refuse(key, "this is for an `object`, and the suite has none")?;
    }
    Ok(())
}

/// Refuses keys that would have no effect.
fn check_that_keys_fit(subject: &Subject, table: &Table<'_>) -> Result<(), DocumentError> {
    const OUTPUT: [&str; 8] =
        ["golden", "events", "order", "normalise", "replace", "lost", "assert", "exit"];
    const PROCESS: [&str; 4] = ["ready", "stop", "user", "env"];
    match subject {
        Subject::Object(_) => {
            for key in OUTPUT {
                table.refuse(
                    key,
                    "an `object` is not a program: it prints nothing and has no exit code",
                )?;
            }
            for key in PROCESS {
                table.refuse(key, "an `object` is not a program: the lab loads it")?;
            }
            table.refuse(
                "workload",
                "the lab only loads an `object`, and attaches it if `attach` says so: a loader of yours \
                 (`run`) keeps it attached while a workload runs",
            )?;
        }
        Subject::Run(_) | Subject::Bpftrace(_) => {
            for key in ["attach", "insns"] {
                table.refuse(key, "this is for an `object`, and the suite has none")?;
            }
            if !table.has("workload") {
                let why =
                    "the workload starts when the tracer is ready, and the suite has no `workload`";
                table.refuse("ready", why)?;
                let why = "the tracer is stopped after the workload, and the suite has no `workload`: it \
                           ends when the tracer does";
                table.refuse("stop", why)?;
            }
        }
    }
    Ok(())
}

fn command(field: Field<'_>) -> Result<Command, DocumentError> {
    if field.is_list() {
        return field.arguments().map(Command::Argv);
    }
    if field.is_text() {
        return field.text().map(Command::Shell);
    }
    // Not a list: an error that names both.
    field.arguments().map(Command::Argv)
}

fn ready(field: Field<'_>) -> Result<Ready, DocumentError> {
    let mut table = field.table(READY)?;
    let (name, field) = table.one_of(&["stdout", "stderr", "programs"])?;
    match name {
        "stdout" => field.parse(Pattern::new).map(Ready::Stdout),
        "stderr" => field.parse(Pattern::new).map(Ready::Stderr),
        _ => field.count(1..=10_000).map(Ready::Programs),
    }
}

/// The one stream that a table names, with its pattern.
pub(super) fn stream<'d>(table: &mut Table<'d>) -> Result<(Stream, Field<'d>), DocumentError> {
    let (name, field) = table.one_of(&["stdout", "stderr"])?;
    let stream = if name == "stdout" { Stream::Stdout } else { Stream::Stderr };
    Ok((stream, field))
}

fn stop(field: Field<'_>) -> Result<Stop, DocumentError> {
    let mut table = field.table(STOP)?;
    let mut stop = Stop::default();
    if let Some(signal) = table.read("signal", |field| field.parse(signal))? {
        stop.signal = signal;
    }
    if let Some(within) = table.read("within", seconds)? {
        stop.within = within;
    }
    Ok(stop)
}

fn signal(name: &str) -> Result<String, String> {
    if let Some(signal) = signal_of(name) {
        return Ok(signal.as_str().trim_start_matches("SIG").to_owned());
    }
    let names: Vec<&str> = nix::sys::signal::Signal::iterator()
        .map(|signal| &signal.as_str()["SIG".len()..])
        .collect();
    let upper = name.to_uppercase();
    let hint = match nearest(upper.trim_start_matches("SIG"), names) {
        Some(right) => format!("did you mean `{right}`?"),
        None => "expected a name such as `INT` or `TERM`".to_owned(),
    };
    Err(format!("unknown signal `{name}`: {hint}"))
}

fn seconds(field: Field<'_>) -> Result<Duration, DocumentError> {
    field.count(1..=LONGEST).map(|seconds| Duration::from_secs(seconds.into()))
}

fn instructions(field: Field<'_>) -> Result<(Option<u64>, Option<u32>), DocumentError> {
    let mut table = field.table(INSTRUCTIONS)?;
    let max = table.read("max", |field| field.integer(1..=i64::MAX))?;
    let growth = table.read("growth", |field| {
        field.parse(|text| {
            let percent = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
            percent.ok_or_else(|| format!("`{text}` is not a percentage such as \"25%\""))
        })
    })?;
    Ok((max.map(i64::unsigned_abs), growth))
}

fn modes(field: Field<'_>) -> Result<Vec<BtfMode>, DocumentError> {
    let words =
        [BtfMode::Embedded, BtfMode::Masked, BtfMode::Absent].map(|mode| (mode.name(), mode));
    let mut modes = Vec::new();
    field.list("a list of BTF modes", |item| {
        let mode = item.clone().word("BTF mode", &words)?;
        if modes.contains(&mode) {
            return Err(item.invalid(format!("`{mode}` is there twice")));
        }
        modes.push(mode);
        Ok(mode)
    })
}
