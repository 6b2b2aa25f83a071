//! One run of a target: how libFuzzer is started, and what is read of what it prints.

use std::{
    collections::BTreeSet,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::target::Target;
use crate::workspace;

/// What one input may take, in seconds: far more than the target itself allows.
const TIMEOUT_SECONDS: u32 = 25;
/// How much memory a target may have, in MiB.
const MEMORY_MIB: u32 = 2048;
/// What a target may take to read its corpus, and to end.
const GRACE: Duration = Duration::from_secs(10 * 60);
/// How libFuzzer names inputs that it keeps, but for those that were only slow.
const FINDS: [&str; 3] = ["crash-", "oom-", "timeout-"];

/// The directory of everything that fuzzing makes.
pub(super) struct Place {
    dir: PathBuf,
    is_release: bool,
}

/// What came of a run.
pub(super) struct Fuzzed {
    pub(super) statistics: Statistics,
    pub(super) seconds: u64,
    /// Inputs that were found.
    pub(super) finds: Vec<PathBuf>,
    /// What the target printed.
    pub(super) log: PathBuf,
}

/// What libFuzzer tells of its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// How many inputs were tried.
    pub(super) executions: u64,
    /// How many edges of the program they reached.
    pub(super) coverage: u64,
}

impl Place {
    pub(super) fn in_directory(dir: &Path, is_release: bool) -> Self {
        Place { dir: dir.to_owned(), is_release }
    }

    /// Whether the programs are built with optimisations.
    pub(super) fn is_release(&self) -> bool {
        self.is_release
    }

    /// The target directory of the programs.
    pub(super) fn programs(&self) -> PathBuf {
        self.dir.join("build")
    }

    /// The program of a target, once it is built: cargo-fuzz names the machine that it builds for.
    pub(super) fn program(&self, target: &Target) -> Result<String> {
        let triples = fs::read_dir(self.programs()).context("failed to list what was built")?;
        let profile = if self.is_release { "release" } else { "debug" };
        let programs =
            triples.flatten().map(|triple| triple.path().join(profile).join(target.name));
        let program = programs.into_iter().find(|path| path.is_file());
        let program = program.with_context(|| format!("the build made no {}", target.name))?;
        program
            .into_os_string()
            .into_string()
            .ok()
            .context("the path of the target is not in UTF-8")
    }

    /// Runs a target for so many seconds, unless it finds something earlier.
    pub(super) fn fuzz(
        &self,
        target: &Target,
        seconds: u32,
        seed: Option<NonZeroU32>,
    ) -> Result<Fuzzed> {
        let make = |kind: &str| {
            let dir = self.dir.join(kind).join(target.name);
            fs::create_dir_all(&dir)
                .with_context(|| format!("failed to make {}", dir.display()))?;
            Ok::<_, anyhow::Error>(dir)
        };
        let (corpus, seeds, kept) = (make("corpus")?, make("seeds")?, make("finds")?);
        target.collect_seeds(&workspace::root(), &seeds)?;
        let log = make("logs")?.with_extension("log");
        let before = finds(&kept)?;
        let arguments = [
            format!("-max_total_time={seconds}"),
            // With 0, libFuzzer chooses one.
            format!("-seed={}", seed.map_or(0, NonZeroU32::get)),
            format!("-max_len={}", target.longest),
            format!("-timeout={TIMEOUT_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            "-print_final_stats=1".to_owned(),
            format!("-artifact_prefix={}/", kept.display()),
            // New entries are written into the first one.
            corpus.display().to_string(),
            seeds.display().to_string(),
        ];
        let began = Instant::now();
        let handle = duct::cmd(self.program(target)?, arguments)
            .dir(&self.dir)
            .stdin_null()
            .stderr_to_stdout()
            .stdout_path(&log)
            .unchecked()
            .start()
            .with_context(|| format!("failed to start {}", target.name))?;
        let deadline = Duration::from_secs(seconds.into()) + GRACE;
        let ended = handle.wait_timeout(deadline).context("failed to wait for the target")?;
        let Some(output) = ended else {
            handle.kill().context("failed to end the target")?;
            bail!("it did not end within {} s: {}", deadline.as_secs(), log.display());
        };
        let finds: Vec<_> = finds(&kept)?.difference(&before).cloned().collect();
        if !output.status.success() && finds.is_empty() {
            bail!("it ended ({}) and kept no input: {}", output.status, log.display());
        }
        let text = fs::read(&log).with_context(|| format!("failed to read {}", log.display()))?;
        let statistics = statistics(&String::from_utf8_lossy(&text));
        Ok(Fuzzed { statistics, seconds: began.elapsed().as_secs(), finds, log })
    }
}

/// The inputs that were kept in a directory.
fn finds(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))?;
    let is_find = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        FINDS.iter().any(|prefix| name.starts_with(prefix))
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_find).collect())
}

