//! What tracing costs a program that only writes.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use kernlab_core::{
    backend::Backend, cost::Cost, facts::KernelFacts, plan::plan, scenario::Scenario,
};

use crate::events;

/// Calls of write(2) before the clock starts: what is executed for the first time takes longer.
const WARM_UP: u64 = 1000;

/// The program: waits for a line, writes, and says how many nanoseconds `calls` writes took.
pub(crate) fn write(calls: u64) -> Result<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("waiting for the start")?;
    let mut sink = File::options().write(true).open("/dev/null").context("opening /dev/null")?;
    let mut writes = |calls| (0..calls).try_for_each(|_| sink.write_all(b"x"));
    writes(WARM_UP).context("writing")?;
    let began = Instant::now();
    writes(calls).context("writing")?;
    println!("{}", began.elapsed().as_nanos());
    Ok(())
}

/// Runs the program, traced by `backend` if there is one.
pub(crate) fn measure(
    backend: Option<&dyn Backend>,
    scenario: &Scenario,
    facts: &KernelFacts,
    calls: u64,
) -> Result<Cost> {
    let mut writer = Command::new("/proc/self/exe")
        .args(["write", "--calls", &calls.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the writer")?;
    let (mut start, said) = writer.stdin.take().zip(writer.stdout.take()).context("its pipes")?;
    let session = backend.map(|backend| -> Result<_> {
        let mut plan = plan(scenario, facts)?;
        plan.config.tgid = writer.id();
        Ok(backend.open(&plan)?)
    });
    let mut session = session.transpose()?;
    start.write_all(b"\n").context("starting to write")?;

    let mut captured = 0;
    let mut count = |_: &[u8]| captured += 1;
    if let Some(session) = &mut session {
        loop {
            let done = events::wait(session.wait_on(), said.as_fd())?;
            session.consume(&mut count)?;
            if done {
                break;
            }
        }
    }
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).context("reading the writer's time")?;
    writer.wait().context("waiting for the writer")?;
    let lost = match session {
        Some(session) => session.finish(&mut count)?.lost,
        None => 0,
    };
    // Otherwise tracing seems to cost less than it does.
    let (made, traced) = (WARM_UP + calls, captured + lost);
    ensure!(
        backend.is_none() || traced >= made,
        "{made} calls were made, and {traced} were traced"
    );
    Ok(Cost { calls, elapsed_ns: nanoseconds(&line)?, captured, lost })
}

fn nanoseconds(said: &str) -> Result<u64> {
    said.trim_end().parse().with_context(|| format!("the writer said {said:?}"))
}

/// What bpftrace is to do: an event for each call, less what would need the headers of C to be parsed.
const SCRIPT: &str = "tracepoint:syscalls:sys_exit_write /pid == cpid/ \
                      { printf(\"write %d %d %s\\n\", pid, tid, comm); }";
/// Where its events go: a file in memory costs less than a pipe.
const EVENTS: &str = "/tmp/bpftrace-events";

/// Runs the program, traced by bpftrace, which starts it once its probe is attached.
pub(crate) fn measure_bpftrace(bpftrace: &Path, calls: u64) -> Result<Cost> {
    let us = env::current_exe().context("finding our own program")?;
    let output = Command::new(bpftrace)
        .args(["-B", "full", "-o", EVENTS, "-e", SCRIPT, "-c"])
        .arg(format!("{} write --calls {calls}", us.display()))
        .stdin(Stdio::null())
        .output()
        .context("starting bpftrace")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "bpftrace failed ({}): {said}", output.status);
    let elapsed_ns = nanoseconds(&String::from_utf8_lossy(&output.stdout))?;
    let events = fs::read_to_string(EVENTS).with_context(|| format!("reading {EVENTS}"))?;
    let (captured, lost) = tally(&events);
    Ok(Cost { calls, elapsed_ns, captured, lost })
}

/// How many events there are in what bpftrace wrote, and how many it says that it lost.
fn tally(events: &str) -> (u64, u64) {
    let captured = events.lines().filter(|line| line.starts_with("write ")).count() as u64;
    let lost = events.lines().filter_map(|line| {
        let count = line.strip_prefix("Lost ")?.strip_suffix(" events")?;
        count.parse::<u64>().ok()
    });
    (captured, lost.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bpftrace_wrote_is_counted() {
        let written = "Attaching 1 probe...\nwrite 7 7 w 1\nwrite 7 7 w 1\nLost 30 events\n\
                       write 7 7 w 1\nLost 4 events\n\n";
        assert_eq!(tally(written), (3, 34));
        assert_eq!(tally(""), (0, 0));
    }
}
