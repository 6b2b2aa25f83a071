//! The course of one cell.

use std::{
    collections::BTreeSet,
    fs, io,
    process::Child,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use kernlab_proto::suite::{Cause, End, Part, Readiness, SuiteJob, SuiteReport};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpgid},
};
use regex::bytes::Regex;

use crate::{
    collect::collect,
    loaded,
    prepare::{self, prepare},
    process::{self, User, end_of},
    pump,
    report::Reports,
    settled::{self, Settled},
};

/// How often the kernel is asked for what it has no notification for.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long killed processes may take to end, and their output to arrive.
const DEATH: Duration = Duration::from_secs(2);
/// How long the rest of the output may take to arrive once all processes have ended: on a host that is busy,
/// the threads that read it may get no processor for that long.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How long BPF programs may take to be freed after the last process has ended: the kernel frees
/// them after a grace period.
const FREED: Duration = Duration::from_secs(1);

/// Something that a thread noticed.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The tracer's output has the pattern.
    Matched,
    /// One of the tracer's two streams has no writer any more.
    OutputEnded,
    /// The tracer's first process has ended.
    Ended(End),
}

/// The tracer while it runs.
struct Tracer {
    /// Its first process, and the process group that it started with.
    group: Pid,
    started: Instant,
    happenings: Receiver<Happening>,
    matched: bool,
    streams: u32,
    end: Option<End>,
}

/// Does the job. An error means that this program failed, and not the suite.
pub(crate) fn conduct(job: &SuiteJob, reports: &Reports) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_millis(job.deadline_ms);
    let prepared = prepare(job, deadline).and_then(|()| User::of(job));
    let user = match prepared {
        Ok(user) => user,
        Err(what) => return finish(job, reports, &SuiteReport::SetupFailed { what }),
    };
    let patterns = patterns(&job.ready).map_err(|error| format!("the pattern: {error}"))?;
    let before = Before {
        programs: loaded::program_ids().ok().map(BTreeSet::from_iter),
        maps: loaded::map_ids().unwrap_or_default().into_iter().collect(),
    };
    let mut tracer = match process::tracer(job, user) {
        Ok(child) => Tracer::watch(child, patterns),
        Err(error) => {
            let report = not_started(Part::Tracer, &job.tracer, &error);
            return finish(job, reports, &report);
        }
    };
    reports.send(&SuiteReport::Started)?;

    let cause = match &job.workload {
        None => tracer.wait_until(deadline).map_or(Cause::Deadline, |_| Cause::Itself),
        Some(workload) => match tracer.ready(&job.ready, &before, deadline) {
            Err(cause) => cause,
            Ok(()) => {
                let after_ms = milliseconds(tracer.started.elapsed());
                reports.send(&SuiteReport::Ready { after_ms })?;
                work(job, workload, user, deadline, reports)?;
                tracer.catch_up(job, deadline);
                if tracer.end.is_some() { Cause::Itself } else { Cause::Stopped }
            }
        },
    };
    let programs = before.new_programs().unwrap_or_default();
    let programs = programs.into_iter().filter_map(loaded::program).collect();
    let maps = loaded::map_ids().unwrap_or_default().into_iter();
    let maps = maps.filter(|id| !before.maps.contains(id)).filter_map(loaded::map).collect();
    reports.send(&SuiteReport::Loaded { programs, maps })?;
    let (end, cause) = tracer.stop(job, cause);
    let duration_ms = milliseconds(tracer.started.elapsed());
    reports.send(&SuiteReport::TracerEnded { end, cause, duration_ms })?;
    clear(job, &mut tracer, &before, reports)?;
    collect(job, reports)?;
    reports.send(&SuiteReport::Done)
}

/// Ends a job that went no further than this report.
fn finish(job: &SuiteJob, reports: &Reports, report: &SuiteReport) -> Result<(), String> {
    reports.send(report)?;
    collect(job, reports)?;
    reports.send(&SuiteReport::Done)
}

fn not_started(part: Part, argv: &[String], error: &io::Error) -> SuiteReport {
    let program = argv.first().map_or("nothing", String::as_str);
    SuiteReport::NotStarted { part, why: format!("{program}: {error}") }
}

