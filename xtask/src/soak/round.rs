//! One run with one fault: started, struck, watched, and compared with what it must be.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::{
    fault::Fault,
    place::Place,
    process::{self, MARK, Process, Role, TICK},
    verdict::{Cell, Judge, Judged, Report},
    work::Work,
};
use crate::build::{GuestPrograms, HostTool};

/// A run that takes longer hangs: the deadline of a cell is less than half of this.
const HANGS_AFTER: Duration = Duration::from_secs(300);
/// How long the processes of a run that has ended may take to end.
const LEFT_AFTER: Duration = Duration::from_secs(20);
/// The seconds that a cell with a wedged guest gets.
const WEDGED: u32 = 2;

/// What runs need.
pub(super) struct Lab<'a> {
    pub(super) tool: &'a HostTool,
    pub(super) guest: &'a GuestPrograms,
    pub(super) place: &'a Place,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Whether the fault reached what it was for.
    pub(super) struck: bool,
    /// How each cell was judged.
    pub(super) judged: Vec<Judged>,
    /// Its cells, in words, if they are not as without a fault.
    pub(super) told: Vec<String>,
    /// What is wrong.
    pub(super) wrong: Vec<String>,
    /// The disk space of the directories of its runs, in bytes.
    pub(super) runs_size: u64,
    pub(super) duration: Duration,
}

/// A process of the round.
struct Run {
    child: Child,
    report: PathBuf,
    stderr: PathBuf,
    status: Option<ExitStatus>,
}

impl Lab<'_> {
    /// Runs it, and does what the fault says at a random moment of the time that it usually takes.
    pub(super) fn round(
        &self,
        work: &Work,
        fault: &Fault,
        usual: Duration,
        random: &mut fastrand::Rng,
        judge: &mut Judge,
    ) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        match fault {
            Fault::Damage(how) => {
                if let Some(name) = self.place.damage(random, *how)? {
                    outcome.told.push(name);
                    outcome.struck = true;
                }
            }
            Fault::Times => self.place.change_times(random)?,
            _ => {}
        }
        let before = self.place.runs_in_checkout();
        let mark = format!("{}-{:x}", std::process::id(), random.u64(..));
        let begun = Instant::now();
        let number = if let Fault::Beside(number) = fault { *number } else { 1 };
        let mut runs = (0..number)
            .map(|number| self.start(work, fault, &mark, number))
            .collect::<Result<Vec<_>>>()?;
        let due = begun + usual.mul_f64(random.f64());
        let mut strike = Strike::new(self, fault, &mark);
        while runs.iter_mut().any(|run| run.is_running()) {
            if begun.elapsed() > HANGS_AFTER {
                let seconds = HANGS_AFTER.as_secs();
                outcome.wrong.push(format!("it still runs after {seconds} s"));
                break;
            }
            if Instant::now() >= due {
                strike.try_it(&runs[0], random)?;
            }
            thread::sleep(TICK);
        }
        outcome.duration = begun.elapsed();
        let own = strike.settle();
        outcome.struck |= own.struck;
        outcome.wrong.extend(own.wrong);

        let left = process::remaining(&mark, LEFT_AFTER);
        outcome.wrong.extend(left.iter().map(|process| {
            let Process { pid, role, name } = process;
            format!("left running: {} ({name}, process {pid})", role.name())
        }));
        process::end_all(&mark);
        for run in &mut runs {
            let status = run.child.wait()?;
            run.judge(status, work, fault, judge, &mut outcome);
        }
        outcome.wrong.extend(self.place.held_locks().into_iter().map(|it| format!("held: {it}")));
        let files = self.place.clear_temporary()?;
        if !(files.is_empty() || fault.leaves_temporary_files()) {
            outcome.wrong.push(format!("temporary files are left: {}", files.join(", ")));
        }
        if !outcome.wrong.is_empty() {
            let kept = self.place.keep_evidence(&mark, &before)?;
            outcome.told.push(format!("kept in {}", kept.display()));
        }
        outcome.runs_size = self.place.remove_runs(&before)?;
        Ok(outcome)
    }

    fn start(&self, work: &Work, fault: &Fault, mark: &str, number: u32) -> Result<Run> {
        let reports = self.place.reports();
        let dir = reports.join(format!("{number}"));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
        let timeout = matches!(fault, Fault::Wedge).then_some(WEDGED);
        let arguments = work.arguments(&dir, timeout);
        let report = match work.reports_on_stdout() {
            true => dir.join("stdout"),
            false => dir.join("report.json"),
        };
        let stderr = dir.join("stderr");
        let mut command = self.command(fault)?;
        command
            .args(arguments)
            .env(MARK, mark)
            .stdin(Stdio::null())
            .stdout(File::create(dir.join("stdout"))?)
            .stderr(File::create(&stderr)?);
        match work {
            Work::Matrix { .. } => command.current_dir(crate::workspace::root()),
            Work::Suite { .. } | Work::Exec { .. } => command.current_dir(self.place.project()),
        };
        let child = command.spawn().context("failed to start a run")?;
        Ok(Run { child, report, stderr, status: None })
    }

    /// The host tool, as this fault wants it to be started.
    pub(super) fn command(&self, fault: &Fault) -> Result<Command> {
        let (program, environment) = self.tool.program();
        let mut command = match fault {
            Fault::FileLimit(blocks) => {
                let mut shell = Command::new("sh");
                // Without the signal, a write that is too long is an error.
                let line = format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" \"$@\"");
                shell.args(["-c", &line]).arg(program);
                shell
            }
            Fault::OneProcessor => {
                let mut taskset = Command::new("taskset");
                taskset.args(["-c", "0"]).arg(program);
                taskset
            }
            // Ends with the soak, however that ends.
            _ => {
                let mut bound = Command::new("setpriv");
                bound.args(["--pdeathsig", "TERM"]).arg(program);
                bound
            }
        };
        command
            .envs(environment.iter().cloned())
            .env(crate::build::GUEST_VARIABLE, self.guest.dir_name()?)
            .env("KERNLAB_STORE", &self.place.store)
            .env("KERNLAB_LOCKED", "1")
            .env("TMPDIR", self.place.temporary())
            .env_remove("CI");
        if *fault == Fault::QemuMemory {
            command.env("KERNLAB_QEMU", self.place.qemu_without_memory()?);
        }
        Ok(command)
    }
}

