//! Compiles and runs the mutants that `cargo xtask mutants` makes: it links neither compiler nor lab.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use kernlab_core::{
    cell::Cell,
    outcome::{Outcome, Reason},
};
use kernlab_kernels::Kernels;
use kernlab_libbpf::source::{self, Variant};
use kernlab_vmtest::run::{cell::Runner, dir::RunDir, plan::RunPlan};
use serde::{Deserialize, Serialize};

/// What is asked for, in the file that `KERNLAB_MUTANT` names.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Job {
    /// Compile C programs for either buffer with the plan's layout, and with `debug` for a ring buffer and
    /// the kernel's type information, into the directory of their sources.
    Compile {
        sources: PathBuf,
        tracers: Vec<String>,
        /// With debug information, which a loader needs, and which tells lines of the source.
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
                    // What is relocated is told in the type information.
                    if variant == Variant::RING_CORE && !debug {
                        continue;
                    }
                    let variant = Variant { debug, ..variant };
                    let compiled = source::compile(&sources, &tracer, variant);
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
