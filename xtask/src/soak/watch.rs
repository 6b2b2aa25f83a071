//! A process that runs cells for as long as the soak, beside all faults: it must not grow, and all its
//! cells must pass.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::process::{self, MARK, Process, Resources, Role};

/// Until then it grows: libraries are loaded, and buffers get their size.
const WARM: Duration = Duration::from_secs(60);
/// What its memory may grow by after that, in bytes.
const MEMORY: u64 = 64 << 20;
/// What its number of descriptors may grow by: those of the guests that live at that moment.
const DESCRIPTORS: u64 = 24;
/// How long it may take to end when it is told to.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// The process.
#[derive(Debug)]
pub(super) struct Watched {
    child: Child,
    mark: String,
    dir: PathBuf,
    begun: Instant,
    warm: Option<Resources>,
    most: Resources,
}

/// What was seen of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Seen {
    pub(super) seconds: u64,
    pub(super) cells: usize,
    /// In bytes, after a minute.
    pub(super) warm_memory: u64,
    pub(super) most_memory: u64,
    pub(super) warm_descriptors: u64,
    pub(super) most_descriptors: u64,
    #[serde(skip)]
    pub(super) wrong: Vec<String>,
}

/// What a cell's own report has of it.
#[derive(Deserialize)]
struct Kept {
    outcome: String,
    #[serde(default)]
    message: String,
}

impl Watched {
    /// Starts a command that repeats a cell in a directory of its own, which this removes in the end.
    pub(super) fn start(mut command: Command, dir: &Path) -> Result<Self> {
        let mark = format!("{}-watched", std::process::id());
        let child = command
            .current_dir(dir)
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.join("stdout"))?)
            .stderr(fs::File::create(dir.join("stderr"))?)
            .spawn()
            .context("failed to start the process that is watched")?;
        let (begun, dir) = (Instant::now(), dir.to_owned());
        Ok(Watched { child, mark, dir, begun, warm: None, most: Resources::default() })
    }

    /// Notes what it holds now.
    pub(super) fn look(&mut self) {
        let pid = self.child.id().cast_signed();
        let process = Process { pid, role: Role::Runner, name: "kernlab".to_owned() };
        let Some(now) = process.resources() else { return };
        if self.begun.elapsed() < WARM {
            return;
        }
        self.warm.get_or_insert(now);
        self.most.resident = self.most.resident.max(now.resident);
        self.most.descriptors = self.most.descriptors.max(now.descriptors);
    }

    /// Ends it, and says what was seen.
    pub(super) fn end(mut self) -> Result<Seen> {
        let mut wrong = Vec::new();
        if let Some(status) = self.child.try_wait()? {
            let stderr = fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
            wrong.push(format!("the watched process ended by itself: {status}: {stderr}"));
        }
        let process = Process {
            pid: self.child.id().cast_signed(),
            role: Role::Runner,
            name: "kernlab".to_owned(),
        };
        process.signal(Signal::SIGTERM);
        let left = process::remaining(&self.mark, ENDS_WITHIN);
        wrong.extend(left.iter().map(|left| format!("left by the watched process: {}", left.name)));
        process::end_all(&self.mark);
        self.child.wait()?;
        let mut cells = 0;
        for file in super::place::files(&self.dir.join(".kernlab")) {
            if file.file_name().is_some_and(|name| name == "cell.json") {
                cells += 1;
                let kept: Kept = serde_json::from_slice(&fs::read(&file)?)
                    .with_context(|| format!("{} is damaged", file.display()))?;
                if kept.outcome != "pass" {
                    wrong.push(format!("watched: {}: {}", kept.outcome, kept.message));
                }
            }
        }
        let warm = self.warm.unwrap_or(self.most);
        if self.most.resident > warm.resident + MEMORY {
            wrong.push(format!(
                "the watched process grew from {} to {} bytes",
                warm.resident, self.most.resident
            ));
        }
        if self.most.descriptors > warm.descriptors + DESCRIPTORS {
            wrong.push(format!(
                "the watched process had {} descriptors, then {}",
                warm.descriptors, self.most.descriptors
            ));
        }
        Ok(Seen {
            seconds: self.begun.elapsed().as_secs(),
            cells,
            warm_memory: warm.resident,
            most_memory: self.most.resident,
            warm_descriptors: warm.descriptors,
            most_descriptors: self.most.descriptors,
            wrong,
        })
    }
}
