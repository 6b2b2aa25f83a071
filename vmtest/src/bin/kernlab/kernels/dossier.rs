//! `kernlab kernels dossier`: shows the facts that the lab has gathered about a kernel.

use std::{fs, io, path::PathBuf};

use clap::Args;
use kernlab_cli::{Exit, Scope};
use kernlab_core::{
    cell::BtfMode,
    discovery::{LayoutReport, ReportedField, ReportedPrototype},
    dossier::{Dossier as Facts, GivenTypes, SymbolState},
    facts::ProbeResult,
    record::Decision,
    scenario::Scenario,
    tracer::{wanted_symbols, wanted_tracepoints},
};
use kernlab_kernels::Kernels;
use kernlab_vmtest::{
    dossier::{self, How},
    report::pretty_json,
};
use serde::Serialize;

use super::progress::Progress;
use crate::{
    failure::{self, Failure},
    selection,
};

#[derive(Debug, Args)]
pub(crate) struct Dossier {
    /// Which kernels: releases, ids, globs, `all`, `host`, or the path of an image.
    #[arg(value_name = "KERNEL", required = true)]
    selectors: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Take new dossiers, even of kernels that have one.
    #[arg(long)]
    refresh: bool,
    /// Write each kernel's dossier to `ID.json` in this directory, as test data.
    #[arg(long, value_name = "DIR")]
    trim: Option<PathBuf>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    guest: selection::GuestPrograms,
}

/// One kernel in the JSON.
#[derive(Serialize)]
struct Row {
    id: String,
    dossier: Facts,
    layout: LayoutReport,
}

/// Shows each dossier, and takes missing ones first. Fails if BTF contradicts what was found in the
/// kernel's memory.
pub(super) fn run(kernels: Kernels, arguments: &Dossier) -> Result<Exit, Failure> {
    let kernels = &selection::limit(kernels, arguments.scope.locked);
    let guest = arguments.guest.dir(kernels)?;
    let entries = selection::entries(kernels, &arguments.scope, &arguments.selectors)?;
    let progress = Progress::new();
    let mut exit = Exit::Success;
    let mut rows = Vec::new();
    for entry in &entries {
        let how = How { guest: &guest, cold: false, refresh: arguments.refresh };
        let archive = match dossier::of(kernels, entry, how, &progress) {
            Ok(archive) => archive,
            Err(error) => {
                let failure = Failure::infrastructure(&error).of(&format!("{}: ", entry.id));
                exit = exit.and(failure.report());
                continue;
            }
        };
        let layout = archive.layout();
        if !layout.contradictions().is_empty() {
            exit = exit.and(Exit::Failure);
        }
        let row = Row { id: entry.id.clone(), dossier: archive.dossier, layout };
        if let Some(dir) = &arguments.trim {
            write(dir, &row).map_err(|error| {
                let heading = format!("cannot write the dossier into {}: ", dir.display());
                Failure::from(error).of(&heading)
            })?;
        }
        if !arguments.json && arguments.trim.is_none() {
            failure::print(&(facts(&row) + &render(&row.layout)))?;
        }
        rows.push(row);
    }
    if arguments.json {
        failure::print(&pretty_json(&rows))?;
    }
    Ok(exit)
}

fn write(dir: &std::path::Path, row: &Row) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{}.json", row.id));
    fs::write(&path, pretty_json(&row.dossier.clone().trimmed()))?;
    println!("{}", path.display());
    Ok(())
}

