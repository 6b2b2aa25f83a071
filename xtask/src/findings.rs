//! `cargo xtask findings`: runs tools that others wrote, as Debian ships them, on many kernels.
//!
//! The files in `fixtures/suites` have a suite for each tool; `findings.toml` there says what was
//! found, and on which kernels. A run keeps its outcomes in `docs/findings.json`, and both become
//! `docs/findings.md`.

mod page;
mod record;
mod root;

use std::{collections::BTreeSet, ffi::OsString, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use kernlab_cli::Exit;

use self::record::{Claim, Claims, Results};
use crate::{
    build::{self, GuestPrograms, HostTool},
    setup::{Consent, Purpose},
    workspace,
};

/// Each tool on each kernel: some of them compile in the guest.
const RUN_DEADLINE: Duration = Duration::from_secs(6 * 60 * 60);

/// Run Debian's tracing tools on many kernels, and write docs/findings.md.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  cargo xtask findings --release bookworm --suite libbpf.filelife"
)]
pub(crate) struct Args {
    /// Take the tools of this release of Debian only. Repeatable.
    #[arg(long = "release", value_name = "NAME")]
    releases: Vec<String>,
    /// Run only suites whose name matches, and keep what is known of the others.
    #[arg(long, value_name = "GLOB")]
    suite: Option<String>,
    /// Run only on these kernels, and keep what is known of the others. Repeatable.
    #[arg(long = "kernel", value_name = "SEL")]
    kernels: Vec<String>,
    /// Run nothing, only write the page again.
    #[arg(long, conflicts_with_all = ["check", "suite", "kernels", "releases"])]
    page: bool,
    /// Write nothing: run the cells of the findings that are marked `check`, and fail if one of them
    /// no longer holds.
    #[arg(long, conflicts_with_all = ["suite", "kernels"])]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let claims = Claims::read(&suites_dir().join("findings.toml"))?;
    if args.page {
        let results = Results::read(&results_file())?;
        return publish(&claims, &results);
    }
    for release in &args.releases {
        ensure!(claims.releases.contains_key(release), "findings.toml names no release {release}");
    }
    let (guest, tool) = build::after_setup(Consent::Ask, Purpose::Test)?;
    if args.check {
        return check(&Lab { guest, tool }, &claims, &args.releases);
    }
    let kernels: Vec<OsString> = match args.kernels.as_slice() {
        [] => kernels_of("libbpf-tools.toml")?,
        given => given.to_vec(),
    }
    .into_iter()
    .map(Into::into)
    .collect();
    let guest = build::for_kernels(guest, &tool, &kernels)?;
    let architectures = build::architectures(&tool, &kernels)?;
    observe(&Lab { guest, tool }, &claims, args, &architectures)
}

/// The kernels that a file of suites names.
fn kernels_of(file: &str) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Suites {
        kernels: Vec<String>,
    }
    let text = fs::read_to_string(suites_dir().join(file))?;
    let suites: Suites = toml::from_str(&text).with_context(|| format!("{file} is damaged"))?;
    Ok(suites.kernels)
}

/// Why this machine can't make the root that [`CHECKED`] needs, if so.
pub(crate) fn missing() -> Option<String> {
    root::of(CHECKED, root::SMALL, None).err().map(|error| format!("{error:#}"))
}

/// The release whose tools `cargo xtask test` checks.
pub(crate) const CHECKED: &str = "bookworm";

/// What runs suites.
struct Lab {
    guest: GuestPrograms,
    tool: HostTool,
}

fn suites_dir() -> PathBuf {
    workspace::root().join("fixtures/suites")
}

fn results_file() -> PathBuf {
    workspace::root().join("docs/findings.json")
}

fn chosen<'a>(claims: &'a Claims, given: &'a [String]) -> impl Iterator<Item = &'a String> {
    claims.releases.keys().filter(move |release| given.is_empty() || given.contains(release))
}

/// What `uname -r` says on the kernel that the lock has for an entry.
fn locked_release(entry: &str) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Lock {
        kernel: Vec<Kernel>,
    }
    #[derive(serde::Deserialize)]
    struct Kernel {
        id: String,
        release: String,
    }
    let text = fs::read_to_string(workspace::root().join("kernels.lock"))?;
    let lock: Lock = toml::from_str(&text).context("kernels.lock is damaged")?;
    let kernel = lock.kernel.into_iter().find(|kernel| kernel.id == entry);
    Ok(kernel.with_context(|| format!("kernels.lock has no {entry}"))?.release)
}

/// The kernels of the matrix that have no BTF to hide.
fn entries_without_btf() -> Result<BTreeSet<String>> {
    #[derive(serde::Deserialize)]
    struct Matrix {
        kernel: Vec<Kernel>,
    }
    #[derive(serde::Deserialize)]
    struct Kernel {
        id: String,
        btf: Vec<String>,
    }
    let text = fs::read_to_string(workspace::root().join("kernels.toml"))?;
    let matrix: Matrix = toml::from_str(&text).context("kernels.toml is damaged")?;
    let has_none = |kernel: &Kernel| !kernel.btf.iter().any(|mode| mode == "masked");
    Ok(matrix.kernel.into_iter().filter(has_none).map(|kernel| kernel.id).collect())
}