/// The patterns for standard output and standard error.
fn patterns(ready: &Readiness) -> Result<[Option<Regex>; 2], regex::Error> {
    Ok(match ready {
        Readiness::Stdout(pattern) => [Some(pump::pattern(pattern)?), None],
        Readiness::Stderr(pattern) => [None, Some(pump::pattern(pattern)?)],
        Readiness::Programs(_) => [None, None],
    })
}

/// What was loaded before the tracer started.
struct Before {
    /// None if the kernel does not tell.
    programs: Option<BTreeSet<u32>>,
    maps: BTreeSet<u32>,
}

impl Before {
    /// The programs that were loaded since; none if the kernel has never told. An error if it told at first.
    fn new_programs(&self) -> io::Result<Vec<u32>> {
        let Some(before) = &self.programs else { return Ok(Vec::new()) };
        Ok(loaded::program_ids()?.into_iter().filter(|id| !before.contains(id)).collect())
    }
}

/// Runs the workload to its end.
fn work(
    job: &SuiteJob,
    workload: &[String],
    user: Option<User>,
    deadline: Instant,
    reports: &Reports,
) -> Result<(), String> {
    let started = Instant::now();
    let report = match prepare::run(job, workload, user, deadline) {
        Ok((end, output)) => {
            SuiteReport::WorkloadEnded { end, duration_ms: milliseconds(started.elapsed()), output }
        }
        Err(error) => not_started(Part::Workload, workload, &error),
    };
    reports.send(&report)
}

/// Ends whatever is still running, and reports what was left behind.
fn clear(
    job: &SuiteJob,
    tracer: &mut Tracer,
    before: &Before,
    reports: &Reports,
) -> Result<(), String> {
    // Helpers of the tracer may be about to end as well.
    let patience = Instant::now() + Duration::from_millis(job.stop.within_ms).min(FREED);
    let is_alone = all_gone(patience);
    if !is_alone {
        let mut processes = processes();
        // Everything but PID 1 and this program.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        all_gone(Instant::now() + DEATH);
        if processes.is_empty() {
            processes.push("a process whose name can't be read".to_owned());
        }
        reports.send(&SuiteReport::LeftRunning { processes })?;
    }
    // A process that is left may hold a stream. If none is left, the rest of the output is on its way.
    let is_complete = tracer.drain(Instant::now() + if is_alone { ARRIVAL } else { DEATH });
    if is_alone && !is_complete {
        return Err("the end of the tracer's output did not arrive in time".to_owned());
    }
    let freed = Instant::now() + FREED;
    loop {
        let left = before.new_programs();
        let left = left.map_err(|error| format!("ask which programs stayed loaded: {error}"))?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= freed {
            let programs: Vec<_> = left.into_iter().filter_map(loaded::program).collect();
            if programs.is_empty() {
                return Ok(());
            }
            return reports.send(&SuiteReport::LeftLoaded { programs });
        }
        thread::sleep(INTERVAL);
    }
}

/// Whether all children have ended: those of this program, and those that it inherited.
fn all_gone(deadline: Instant) -> bool {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return true,
            Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => return false,
            Ok(WaitStatus::StillAlive) => thread::sleep(INTERVAL),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// The names of all programs that run, without PID 1, this program and the kernel's threads.
fn processes() -> Vec<String> {
    let own = std::process::id();
    let mut names = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // The kernel's threads have no program, and a zombie has none any more.
        if pid == 1 || pid == own || fs::read_link(entry.path().join("exe")).is_err() {
            continue;
        }
        if let Ok(name) = fs::read_to_string(entry.path().join("comm")) {
            names.push(name.trim_end().to_owned());
        }
    }
    names.sort();
    names
}