/// Reads what libFuzzer prints.
fn statistics(log: &str) -> Statistics {
    let mut statistics = Statistics::default();
    for line in log.lines() {
        // `#65536	pulse  cov: 1234 ft: 5678 corp: 90/12Kb ...`
        if let Some((number, rest)) = line.strip_prefix('#').and_then(|rest| rest.split_once('\t'))
        {
            statistics.executions = number.parse().unwrap_or(statistics.executions);
            let coverage = rest.split_once("cov: ").and_then(|(_, rest)| rest.split(' ').next());
            let coverage = coverage.and_then(|number| number.parse().ok());
            statistics.coverage = coverage.unwrap_or(statistics.coverage);
        }
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            statistics.executions = number.trim().parse().unwrap_or(statistics.executions);
        }
    }
    statistics
}

/// Why an input was kept, in a line: what a panic says, or else what libFuzzer says.
pub(super) fn cause(log: &str, input: &str) -> String {
    const LONGEST: usize = 400;
    let mut lines = log.lines().skip_while(|line| !line.starts_with("thread '"));
    let panic = lines.next().map(|place| {
        let place = place.split_once(" panicked at ").map_or(place, |(_, place)| place);
        let message: Vec<_> = lines.take_while(|line| !line.starts_with("==")).take(4).collect();
        format!("{place} {}", message.join(" "))
    });
    let error = || log.lines().find(|line| line.starts_with("==") && line.contains("ERROR: "));
    let cause = panic.or_else(|| error().map(str::to_owned));
    let cause = cause.unwrap_or_else(|| format!("no cause is reported for {input}"));
    cause.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
INFO: seed corpus: files: 3 min: 1b max: 90b total: 120b rss: 40Mb
#4\tINITED cov: 31 ft: 32 corp: 3/120b exec/s: 0 rss: 41Mb
#65536\tpulse  cov: 47 ft: 80 corp: 9/1Kb lim: 4096 exec/s: 32768 rss: 60Mb
thread '<unnamed>' (17) panicked at core/src/btf.rs:12:5:
no \u{1b}order
==17== ERROR: libFuzzer: deadly signal
stat::number_of_executed_units: 70001
";

    #[test]
    fn statistics_are_the_last_ones() {
        assert_eq!(statistics(LOG), Statistics { executions: 70001, coverage: 47 });
        let unfinished: String = LOG.lines().take(3).map(|line| format!("{line}\n")).collect();
        assert_eq!(statistics(&unfinished), Statistics { executions: 65536, coverage: 47 });
        assert_eq!(statistics("nothing"), Statistics::default());
    }

    #[test]
    fn a_cause_is_what_a_panic_says() {
        assert_eq!(cause(LOG, "x"), "core/src/btf.rs:12:5: no order");
        let killed = "==17== ERROR: libFuzzer: timeout after 25 seconds\n";
        assert_eq!(cause(killed, "x"), "==17== ERROR: libFuzzer: timeout after 25 seconds");
        assert_eq!(cause("", "x"), "no cause is reported for x");
    }

    #[test]
    fn only_what_fails_is_a_find() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["crash-1", "slow-unit-1", "timeout-1", "notes"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let finds = finds(dir.path()).unwrap();
        let names: Vec<_> = finds.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["crash-1", "timeout-1"]);
    }
}