/// Runs the suites, and keeps what they show.
fn observe(lab: &Lab, claims: &Claims, args: &Args, architectures: &[String]) -> Result<Exit> {
    let mut results = Results::read_or_none(&results_file())?;
    let without_btf = entries_without_btf()?;
    for release in chosen(claims, &args.releases) {
        // bcc compiles with the headers of one kernel.
        let own = [claims.releases[release].clone()];
        let given = &args.kernels[..];
        let has_own = given.is_empty() || given.contains(&own[0]);
        let mut root = None;
        for tools in [root::ARM64, root::ALL] {
            if architectures.iter().any(|arch| arch == tools.arch) {
                let headers = locked_release(&own[0])?;
                let headers = (tools.arch == root::ALL.arch).then_some(headers.as_str());
                root = Some(root::of(release, tools, headers)?);
            }
        }
        let Some(root) = root else { continue };
        let masked: Vec<String> =
            given.iter().filter(|kernel| !without_btf.contains(*kernel)).cloned().collect();
        let hides_btf = given.is_empty() || !masked.is_empty();
        for (file, kernels, btf) in [
            ("libbpf-tools.toml", given, None),
            ("libbpf-tools.toml", &masked[..], Some("masked")),
            ("bpftrace.toml", given, None),
            ("bcc.toml", &own[..], None),
        ] {
            if btf.is_some() && !hides_btf || file == "bcc.toml" && !has_own {
                continue;
            }
            let suites = Suites { file: root.dir.join(file), suite: args.suite.clone(), btf };
            if let Some(report) = lab.test(&suites, kernels)? {
                results.add(release, root.versions.clone(), &report)?;
                // All of them take hours: what is interrupted keeps what it has seen.
                results.write(&results_file())?;
            }
        }
    }
    publish(claims, &results)
}

/// Writes the page, and says which findings don't hold.
fn publish(claims: &Claims, results: &Results) -> Result<Exit> {
    let page = workspace::root().join("docs/findings.md");
    fs::write(&page, page::of(claims, results))
        .with_context(|| format!("failed to write {}", page.display()))?;
    println!("wrote docs/findings.md");
    Ok(tell(&claims.wrong(results)))
}

fn tell(wrong: &[String]) -> Exit {
    for line in wrong {
        eprintln!("error: {line}");
    }
    if wrong.is_empty() { Exit::Success } else { Exit::Failure }
}

/// Runs the cells of the marked findings.
fn check(lab: &Lab, claims: &Claims, releases: &[String]) -> Result<Exit> {
    let mut wrong = Vec::new();
    for release in chosen(claims, releases) {
        let marked: Vec<Claim> = claims.marked(release).map(Claim::in_short).collect();
        if marked.is_empty() {
            continue;
        }
        let root = root::of(release, root::SMALL, None)?;
        for claim in marked {
            let kernels: BTreeSet<&String> = claim.fails.iter().chain(&claim.passes).collect();
            let kernels: Vec<String> = kernels.into_iter().cloned().collect();
            let mut results = Results::default();
            for suite in &claim.suites {
                let suite = Some(suite.clone());
                let suites = Suites { file: root.dir.join("libbpf-tools.toml"), suite, btf: None };
                if let Some(report) = lab.test(&suites, &kernels)? {
                    results.add(release, root.versions.clone(), &report)?;
                }
            }
            wrong.extend(claim.wrong(release, &results));
        }
    }
    Ok(tell(&wrong))
}

/// What is run.
struct Suites {
    file: PathBuf,
    /// Only those whose name matches.
    suite: Option<String>,
    /// Instead of the mode that fits a kernel.
    btf: Option<&'static str>,
}

impl Lab {
    /// Runs suites, and returns the report, if any suite was selected. That cells fail is what is
    /// looked for.
    fn test(&self, suites: &Suites, kernels: &[String]) -> Result<Option<serde_json::Value>> {
        let text = fs::read_to_string(&suites.file)?;
        if suites.suite.as_deref().is_some_and(|glob| !names(&text, glob)) {
            return Ok(None);
        }
        let reports = tempfile::tempdir()?;
        let (config, into) = (suites.file.to_str(), reports.path().to_str());
        let (Some(config), Some(into)) = (config, into) else { bail!("names are not in UTF-8") };
        let option = |name: &'static str, value: Option<&str>| {
            value.map(|value| [name.to_owned(), value.to_owned()]).into_iter().flatten()
        };
        let kernels = kernels.iter().flat_map(|kernel| ["--kernel", kernel]);
        let test = self
            .tool
            .invocation("test")?
            .args(["--config", config, "--report", into])
            .args(option("--suite", suites.suite.as_deref()))
            .args(option("--btf", suites.btf))
            .args(kernels)
            .env(build::GUEST_VARIABLE, self.guest.dir_name()?);
        // Failures are results; what ends without a report is an error.
        let ended = test.run(RUN_DEADLINE);
        let text = match (fs::read_to_string(reports.path().join("report.json")), ended) {
            (Ok(text), _) => text,
            (Err(_), Err(error)) => return Err(error),
            (Err(error), Ok(())) => return Err(error).context("the run wrote no report"),
        };
        serde_json::from_str(&text).map(Some).context("the run's report is damaged")
    }
}

/// Whether a file of suites has one that the name, or the beginning of a glob, means.
fn names(text: &str, glob: &str) -> bool {
    let literal = glob.split(['*', '?', '[', '{']).next().unwrap_or_default();
    text.contains(&format!("name = \"{literal}"))
}
