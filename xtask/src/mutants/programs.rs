//! Mutants of the BPF programs: which object is another one, and which cell notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{
    Verdict,
    rule::{self, Mutant},
    rust_programs::RustPrograms,
    source::Language,
    variant::{Kernel, Variant},
};
use crate::{
    build::{self, GUEST_VARIABLE, GuestPrograms},
    invocation::Invocation,
    workspace,
};

/// The directories with the programs' sources, below the repository.
const SOURCES: [(&str, Language); 4] = [
    ("backends/libbpf/src/bpf", Language::C),
    ("backends/aya/ebpf/src", Language::Rust),
    ("backends/aya/ebpf/src/arch", Language::Rust),
    ("backends/aya/ebpf/src/bin", Language::Rust),
];
/// The cells of one tracer on one kernel take seconds; a machine may be busy.
const CELLS_DEADLINE: Duration = Duration::from_secs(20 * 60);
/// What compiling all C programs may take.
const COMPILE_DEADLINE: Duration = Duration::from_secs(5 * 60);

/// A mutant of a program, and the file that it is of.
#[derive(Clone, Debug)]
pub(super) struct ProgramMutant {
    /// Below the repository.
    pub(super) file: String,
    pub(super) language: Language,
    pub(super) mutant: Mutant,
}

/// Everything that the rules break, in the order of files and lines.
pub(super) fn all(root: &Path) -> Result<Vec<ProgramMutant>> {
    let mut all = Vec::new();
    for (dir, language) in SOURCES {
        let path = root.join(dir);
        let entries = fs::read_dir(&path).with_context(|| format!("failed to list {dir}"))?;
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        let ends: &[&str] = if language == Language::C { &[".c", ".h"] } else { &[".rs"] };
        names.retain(|name| ends.iter().any(|end| name.ends_with(end)));
        // Mutants are compiled for x86-64 only.
        names.retain(|name| !name.contains("aarch64"));
        for name in names {
            let file = format!("{dir}/{name}");
            let text = fs::read_to_string(root.join(&file))
                .with_context(|| format!("failed to read {file}"))?;
            let of_file = |mutant| ProgramMutant { file: file.clone(), language, mutant };
            all.extend(rule::mutants(&text, language).into_iter().map(of_file));
        }
    }
    Ok(all)
}

/// A job for the test that links compiler and lab: tracer/tests/mutants/given.rs.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Job<'a> {
    Compile { sources: &'a Path, tracers: &'a [String], debug: bool },
    Run { object: &'a Path, cells: &'a [String], scratch: &'a Path, all: bool },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Compiled(BTreeMap<String, Result<PathBuf, String>>),
    Ran(Vec<Judged>),
}

#[derive(Clone, Debug, Deserialize)]
struct Judged {
    cell: String,
    outcome: String,
    reason: Option<String>,
    message: String,
}

/// What came of running cells with an object.
enum Noticed {
    By { cell: String, reason: String },
    ByNone,
    NotJudged(String),
}

/// Backend, tracer and variant of an object.
type Key = (Language, String, Variant);

/// Runs mutants of programs.
pub(super) struct Programs {
    root: PathBuf,
    place: PathBuf,
    kernels: Vec<Kernel>,
    driver: PathBuf,
    guest: String,
    scenarios: Vec<String>,
    rust: RustPrograms,
    /// The cells that pass with an unbroken object, in the order in which a mutant is shown to them.
    passing: BTreeMap<Key, Vec<String>>,
    /// What the C programs are without a mutation, by `TRACER.VARIANT`.
    plain: BTreeMap<String, Vec<u8>>,
}

/// Whether an executable is the test `mutants`, to whose name cargo adds a hash.
fn is_driver(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("mutants-"))
}

