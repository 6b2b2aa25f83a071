//! `kernlab site`: makes static pages of any number of runs.

use std::path::PathBuf;

use clap::Args;
use kernlab_cli::Exit;
use kernlab_kernels::chain;
use kernlab_vmtest::{
    report::table::counted,
    site::{Address, IntoError, Options, Site, Summary},
};

use crate::{
    failure::{self, Failure},
    report::{self, NoReport},
};

/// Make static pages of any number of runs: which tool works on which kernel, why not, and what changed.
///
/// The pages need no network and no script, and can be put anywhere. Each cell is shown with its newest
/// result and the results that it had before; each kernel with what changed since the one before it.
/// `feed.xml` has the regressions, `badges/` a badge for each tool.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab site --into site .kernlab/2*
  kernlab site --into site --url https://example.org/kernlab/ reports/*.json")]
pub(crate) struct Arguments {
    /// Write the pages to this directory: a new or empty one, or one that this command wrote. Files that
    /// it did not write are left alone.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// The address that the pages will have, for the feed and the badges.
    #[arg(long, value_name = "URL")]
    url: Option<Address>,
    /// The heading of the pages.
    #[arg(long, value_name = "TEXT", default_value = "Kernel compatibility")]
    title: String,
    /// Copy no events, logs and output of tracers into the pages.
    #[arg(long)]
    no_evidence: bool,
    /// The runs: their directories or names, or the paths of report.json files.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,
}

/// Writes the pages. What the runs found does not change the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { into, url, title, no_evidence, runs } = arguments;
    let mut paths = Vec::new();
    for run in runs {
        match report::find(Some(run)) {
            Ok(path) => paths.push(path),
            // A pattern such as `.kernlab/2*` has runs that were killed as well.
            Err(why @ NoReport::Unfinished(_)) => say!("left out: {why}"),
            Err(why) => return Err(Failure::usage(why.to_string())),
        }
    }
    if paths.is_empty() {
        return Err(Failure::usage("none of the runs has a report"));
    }
    let options = Options { title: title.clone(), url: url.clone(), evidence: !no_evidence };
    let (site, summary) =
        Site::of(&paths, &options).map_err(|error| Failure::usage(chain(&error)))?;
    site.write(into).map_err(|error| match error {
        IntoError::Io { .. } => Failure::infrastructure(&error),
        _ => Failure::usage(chain(&error)),
    })?;
    let Summary { runs, cells, files, bytes } = summary;
    let size = bytes as f64 / f64::from(1 << 20);
    failure::print(&format!(
        "{}: {} of {}, {}, {size:.1} MiB\n",
        into.join("index.html").display(),
        counted(cells, "cell"),
        counted(runs, "run"),
        counted(files, "file")
    ))?;
    Ok(Exit::Success)
}