/// A summary in a few lines, mostly of what the kernel lacks.
fn facts(Row { id, dossier, .. }: &Row) -> String {
    let features = &dossier.features;
    let yes = |is: bool| if is { "yes" } else { "no" };
    let mut text = format!(
        "{id}: {} ({})\n  BTF {}, ring buffer {}, bpf_probe_read_kernel {}, uprobes {}, fentry {}\n",
        dossier.release,
        dossier.machine,
        yes(dossier.types.is_some()),
        features.ring_buffer,
        features.probe_read_kernel,
        yes(features.uprobes),
        match (features.fentry, &dossier.types) {
            (Some(fentry), _) => fentry.to_string(),
            (None, None) => "no".to_owned(),
            (None, Some(_)) => "not tried".to_owned(),
        },
    );
    let mut missing = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            text += &format!("  {what}: {}\n", names.join(", "));
        }
    };
    let lacking = |all: &std::collections::BTreeMap<String, ProbeResult>| {
        all.iter().filter(|(_, trial)| !trial.is_yes()).map(|(name, _)| name.clone()).collect()
    };
    missing("no helpers", lacking(&features.helpers));
    missing("no map types", lacking(&features.maps));
    let options = dossier.config.iter().flatten().filter(|(_, value)| *value == "n");
    let options = options.map(|(name, _)| name.trim_start_matches("CONFIG_").to_owned());
    missing("no options", options.collect());
    let symbols = wanted_symbols(dossier.arch()).collect::<std::collections::BTreeSet<_>>();
    let symbols = symbols.into_iter().filter_map(|name| match dossier.symbol(name) {
        SymbolState::Present => None,
        SymbolState::Absent => Some(name.to_owned()),
        other => Some(format!("{name} ({other})")),
    });
    missing("no symbols", symbols.collect());
    let tracepoints = wanted_tracepoints().filter(|&name| !dossier.tracepoints.contains_key(name));
    missing("no tracepoints", tracepoints.map(str::to_owned).collect());
    let modes: &[_] = match dossier.types {
        Some(_) => &[(BtfMode::Embedded, GivenTypes::Own), (BtfMode::Masked, GivenTypes::None)],
        None => &[(BtfMode::Absent, GivenTypes::Own)],
    };
    for &(mode, types) in modes {
        let refused =
            Scenario::ALL.iter().filter_map(|scenario| match dossier.predict(scenario, types) {
                Decision::Unsupported(why) => Some(format!("{scenario} ({})", why.reason)),
                Decision::Plan { .. } => None,
            });
        missing(&format!("unsupported ({mode})"), refused.collect());
    }
    text
}

fn render(layout: &LayoutReport) -> String {
    let mut text = String::new();
    let width = layout.fields.iter().map(|field| field.field.len()).max().unwrap_or(0);
    for field in &layout.fields {
        let ReportedField { field: name, discovered, how, .. } = field;
        let verdict = match (layout.btf, field.btf) {
            (false, _) => "discovered".to_owned(),
            (true, Some(offset)) if offset == *discovered => "BTF and discovery".to_owned(),
            (true, Some(offset)) => format!("BTF SAYS {offset}"),
            (true, None) => "BTF HAS NO SUCH FIELD".to_owned(),
        };
        text += &format!("  {name:width$}  {discovered:>5}  {verdict}: {how}\n");
    }
    for prototype in &layout.prototypes {
        let ReportedPrototype { function, discovered, btf } = prototype;
        let verdict = match btf {
            _ if prototype.agrees() => "BTF and calls".to_owned(),
            Some(btf) => format!("BTF SAYS {function}{btf}"),
            None if layout.btf => "BTF DOES NOT DESCRIBE IT".to_owned(),
            None => "calls".to_owned(),
        };
        text += &format!("  {function}{discovered}  {verdict}\n");
    }
    for (what, why) in &layout.failures {
        text += &format!("  {what:width$}      -  not found: {why}\n");
    }
    if let Some(address) = layout.socket_file_ops {
        text += &format!("  socket_file_ops is at {address:#x}\n");
    }
    let agreement = match (layout.btf, layout.contradictions().len()) {
        (false, _) => "no BTF to compare with".to_owned(),
        (true, 0) => "all agree with BTF".to_owned(),
        (true, count) => format!("{count} differ from BTF"),
    };
    text += &format!(
        "  {} fields found in {} ms, {} not found: {agreement}\n",
        layout.fields.len(),
        layout.duration_ms,
        layout.failures.len()
    );
    text
}
