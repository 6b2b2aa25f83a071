//! Compares a command in a guest of this lab with the same command under other harnesses, on the
//! same kernel and accelerator.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io,
    num::NonZeroUsize,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use wait_timeout::ChildExt as _;

use super::{Named, Report, Summary};
use crate::{
    checkpoints::Checkpoints,
    lab::{BOOT_TIMEOUT, Bootable, Guest, Job, LabError, Ready},
    qemu::Accelerator,
    suite::payload::in_path,
};
use kernlab_kernels::{Silent, Store};

/// What to measure, and how often.
#[derive(Clone, Debug)]
pub struct BaselineBench {
    /// The guest; its PID 1 must be the lab's agent.
    pub bootable: Bootable,
    /// The kernel's id, for the report.
    pub kernel: String,
    /// The bzImage that the other harnesses need.
    pub image: PathBuf,
    /// The store with the checkpoint.
    pub store: Store,
    /// How often to measure everything.
    pub rounds: NonZeroUsize,
}

/// Why the comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// A guest of this lab failed. It is boxed because it carries its evidence.
    #[error(transparent)]
    Guest(Box<LabError>),
    /// The host failed.
    #[error("failed to run another harness")]
    Host(#[from] io::Error),
}

impl From<LabError> for BaselineError {
    fn from(error: LabError) -> Self {
        BaselineError::Guest(Box::new(error))
    }
}

/// Another harness: <https://github.com/arighi/virtme-ng>, <https://github.com/danobi/vmtest>.
struct Baseline {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    /// How to tell that the command ran in a guest.
    sign: Sign,
    /// Why the harness can't run the kernel.
    unable: Option<String>,
    times: Vec<Duration>,
}

/// What a harness returns from its guest.
#[derive(Clone, Copy)]
enum Sign {
    /// The command's exit code; its output appears only on a terminal.
    Status,
    /// The command's output.
    Output,
}

/// The command's output, for a harness that returns output.
const MARK: &str = "the guest was here";
/// The command's exit code, for a harness that returns it.
const STATUS: i32 = 7;

/// The timeout of a harness, without acceleration.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs the command under every harness in `PATH` in turn, so that changes of the machine's load
/// affect all of them. If a harness can't run the kernel, its last output becomes a condition of
/// the report. `observe` is called before each round with its number, counted from 1.
pub fn baselines(
    bench: &BaselineBench,
    mut observe: impl FnMut(usize),
) -> Result<Report, BaselineError> {
    let scratch = tempfile::tempdir()?;
    let mut baselines = found(bench, scratch.path())?;
    let checkpoints = Checkpoints::of(&bench.store);
    checkpoints.prepare(&bench.bootable, &Silent)?;
    let (mut restored, mut booted) = (Vec::new(), Vec::new());
    for number in 1..=bench.rounds.get() {
        observe(number);
        restored.push(ours(|| checkpoints.guest(&bench.bootable, &Silent))?);
        booted.push(ours(|| Guest::boot(&bench.bootable, BOOT_TIMEOUT))?);
        for baseline in baselines.iter_mut().filter(|baseline| baseline.unable.is_none()) {
            match baseline.run(scratch.path())? {
                Ok(time) => baseline.times.push(time),
                Err(error) => baseline.unable = Some(error),
            }
        }
    }
    Ok(report(bench, &restored, &booted, &baselines))
}

fn report(
    bench: &BaselineBench,
    restored: &[Duration],
    booted: &[Duration],
    baselines: &[Baseline],
) -> Report {
    let of = |times: &[Duration]| {
        Summary::of(times).unwrap_or_else(|| unreachable!("there is at least one round"))
    };
    let (restored, booted) = (of(restored), of(booted));
    let mut conditions = vec![
        ("kernel", bench.kernel.clone()),
        ("accelerator", bench.bootable.accelerator().name().to_owned()),
    ];
    let mut measurements = vec![("restored", restored), ("booted", booted)];
    let mut ratios = vec![("booted / restored".to_owned(), booted.median_ms / restored.median_ms)];
    for baseline in baselines {
        match (&baseline.unable, Summary::of(&baseline.times)) {
            (None, Some(summary)) => {
                measurements.push((baseline.name, summary));
                ratios.push((
                    format!("{} / restored", baseline.name),
                    summary.median_ms / restored.median_ms,
                ));
            }
            (unable, _) => {
                let error = unable.clone().unwrap_or_default();
                conditions.push((baseline.name, format!("can't run this kernel ({error})")));
            }
        }
    }
    Report {
        schema: 1,
        benchmark: "baselines",
        conditions: Named::of(conditions),
        measurements: Named::of(measurements),
        ratios: Named::of(ratios),
    }
}

/// The time from nothing to the command's end.
fn ours(guest: impl FnOnce() -> Result<Guest<Ready>, LabError>) -> Result<Duration, LabError> {
    let began = Instant::now();
    // The job is the agent itself, which exits at once unless it is PID 1.
    guest()?.run(&Job::new(["/init"]))?;
    Ok(began.elapsed())
}