impl Tracer {
    fn watch(mut child: Child, [out, err]: [Option<Regex>; 2]) -> Self {
        let (events, happenings): (Sender<Happening>, _) = channel();
        let group = Pid::from_raw(child.id().cast_signed());
        let mut streams = 0;
        if let Some(stdout) = child.stdout.take() {
            pump::copy(stdout, io::stdout(), out, events.clone());
            streams += 1;
        }
        if let Some(stderr) = child.stderr.take() {
            pump::copy(stderr, io::stderr(), err, events.clone());
            streams += 1;
        }
        thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _ = events.send(Happening::Ended(end_of(status)));
            }
        });
        let started = Instant::now();
        Tracer { group, started, happenings, matched: false, streams, end: None }
    }

    /// Waits for the next happening. `false` if there is none until the deadline.
    fn notice(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.happenings.recv_timeout(left) {
            Ok(Happening::Matched) => self.matched = true,
            Ok(Happening::OutputEnded) => self.streams -= 1,
            Ok(Happening::Ended(end)) => self.end = Some(end),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// Lets the tracer tell what it has seen of the workload: waits until it waits for more, or has
    /// ended. A tracer that is busy for ever gets a quarter of the suite's time for this.
    fn catch_up(&mut self, job: &SuiteJob, deadline: Instant) {
        let patience = Duration::from_millis(job.stop.within_ms.max(job.deadline_ms / 4));
        let patience = (Instant::now() + patience).min(deadline);
        let mut settled = Settled::new(self.group);
        while self.end.is_none() && Instant::now() < patience && !settled.look() {
            let next = Instant::now() + settled::INTERVAL;
            while self.end.is_none() && self.notice(next) {}
        }
        // An end that is noticed too late would look like one that was asked for.
        let now = Instant::now();
        while self.notice(now) {}
    }

    /// Waits for the end of the tracer.
    fn wait_until(&mut self, deadline: Instant) -> Option<End> {
        while self.end.is_none() && self.notice(deadline) {}
        self.end
    }

    /// Waits until the tracer is ready.
    fn ready(
        &mut self,
        ready: &Readiness,
        before: &Before,
        deadline: Instant,
    ) -> Result<(), Cause> {
        let mut settled = Settled::new(self.group);
        loop {
            let mut interval = INTERVAL;
            let is_ready = match ready {
                Readiness::Stdout(_) | Readiness::Stderr(_) => self.matched,
                Readiness::Programs(wanted) => {
                    let loaded = before.new_programs().unwrap_or_default().len();
                    let is_loaded = loaded >= *wanted as usize;
                    if is_loaded {
                        interval = settled::INTERVAL;
                    }
                    is_loaded && settled.look()
                }
            };
            match (is_ready, self.end) {
                (true, _) => return Ok(()),
                (false, Some(_)) => return Err(Cause::Itself),
                (false, None) if Instant::now() >= deadline => return Err(Cause::NeverReady),
                (false, None) => {}
            }
            let next = match ready {
                Readiness::Programs(_) => deadline.min(Instant::now() + interval),
                Readiness::Stdout(_) | Readiness::Stderr(_) => deadline,
            };
            self.notice(next);
        }
    }

    /// Ends the tracer if it still runs, and returns how it ended and why.
    fn stop(&mut self, job: &SuiteJob, cause: Cause) -> (End, Cause) {
        if let Some(end) = self.end {
            return (end, cause);
        }
        let within = Instant::now() + Duration::from_millis(job.stop.within_ms);
        if let Ok(signal) = Signal::try_from(job.stop.signal) {
            self.signal(signal);
        }
        if let Some(end) = self.wait_until(within) {
            return (end, cause);
        }
        self.signal(Signal::SIGKILL);
        let end = self.wait_until(Instant::now() + DEATH);
        let cause = if cause == Cause::Stopped { Cause::Killed } else { cause };
        (end.unwrap_or(End::Signal(Signal::SIGKILL as i32)), cause)
    }

    /// Signals all processes of the group, like a terminal's ^C, and the tracer's first process also if
    /// that has left the group for another one, or for a session of its own.
    fn signal(&self, signal: Signal) {
        // If it ended just now, either call finds nothing.
        let has_left = getpgid(Some(self.group)).is_ok_and(|group| group != self.group);
        let _ = killpg(self.group, signal);
        if has_left {
            let _ = kill(self.group, signal);
        }
    }

    /// Waits until all output has been passed on, and tells whether it has.
    fn drain(&mut self, deadline: Instant) -> bool {
        while self.streams > 0 && self.notice(deadline) {}
        self.streams == 0
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