impl Programs {
    /// Builds what runs them. `scenarios` are those of all tracers.
    pub(super) fn prepare(
        place: &Path,
        guest: &GuestPrograms,
        kernels: Vec<Kernel>,
        scenarios: Vec<String>,
    ) -> Result<Self> {
        let root = workspace::root();
        let build = Invocation::cargo(["build", "--workspace", "--exclude", build::BPF_PACKAGE])
            .args(["--test", "mutants", "--message-format", "json-render-diagnostics", "--quiet"]);
        let built = build.start_captured()?.finish(build::BUILD_DEADLINE)?;
        // Cargo names the programs of the test's package too, in no order.
        let driver = build::executables(&built)?.into_iter().find(|path| is_driver(path));
        let mut programs = Programs {
            driver: driver.context("cargo built no test `mutants`")?,
            guest: guest.dir_name()?,
            rust: RustPrograms::copy(&root, &place.join("rust"))?,
            place: place.to_owned(),
            root,
            kernels,
            scenarios,
            passing: BTreeMap::new(),
            plain: BTreeMap::new(),
        };
        let tracers = programs.tracers();
        let compiled = programs.compile(&programs.c_sources(None)?, &tracers, false)?;
        for (name, object) in compiled {
            let object =
                object.map_err(anyhow::Error::msg).context("the C programs don't compile")?;
            programs.plain.insert(name, fs::read(object)?);
        }
        Ok(programs)
    }

    fn tracers(&self) -> Vec<String> {
        let of = |scenario: &String| scenario.split('/').next().unwrap_or_default().to_owned();
        let tracers: BTreeSet<String> = self.scenarios.iter().map(of).collect();
        tracers.into_iter().collect()
    }

    /// Whether any cell notices the mutant.
    pub(super) fn judge(&mut self, of: &ProgramMutant) -> Result<Verdict> {
        let changed = match self.changed(of) {
            Ok(changed) => changed,
            Err(error) => return Ok(Verdict::DoesNotBuild(format!("{error:#}"))),
        };
        if changed.is_empty() {
            return Ok(Verdict::SameObject);
        }
        let mut any_ran = false;
        for (tracer, variant, object) in changed {
            let cells = self.passing(of.language, &tracer, variant)?;
            any_ran |= !cells.is_empty();
            match self.notice(&object, &cells)? {
                Noticed::By { cell, reason } => {
                    let verdict = Verdict::Killed(format!("{cell} ({reason})"));
                    self.run_first((of.language, tracer, variant), &cell);
                    return Ok(verdict);
                }
                Noticed::NotJudged(why) => return Ok(Verdict::NotJudged(why)),
                Noticed::ByNone => {}
            }
        }
        if !any_ran {
            return Ok(Verdict::NotJudged(
                "no cell of these kernels passes with it unbroken".to_owned(),
            ));
        }
        Ok(Verdict::Survived)
    }

    /// The objects that are others with the mutant, ready to be loaded. Code that all variants share is run
    /// with a ring buffer only, except by the scenarios that are about perf buffers and on kernels that have
    /// no other.
    fn changed(&self, of: &ProgramMutant) -> Result<Vec<(String, Variant, PathBuf)>> {
        let tracers = self.tracers_of(&of.file);
        let mut changed = Vec::new();
        match of.language {
            Language::Rust => {
                let text = fs::read_to_string(self.root.join(&of.file))?;
                let with_perf: Vec<_> = tracers
                    .iter()
                    .filter(|tracer| self.serves(tracer, Variant::PerfLayout))
                    .cloned()
                    .collect();
                let text = of.mutant.apply(&text);
                let objects = self.rust.changed(&of.file, &text, &tracers, &with_perf)?;
                for (tracer, buffer, object) in objects {
                    let loaded = Variant::ALL.into_iter().filter(|it| it.buffer() == buffer);
                    changed.extend(loaded.map(|it| (tracer.clone(), it, object.clone())));
                }
            }
            Language::C => {
                let sources = self.c_sources(Some(of))?;
                let mut others = BTreeSet::new();
                // What a map is, is told by type information only.
                let is_of_map = ["__type(", "__uint("].iter().any(|it| of.mutant.name.contains(it));
                for (name, object) in self.compile(&sources, &tracers, false)? {
                    let object = object.map_err(anyhow::Error::msg)?;
                    if is_of_map || self.plain.get(&name) != Some(&fs::read(object)?) {
                        others.insert(name);
                    }
                }
                let concerned: Vec<_> = tracers
                    .into_iter()
                    .filter(|tracer| {
                        others.iter().any(|name| name.split('.').next() == Some(tracer.as_str()))
                    })
                    .collect();
                let objects = self.compile(&sources, &concerned, true)?;
                // The sources' own directory is compiled again, unbroken, before a tracer's first cells.
                let broken = self.place.join("broken");
                fs::create_dir_all(&broken)?;
                for tracer in concerned {
                    for variant in Variant::ALL {
                        let name = format!("{tracer}.{}", variant.name());
                        let object = objects.get(&name).and_then(|made| made.as_ref().ok());
                        if let (true, Some(object)) = (others.contains(&name), object) {
                            let kept = broken.join(format!("{name}.o"));
                            fs::copy(object, &kept)?;
                            changed.push((tracer.clone(), variant, kept));
                        }
                    }
                }
            }
        }
        changed.retain(|(tracer, variant, _)| self.serves(tracer, *variant));
        Ok(changed)
    }