impl Run {
    fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_none()
    }

    /// Judges its report by what the fault may have changed.
    fn judge(
        &self,
        status: ExitStatus,
        work: &Work,
        fault: &Fault,
        judge: &mut Judge,
        outcome: &mut Outcome,
    ) {
        let stderr = fs::read(&self.stderr).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        if stderr.contains("panicked at") {
            outcome.wrong.push(format!("it panicked: {stderr}"));
        }
        let text = fs::read(&self.report).unwrap_or_default();
        let report: Option<Report> = serde_json::from_slice(&text).ok();
        let Some(Report { cells, .. }) = report else {
            let ended = match status.signal() {
                Some(signal) => format!("killed by signal {signal}"),
                None => format!("exit code {}", status.code().unwrap_or(-1)),
            };
            let last: Vec<_> = stderr.lines().rev().take(3).collect();
            let told = format!("no report, {ended}: {}", last.join(" | "));
            // Neither is there a result, nor has the user done anything wrong.
            let says_otherwise = matches!(status.code(), Some(0 | 2));
            let is_lost_for_nothing = !(outcome.struck && fault.may_lose_the_report());
            match says_otherwise || is_lost_for_nothing {
                true => outcome.wrong.push(told),
                false => outcome.told.push(told),
            }
            return;
        };
        let allowed = fault.allowed();
        let right = work.right();
        let judged: Vec<_> = cells.iter().map(|cell| judge.judge(cell, &right, allowed)).collect();
        for (cell, judged) in cells.iter().zip(&judged) {
            match judged {
                Judged::Right => {}
                Judged::NamesFault | Judged::Starved => outcome.told.push(cell.described()),
                Judged::Wrong => outcome.wrong.push(cell.described()),
            }
        }
        let expected = work.exit_code(&cells, &judged);
        let may_be_killed = matches!(fault, Fault::Signal(Role::Runner, _));
        if status.code() != Some(expected) && !(may_be_killed && status.signal().is_some()) {
            let cells: Vec<_> = cells.iter().map(Cell::described).collect();
            let cells = cells.join(" | ");
            outcome.wrong.push(format!("{status}, expected code {expected}: {cells}: {stderr}"));
        }
        outcome.judged.extend(judged);
    }
}

/// A fault that happens while a run goes on.
struct Strike<'a> {
    lab: &'a Lab<'a>,
    fault: &'a Fault,
    mark: &'a str,
    struck: bool,
    /// Who stands still, and until when.
    paused: Option<(Process, Instant)>,
    collection: Option<Child>,
}

struct Settled {
    struck: bool,
    wrong: Vec<String>,
}

impl<'a> Strike<'a> {
    fn new(lab: &'a Lab<'a>, fault: &'a Fault, mark: &'a str) -> Self {
        // The others are there from the beginning.
        let struck = matches!(
            fault,
            Fault::Times
                | Fault::FileLimit(_)
                | Fault::QemuMemory
                | Fault::OneProcessor
                | Fault::Beside(_)
        );
        Strike { lab, fault, mark, struck, paused: None, collection: None }
    }

    fn try_it(&mut self, run: &Run, random: &mut fastrand::Rng) -> Result<()> {
        if let Some((process, until)) = &self.paused
            && Instant::now() > *until
        {
            process.signal(Signal::SIGCONT);
            self.paused = None;
        }
        if self.struck {
            return Ok(());
        }
        let find = |role, random: &mut fastrand::Rng| match role {
            Role::Runner => {
                let pid = run.child.id().cast_signed();
                Some(Process { pid, role, name: "kernlab".to_owned() })
            }
            role => {
                let mut all = process::marked(self.mark);
                all.retain(|process| process.role == role);
                (!all.is_empty()).then(|| all.swap_remove(random.usize(..all.len())))
            }
        };
        match self.fault {
            Fault::Signal(role, signal) => {
                if let Some(process) = find(*role, random) {
                    self.struck = process.signal(*signal);
                }
            }
            Fault::Pause(role, duration) => {
                if let Some(process) = find(*role, random) {
                    self.struck = process.signal(Signal::SIGSTOP);
                    self.paused = Some((process, Instant::now() + *duration));
                }
            }
            Fault::Wedge => {
                if let Some(process) = find(Role::Qemu, random) {
                    self.struck = process.signal(Signal::SIGSTOP);
                }
            }
            Fault::Collection => {
                let mut command = self.lab.command(&Fault::None)?;
                command.args(["kernels", "gc"]).stdout(Stdio::null()).stderr(Stdio::null());
                self.collection = Some(command.current_dir(self.lab.place.project()).spawn()?);
                self.struck = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits for what it started.
    fn settle(self) -> Settled {
        if let Some((process, _)) = self.paused {
            process.signal(Signal::SIGCONT);
        }
        let mut wrong = Vec::new();
        if let Some(mut collection) = self.collection {
            // It is refused with 3 if a run uses the store.
            match collection.wait() {
                Ok(status) if matches!(status.code(), Some(0 | 3)) => {}
                ended => wrong.push(format!("kernels gc: {ended:?}")),
            }
        }
        Settled { struck: self.struck, wrong }
    }
}
