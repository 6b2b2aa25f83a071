//! `kernlab kernels dossier`: where a kernel has its fields, and how that is known.

use std::{env, path::PathBuf};

use clap::Args;
use kernlab_core::discovery::{LayoutReport, ReportedField, ReportedPrototype};
use kernlab_vmtest::{
    dossier,
    kernels::{Kernels, Silent},
};
use serde::Serialize;

use super::complain;
use crate::Exit;

#[derive(Debug, Args)]
pub(crate) struct Dossier {
    /// Which kernels: releases, ids, globs, `all`, `host`, or the path of an image.
    #[arg(value_name = "KERNEL", required = true)]
    selectors: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One kernel in the JSON.
#[derive(Serialize)]
struct Row {
    id: String,
    #[serde(flatten)]
    layout: LayoutReport,
}

/// Boots each kernel, and prints what its memory says. Fails if BTF says something else.
pub(super) fn run(kernels: &Kernels, arguments: &Dossier) -> Exit {
    let Some(guest) = env::var_os("KERNLAB_GUEST").map(PathBuf::from) else {
        eprintln!(
            "error: KERNLAB_GUEST does not name the folder of the guest's programs: run this as \
             `cargo xtask kernels dossier`"
        );
        return Exit::Usage;
    };
    let entries = match kernels.select(&arguments.selectors) {
        Ok(entries) => entries,
        Err(error) => {
            complain(&error);
            return Exit::Usage;
        }
    };
    let mut exit = Exit::Success;
    let mut rows = Vec::new();
    for entry in &entries {
        let mut tell = |line: String| eprintln!("note: {line}");
        match dossier::layout(kernels, entry, &guest, &Silent, &mut tell) {
            Ok(layout) => {
                if !layout.contradictions().is_empty() && exit == Exit::Success {
                    exit = Exit::Failure;
                }
                if !arguments.json {
                    print!("{}", render(&entry.id, &layout));
                }
                rows.push(Row { id: entry.id.clone(), layout });
            }
            Err(error) => {
                eprint!("{}: ", entry.id);
                complain(&error);
                exit = Exit::Infrastructure;
            }
        }
    }
    if arguments.json {
        match serde_json::to_string_pretty(&rows) {
            Ok(text) => println!("{text}"),
            Err(error) => unreachable!("rows are plain data: {error}"),
        }
    }
    exit
}

fn render(id: &str, layout: &LayoutReport) -> String {
    let mut text = format!("{id}: {}\n", layout.release);
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
        (false, _) => "there is no BTF to compare with".to_owned(),
        (true, 0) => "all as BTF has it".to_owned(),
        (true, count) => format!("{count} are not as BTF has it"),
    };
    text += &format!(
        "  {} fields found in {} ms, {} not found: {agreement}\n",
        layout.fields.len(),
        layout.duration_ms,
        layout.failures.len()
    );
    text
}
