//! Compiles and runs the mutants that `cargo xtask mutants` makes. xtask itself is linked with neither the
//! compiler of BPF programs nor the lab.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use kernlab_core::{
    cell::Cell,
    outcome::{Outcome, Reason},
};
use kernlab_kernels::Kernels;
use kernlab_libbpf::source::{self, Variant};
use kernlab_vmtest::run::{cell::Runner, dir::RunDir, plan::RunPlan};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};
use serde::{Deserialize, Serialize};

/// What is asked for, in the file that `KERNLAB_MUTANT` names.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Job {
    /// Compile C programs in each variant, into the directory of their sources.
    Compile {
        sources: PathBuf,
        tracers: Vec<String>,
        /// With debug information, which a loader needs. It tells lines of the source: objects that are to
        /// be compared have none.
        debug: bool,
    },
    /// Run cells with an object, until one does not pass.
    Run {
        object: PathBuf,
        cells: Vec<String>,
        /// Where their evidence goes.
        scratch: PathBuf,
        /// Run the cells after one that does not pass, too.
        all: bool,
    },
}

/// What came of it, in the file that `KERNLAB_MUTANT_ANSWER` names.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// The objects, by `TRACER.BUFFER.TYPES`: where each is, or what the compiler says.
    Compiled(BTreeMap<String, Result<PathBuf, String>>),
    /// The cells that ran.
    Ran(Vec<Judged>),
}

#[derive(Serialize)]
struct Judged {
    cell: String,
    outcome: Outcome,
    reason: Option<Reason>,
    message: String,
}

#[test]
#[ignore = "`cargo xtask mutants` runs it, with a job"]
fn what_is_asked_for_is_done() {
    let path = |name: &str| PathBuf::from(env::var_os(name).expect("xtask names the job"));
    let job = fs::read(path("KERNLAB_MUTANT")).unwrap();
    let answer = match serde_json::from_slice(&job).unwrap() {
        Job::Compile { sources, tracers, debug } => {
            let mut objects = BTreeMap::new();
            for tracer in tracers {
                for variant in [Variant::RING_LAYOUT, Variant::RING_CORE, Variant::PERF_LAYOUT] {
                    // What is relocated is told in the type information, which can't be left out.
                    let is_core = variant == Variant::RING_CORE;
                    let made = Variant { debug: debug || is_core, ..variant };
                    let compiled = source::compile(&sources, &tracer, made);
                    let compiled = compiled.and_then(|object| match is_core && !debug {
                        true => without_types(&object),
                        false => Ok(object),
                    });
                    let compiled = compiled.map_err(|error| error.to_string());
                    objects.insert(format!("{tracer}.{variant}"), compiled);
                }
            }
            Answer::Compiled(objects)
        }
        Job::Run { object, cells, scratch, all } => Answer::Ran(run(object, cells, scratch, all)),
    };
    fs::write(path("KERNLAB_MUTANT_ANSWER"), serde_json::to_vec(&answer).unwrap()).unwrap();
}

/// Writes everything of an object but its type information: what its sections contain, and which symbols are
/// relocated where. Relocations of fields are part of the type information (`.BTF.ext`), but each instruction
/// has the offset that its field has in the program's own types.
fn without_types(object: &Path) -> io::Result<PathBuf> {
    let invalid = |error: object::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let bytes = fs::read(object)?;
    let file = object::File::parse(&*bytes).map_err(invalid)?;
    let mut text = String::new();
    for section in file.sections() {
        let name = section.name().map_err(invalid)?;
        let is_of_types = [".BTF", ".debug", ".llvm", ".rel", ".str", ".sym"];
        if is_of_types.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        text += &format!("{name} {}: {:02x?}\n", section.size(), section.data().map_err(invalid)?);
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(index).map_err(invalid)?;
            let (symbol, at) = (symbol.name().map_err(invalid)?, symbol.address());
            text += &format!("{offset:#x} {symbol} {at:#x}\n");
        }
    }
    let path = object.with_extension("code");
    fs::write(&path, text)?;
    Ok(path)
}

fn run(object: PathBuf, cells: Vec<String>, scratch: PathBuf, all: bool) -> Vec<Judged> {
    let guest = PathBuf::from(env::var_os("KERNLAB_GUEST").expect("xtask names the programs"));
    let plan = RunPlan { object: Some(object), ..RunPlan::of(cells.clone(), guest) };
    let runner = Runner::new(Kernels::open().unwrap(), plan, RunDir::open(scratch));
    let mut judged = Vec::new();
    for cell in cells {
        let report = runner.run(&cell.parse::<Cell>().unwrap()).unwrap();
        let (outcome, reason, message) = (report.outcome, report.reason, report.message);
        judged.push(Judged { cell, outcome, reason, message });
        if outcome != Outcome::Pass && !all {
            break;
        }
    }
    judged
}
