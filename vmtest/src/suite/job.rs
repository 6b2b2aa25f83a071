//! What a guest gets for a suite: its files, and the job of its conductor.

use std::{
    env,
    path::{Path, PathBuf},
};

use kernlab_proto::suite::{JOB_FILE, Readiness, StopRequest, SuiteJob};

use super::{
    manifest::{Cgroup, Command, Ready, Subject, Suite},
    payload::{Payload, PayloadError},
    platform::Platform,
};

/// What loads a BPF object in a guest.
const LOADER: &str = "/bin/kernlab-tracer";
/// Where a guest finds the input of a command.
const STDIN: &str = "/run/kernlab/stdin";

/// The environment variable that tells a command of a user that it runs in a guest.
pub const IN_GUEST: &str = "KERNLAB_IN_GUEST";

/// Where programs of a suite run, and with what.
#[derive(Clone, Debug, Default)]
pub struct RunContext {
    /// The working directory, here and in the guest. Relative paths start from it.
    pub directory: PathBuf,
    /// The environment. A suite's own variables come on top of it.
    pub environment: Vec<(String, String)>,
    /// A file with the tracer's standard input.
    pub stdin: Option<PathBuf>,
}

impl RunContext {
    /// Where a project's suites run: the same on every machine.
    pub fn of_project(directory: &Path) -> Self {
        let environment = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        RunContext {
            directory: directory.to_owned(),
            environment: environment.to_vec(),
            stdin: None,
        }
    }

    /// The context of a command line: that of this process. Variables that are not UTF-8 are left out.
    pub fn of_process(directory: &Path, stdin: Option<PathBuf>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        // Directories for temporary files of this machine do not exist in the guest.
        let is_kept =
            |(name, _): &(String, String)| !matches!(&**name, "TMPDIR" | "LD_PRELOAD" | IN_GUEST);
        let mut environment: Vec<_> = env::vars_os().filter_map(text).filter(is_kept).collect();
        for (name, value) in &mut environment {
            if name == "PATH" {
                value.push_str(":/usr/sbin:/usr/bin:/sbin:/bin");
            }
        }
        environment.push((IN_GUEST.to_owned(), "1".to_owned()));
        RunContext { directory: directory.to_owned(), environment, stdin }
    }
}

/// The files of a suite's guest, and the job of its conductor. The caller sets the job's deadlines.
/// A BPF object gets its loader, of those of the directory `guest` for guests of the platform.
pub fn prepare(
    suite: &Suite,
    at: &RunContext,
    guest: &Path,
    platform: &Platform,
) -> Result<(Payload, SuiteJob), PayloadError> {
    let mut payload = match suite.root {
        Some(_) => Payload::for_root(platform),
        None => Payload::new(platform)?,
    };
    let mut environment = at.environment.clone();
    environment.retain(|(name, _)| !suite.env.contains_key(name));
    environment.extend(suite.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    let library_path = environment.iter().find(|(name, _)| name == "LD_LIBRARY_PATH");
    payload = payload.with_library_path(library_path.map(|(_, path)| path.clone()));
    let directory = suite.directory.as_ref().unwrap_or(&at.directory);
    let tracer = match &suite.subject {
        Subject::Run(command) => argv(command, directory, &mut payload)?,
        Subject::Bpftrace(script) => {
            let words = ["bpftrace".to_owned(), path_text(script)];
            payload.tree(&directory.join(script), None)?;
            argv(&Command::Argv(words.to_vec()), directory, &mut payload)?
        }
        Subject::Object(object) => {
            payload.placed(LOADER, &guest.join("kernlab-tracer"));
            let path = directory.join(&object.path);
            payload.tree(&path, None)?;
            let attach = object.attach.then(|| "--attach".to_owned());
            [LOADER, "object", "--print"]
                .map(str::to_owned)
                .into_iter()
                .chain(attach)
                .chain([path_text(&path)])
                .collect()
        }
    };
    let workload = match &suite.workload {
        Some(command) => Some(argv(command, directory, &mut payload)?),
        None => None,
    };
    for file in &suite.files {
        payload.tree(&directory.join(&file.host), file.guest.as_deref())?;
    }
    for file in suite.data.iter() {
        payload.data(file)?;
    }
    if let Some(stdin) = &at.stdin {
        payload.placed(STDIN, stdin);
    }
    let job = SuiteJob {
        directory: path_text(directory),
        environment,
        user: suite.user.clone(),
        sysctl: suite.guest.sysctl.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        cgroup: suite.guest.cgroup.map(|version| match version {
            Cgroup::V1 => 1,
            Cgroup::V2 => 2,
        }),
        netns: suite.guest.netns,
        setup: suite.setup.clone(),
        tracer,
        stdin: at.stdin.as_ref().map(|_| STDIN.to_owned()),
        ready: match &suite.ready {
            Some(Ready::Stdout(pattern)) => Readiness::Stdout(pattern.source().to_owned()),
            Some(Ready::Stderr(pattern)) => Readiness::Stderr(pattern.source().to_owned()),
            Some(Ready::Programs(count)) => Readiness::Programs(*count),
            None => Readiness::default(),
        },
        workload,
        stop: StopRequest {
            signal: suite.stop.number(),
            within_ms: crate::run::milliseconds(suite.stop.within),
        },
        deadline_ms: 0,
        collect: suite.collect.clone(),
        collect_within_ms: 0,
    };
    Ok((payload, job))
}

/// The file with the job, where the conductor reads it.
pub fn file(job: &SuiteJob) -> Payload {
    let text = serde_json::to_string(job)
        .unwrap_or_else(|error| unreachable!("a job is plain data: {error}"));
    let mut payload = Payload::default();
    payload.text(JOB_FILE, text);
    payload
}

/// A command's arguments, with its program in the payload. Arguments that name files below the
/// directory bring these files.
fn argv(
    command: &Command,
    directory: &Path,
    payload: &mut Payload,
) -> Result<Vec<String>, PayloadError> {
    let mut argv = command.argv();
    if let Some(program) = argv.first_mut() {
        *program = payload.program(program, directory)?;
    }
    if let Command::Argv(_) = command {
        for argument in argv.iter().skip(1) {
            // Also `--option=file`.
            let value = argument.split_once('=').map_or(&**argument, |(_, value)| value);
            let path = directory.join(value);
            if !value.is_empty() && is_below(&path, directory) {
                payload.tree(&path, None)?;
            }
        }
    }
    Ok(argv)
}

/// Whether this is a file below the directory. A whole directory must be named in `files`.
fn is_below(path: &Path, directory: &Path) -> bool {
    path.is_file() && path.starts_with(directory)
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