/// The installed harnesses, limited to the memory and processors of the lab's guest.
fn found(bench: &BaselineBench, scratch: &Path) -> io::Result<Vec<Baseline>> {
    let accelerated = bench.bootable.accelerator() == Accelerator::Kvm;
    let image = || bench.image.clone().into_os_string();
    let mut virtme: Vec<OsString> = vec!["--run".into(), image()];
    virtme.extend(["--cpus", "1", "--user", "root"].map(Into::into));
    if !accelerated {
        virtme.push("--disable-kvm".into());
    }
    virtme.extend(["--exec".into(), format!("exit {STATUS}").into()]);
    let mut danobi: Vec<OsString> = vec!["--kernel".into(), image()];
    if !accelerated {
        let qemu = scratch.join("qemu");
        fs::write(&qemu, unaccelerated(&bench.bootable.qemu.path().display().to_string()))?;
        fs::set_permissions(&qemu, Permissions::from_mode(0o755))?;
        danobi.extend(["--qemu-command".into(), qemu.into_os_string()]);
    }
    danobi.push(format!("echo {MARK}").into());
    let all = [
        ("virtme-ng", "vng", virtme, Sign::Status),
        ("danobi/vmtest", "vmtest", danobi, Sign::Output),
    ];
    let installed = all.into_iter().filter_map(|(name, program, arguments, sign)| {
        let program = in_path(program)?;
        Some(Baseline { name, program, arguments, sign, unable: None, times: Vec::new() })
    });
    Ok(installed.collect())
}

/// A QEMU for a harness that uses KVM whenever `/dev/kvm` exists.
fn unaccelerated(qemu: &str) -> String {
    format!(
        "#!/bin/sh\nfor word do\n  shift\n  case $word in\n    -enable-kvm) ;;\n    \
         host) set -- \"$@\" qemu64 ;;\n    *) set -- \"$@\" \"$word\" ;;\n  esac\ndone\n\
         exec '{qemu}' \"$@\"\n"
    )
}

impl Baseline {
    /// The duration of the command, or why it failed.
    fn run(&self, scratch: &Path) -> io::Result<Result<Duration, String>> {
        let log = scratch.join("log");
        let file = File::create(&log)?;
        let began = Instant::now();
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            // The last line of the output must be the reason of a failure.
            .env("RUST_BACKTRACE", "0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        let group = Pid::from_raw(child.id().cast_signed());
        let status = child.wait_timeout(TIMEOUT)?;
        let took = began.elapsed();
        // Kills whatever it left running, such as its QEMU.
        let _gone = killpg(group, Signal::SIGKILL);
        child.wait()?;
        let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let shown = match self.sign {
            Sign::Status => status.is_some_and(|status| status.code() == Some(STATUS)),
            Sign::Output => status.is_some_and(|status| status.success()) && output.contains(MARK),
        };
        if shown {
            return Ok(Ok(took));
        }
        let last = output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        let how = match status {
            Some(status) => status.to_string(),
            None => format!("no end within {} s", TIMEOUT.as_secs()),
        };
        Ok(Err(format!("{how}; last output: {}", last.trim())))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn baseline(script: &str, sign: Sign) -> Baseline {
        Baseline {
            name: "baseline",
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            sign,
            unable: None,
            times: Vec::new(),
        }
    }

    #[rstest]
    #[case(&format!("echo {MARK}"), Sign::Output)]
    #[case(&format!("exit {STATUS}"), Sign::Status)]
    fn only_a_guest_that_was_there_counts(#[case] script: &str, #[case] sign: Sign) {
        let scratch = tempfile::tempdir().unwrap();
        let ran = baseline(script, sign).run(scratch.path()).unwrap();
        assert!(ran.is_ok(), "{ran:?}");
    }

    #[rstest]
    #[case::failed("echo no 9p >&2; exit 3", Sign::Output, "exit status: 3; last output: no 9p")]
    #[case::silent("exit 0", Sign::Output, "exit status: 0; last output: nothing")]
    #[case::of_its_own("exit 0", Sign::Status, "exit status: 0; last output: nothing")]
    fn a_baseline_that_can_not_run_says_why(
        #[case] script: &str,
        #[case] sign: Sign,
        #[case] expected: &str,
    ) {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(baseline(script, sign).run(scratch.path()).unwrap(), Err(expected.to_owned()));
    }

    #[test]
    fn acceleration_is_left_out() {
        let scratch = tempfile::tempdir().unwrap();
        let qemu = scratch.path().join("qemu");
        fs::write(&qemu, unaccelerated("/bin/echo")).unwrap();
        let output = Command::new("/bin/sh")
            .arg(&qemu)
            .args(["-m", "a b", "-enable-kvm", "-cpu", "host", "-smp", "2"])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"-m a b -cpu qemu64 -smp 2\n");
    }
}