    /// Does any cell of a tracer load such an object?
    fn serves(&self, tracer: &str, variant: Variant) -> bool {
        self.kernels.iter().any(|kernel| {
            self.scenarios_of(tracer).any(|scenario| variant.serves(scenario, kernel))
        })
    }

    /// The tracers whose programs are made of a file: one, or all that may share it.
    fn tracers_of(&self, file: &str) -> Vec<String> {
        let name = file.rsplit('/').next().unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default().to_owned();
        let is_own = name.ends_with(".bpf.c") || file.contains("/src/bin/");
        if is_own { vec![stem] } else { self.tracers() }
    }

    fn scenarios_of<'a>(&'a self, tracer: &'a str) -> impl Iterator<Item = &'a String> {
        let of = move |scenario: &&String| scenario.split('/').next() == Some(tracer);
        self.scenarios.iter().filter(of)
    }

    /// A directory with the C sources, with the mutant if there is one.
    fn c_sources(&self, of: Option<&ProgramMutant>) -> Result<PathBuf> {
        let (from, to) = (self.root.join(SOURCES[0].0), self.place.join("c"));
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from).context("failed to list the C programs")? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        if let Some(ProgramMutant { file, mutant, .. }) = of {
            let text = fs::read_to_string(self.root.join(file))?;
            let name = file.rsplit('/').next().unwrap_or_default();
            fs::write(to.join(name), mutant.apply(&text))?;
        }
        Ok(to)
    }

    /// The cells of a tracer that pass with its own object.
    fn passing(
        &mut self,
        language: Language,
        tracer: &str,
        variant: Variant,
    ) -> Result<Vec<String>> {
        let key = (language, tracer.to_owned(), variant);
        if let Some(known) = self.passing.get(&key) {
            return Ok(known.clone());
        }
        let backend = if language == Language::C { "libbpf" } else { "aya" };
        let cells: Vec<String> = self
            .kernels
            .iter()
            .flat_map(|kernel| {
                let scenarios = self.scenarios_of(tracer).filter(|it| variant.serves(it, kernel));
                let btf = variant.btf(&kernel.btf);
                scenarios.filter_map(move |scenario| {
                    Some(format!("{}/{}/{backend}/{scenario}", kernel.id, btf?))
                })
            })
            .collect();
        let object = match language {
            Language::C => {
                let unbroken = self.place.join("unbroken");
                let sources = self.c_sources(None)?;
                let objects = self.compile(&sources, &[tracer.to_owned()], true)?;
                let name = format!("{tracer}.{}", variant.name());
                let object = objects.get(&name).context("the compiler made no object")?;
                let object = object.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
                fs::create_dir_all(&unbroken)?;
                let kept = unbroken.join(format!("{name}.o"));
                fs::copy(object, &kept)?;
                kept
            }
            Language::Rust => self.rust.unbroken(tracer, variant.buffer()),
        };
        let mut passing = Vec::new();
        for judged in self.run(&object, &cells, true)? {
            match judged.outcome.as_str() {
                "pass" => passing.push(judged.cell),
                "unsupported" => {}
                "infra" | "unavailable" | "not-run" => {
                    bail!("{} can't be run: {}", judged.cell, judged.message)
                }
                _ => eprintln!("  {} does not pass unbroken: {}", judged.cell, judged.message),
            }
        }
        self.passing.insert(key, passing.clone());
        Ok(passing)
    }

    /// Shows the next mutant of such an object to this cell first: one that noticed a mutant notices others.
    fn run_first(&mut self, of: Key, cell: &str) {
        if let Some(cells) = self.passing.get_mut(&of)
            && let Some(at) = cells.iter().position(|it| it == cell)
        {
            cells[..=at].rotate_right(1);
        }
    }

    /// Runs the cells until one does not pass. One about which nothing can be said is tried again.
    fn notice(&self, object: &Path, cells: &[String]) -> Result<Noticed> {
        let mut from = 0;
        let mut again = true;
        while from < cells.len() {
            let judged = self.run(object, &cells[from..], false)?;
            let Some(last) = judged.last().filter(|last| last.outcome != "pass") else {
                return Ok(Noticed::ByNone);
            };
            from += judged.len() - 1;
            match last.outcome.as_str() {
                "infra" | "unavailable" | "not-run" if again => again = false,
                "infra" | "unavailable" | "not-run" => {
                    return Ok(Noticed::NotJudged(last.message.clone()));
                }
                outcome => {
                    let reason = last.reason.as_deref().unwrap_or(outcome).to_owned();
                    return Ok(Noticed::By { cell: last.cell.clone(), reason });
                }
            }
        }
        Ok(Noticed::ByNone)
    }

    fn compile(
        &self,
        sources: &Path,
        tracers: &[String],
        debug: bool,
    ) -> Result<BTreeMap<String, Result<PathBuf, String>>> {
        match self.ask(&Job::Compile { sources, tracers, debug }, COMPILE_DEADLINE)? {
            Answer::Compiled(objects) => Ok(objects),
            Answer::Ran(_) => anyhow::bail!("the test answered another question"),
        }
    }

    fn run(&self, object: &Path, cells: &[String], all: bool) -> Result<Vec<Judged>> {
        let scratch = self.place.join("run");
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        match self.ask(&Job::Run { object, cells, scratch: &scratch, all }, CELLS_DEADLINE)? {
            Answer::Ran(judged) => Ok(judged),
            Answer::Compiled(_) => anyhow::bail!("the test answered another question"),
        }
    }

    fn ask(&self, job: &Job<'_>, deadline: Duration) -> Result<Answer> {
        let (question, answer) = (self.place.join("job.json"), self.place.join("answer.json"));
        fs::write(&question, serde_json::to_vec(job)?)?;
        let _ = fs::remove_file(&answer);
        let text = |path: &Path| path.display().to_string();
        Invocation::new(text(&self.driver))
            .args(["--ignored", "--exact", "given::what_is_asked_for_is_done"])
            .env("KERNLAB_MUTANT", text(&question))
            .env("KERNLAB_MUTANT_ANSWER", text(&answer))
            .env(GUEST_VARIABLE, &self.guest)
            .dir(&self.root)
            .read(deadline)?;
        let answer = fs::read(&answer).context("the test left no answer")?;
        serde_json::from_slice(&answer).context("the test's answer can't be read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_test_drives() {
        let built = ["/t/debug/kernlab-tracer", "/t/debug/mutants", "/t/debug/deps/mutants-69d1"];
        let drivers = built.map(|path| is_driver(Path::new(path)));
        assert_eq!(drivers, [false, false, true]);
    }
}
