//! `kernlab deps`: what each tracer depends on, or anybody's BPF object, and whether each kernel has it.

mod object;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;
use kernlab_cli::{Exit, Selected};
use kernlab_core::{
    dossier::availability::{Availability, Kind, availabilities},
    needs::ObjectNeeds,
    scenario::Scenario,
    tracer::Tracer,
};
use kernlab_kernels::{Config, Entry, OptionState, Requirement, Scope, chain, requirements};
use kernlab_vmtest::{
    dossier::{self, Archive, DossierError, How},
    report::pretty_json,
};

use crate::{
    failure::{self, Failure},
    kernels::Progress,
    selection,
};

/// Show what each tracer depends on, or a BPF object of yours, and whether each kernel has it.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kernlab deps --kernel 6.1 --tracer inotify")]
pub(crate) struct Arguments {
    /// Show what this BPF object depends on, or a program that embeds some.
    #[arg(value_name = "FILE", conflicts_with = "tracer")]
    file: Option<PathBuf>,
    /// Show whether each kernel has what is named like this: a function, a tracepoint
    /// (`sched:sched_switch`) or a field (`file.f_op`). Repeatable.
    #[arg(long = "symbol", value_name = "NAME", conflicts_with = "tracer")]
    symbols: Vec<String>,
    #[command(flatten)]
    selected: Selected,
    /// Show only this tracer of the lab.
    #[arg(long, value_parser = tracer)]
    tracer: Option<Tracer>,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn tracer(name: &str) -> Result<Tracer, String> {
    let mut all = Scenario::ALL.iter().map(|scenario| scenario.tracer);
    all.find(|tracer| tracer.name() == name).ok_or_else(|| format!("there is no tracer {name:?}"))
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.file.is_some() || !arguments.symbols.is_empty() {
        return run_with_objects(arguments);
    }
    let (kernels, entries) = selection::selected(&arguments.selected)?;
    let guest = arguments.guest.dir(&kernels)?;
    let objects = of_objects(&guest).map_err(io::Error::other)?;
    let progress = Progress::new();
    let how = How { guest: &guest, cold: false, refresh: false };
    let (archives, exit) = of_each(&entries, |entry| dossier::of(&kernels, entry, how, &progress));
    let dossiers = archives.iter().map(|(id, archive)| (id.as_str(), &archive.dossier)).collect();
    let mut all = availabilities(&dossiers, &objects);
    for (tracer, availabilities) in options(&archives).map_err(io::Error::other)? {
        all.entry(tracer).or_default().extend(availabilities);
    }
    all.retain(|tracer, _| arguments.tracer.is_none_or(|wanted| wanted == *tracer));
    let text = match arguments.json {
        false => render(archives.keys(), &all),
        true => pretty_json(&all),
    };
    failure::print(&text)?;
    Ok(exit)
}

/// Like above, for objects and names.
fn run_with_objects(arguments: &Arguments) -> Result<Exit, Failure> {
    let (kernels, entries) = selection::selected(&arguments.selected)?;
    let mut subjects = arguments.file.as_deref().map_or(Ok(Vec::new()), object::of_file)?;
    if !arguments.symbols.is_empty() {
        subjects.push(object::of_names(&arguments.symbols));
    }
    let progress = Progress::new();
    let guest = arguments.guest.dir(&kernels)?;
    let how = How { guest: &guest, cold: false, refresh: false };
    let (dossiers, exit) = of_each(&entries, |entry| {
        let archive = dossier::of(&kernels, entry, how, &progress)?;
        let whole = archive.whole(&kernels, how, &progress)?;
        Ok((archive.dossier, whole))
    });
    let answers: Vec<_> =
        subjects.iter().map(|subject| object::answer(subject, &dossiers)).collect();
    let text = match arguments.json {
        false => {
            let ids: Vec<_> = dossiers.keys().map(String::as_str).collect();
            let answers: String = answers.iter().map(object::render).collect();
            format!("on {}\n{answers}", ids.join(", "))
        }
        true => pretty_json(&answers),
    };
    failure::print(&text)?;
    Ok(exit)
}

/// What is known of each kernel. Those of which nothing can be known are reported, and left out.
fn of_each<T>(
    entries: &[Entry],
    known: impl Fn(&Entry) -> Result<T, DossierError>,
) -> (BTreeMap<String, T>, Exit) {
    let mut exit = Exit::Success;
    let mut all = BTreeMap::new();
    for entry in entries {
        match known(entry) {
            Ok(known) => drop(all.insert(entry.id.clone(), known)),
            Err(error) => {
                let heading = format!("{} is skipped: ", entry.id);
                exit = exit.and(Failure::infrastructure(&error).of(&heading).report());
            }
        }
    }
    (all, exit)
}

/// What the tracer program reports about its embedded BPF objects. It runs on the host and loads
/// nothing.
fn of_objects(guest: &Path) -> Result<Vec<ObjectNeeds>, String> {
    let program = guest.join("kernlab-tracer");
    let failed =
        |why: String| format!("{} does not report what it needs: {why}", program.display());
    let output =
        Command::new(&program).arg("needs").output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{}: {}", output.status, stderr.trim_end())));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// The options that tracers need, and how each kernel was built.
fn options(
    archives: &BTreeMap<String, Archive>,
) -> Result<BTreeMap<Tracer, Vec<Availability>>, String> {
    let mut configs: BTreeMap<&String, Option<Config>> = BTreeMap::new();
    for (id, archive) in archives {
        let config = match archive.config_file() {
            None => None,
            Some(path) => {
                let in_file = |error: &dyn Error| format!("{}: {}", path.display(), chain(error));
                let text = fs::read(path).map_err(|error| in_file(&error))?;
                let config = Config::parse(&String::from_utf8_lossy(&text));
                Some(config.map_err(|error| in_file(&error))?)
            }
        };
        configs.insert(id, config);
    }
    let mut all: BTreeMap<Tracer, Vec<Availability>> = BTreeMap::new();
    for requirement in requirements() {
        for tracer in who_needs(requirement) {
            let states = configs.iter().map(|(id, config)| {
                let state = config.as_ref().map_or_else(
                    || "unknown: its configuration is not available".to_owned(),
                    |config| state(requirement, config),
                );
                ((*id).clone(), state)
            });
            all.entry(tracer).or_default().push(Availability {
                kind: Kind::Option,
                name: requirement.option.clone(),
                by: [requirement.scope.to_string()].into(),
                states: states.collect(),
            });
        }
    }
    Ok(all)
}

fn who_needs(requirement: &Requirement) -> BTreeSet<Tracer> {
    match requirement.scope {
        Scope::Tracers => Scenario::ALL.iter().map(|scenario| scenario.tracer).collect(),
        _ => requirement.scope.scenarios().map(|scenario| scenario.tracer).collect(),
    }
}

fn state(requirement: &Requirement, config: &Config) -> String {
    match requirement.state_in(config) {
        OptionState::Met => requirement.value.to_string(),
        OptionState::TooOld => "always there in this release".to_owned(),
        OptionState::Unsatisfied(found) => {
            let found = found.map_or_else(|| "n".to_owned(), |found| found.to_string());
            format!("{found}, and should be {}", requirement.value)
        }
    }
}

fn render<'a>(
    kernels: impl Iterator<Item = &'a String>,
    all: &BTreeMap<Tracer, Vec<Availability>>,
) -> String {
    let kernels: Vec<_> = kernels.map(String::as_str).collect();
    let mut text = format!("on {}\n", kernels.join(", "));
    let mut group = |title: &str, availabilities: &[&Availability]| {
        text += &format!("\n{title}\n");
        for availability in availabilities {
            for line in availability.to_string().lines() {
                text += &format!("  {line}\n");
            }
        }
    };
    let common = Scope::Tracers.to_string();
    let is_common = |availability: &&Availability| availability.by.contains(&common);
    if let Some(availabilities) = all.values().next() {
        // All kernels agree: one line for all is enough.
        group(&common, &availabilities.iter().filter(is_common).collect::<Vec<_>>());
    }
    for (tracer, availabilities) in all {
        let own: Vec<_> =
            availabilities.iter().filter(|availability| !is_common(availability)).collect();
        group(tracer.name(), &own);
    }
    text
}
