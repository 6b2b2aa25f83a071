//! Options of the commands that run one program in guests.

use std::path::PathBuf;

use clap::Args;
use kernlab_kernels::PROCESSORS_RANGE;
use kernlab_vmtest::suite::manifest::{Cgroup, FileSpec, GuestSpec, Suite, parse_memory};

/// What a program's guest has.
#[derive(Args, Debug)]
pub(crate) struct GuestOptions {
    /// Copy a file or a directory into the guest, with the libraries that programs in it need: to the
    /// same absolute path, or from HERE to THERE.
    #[arg(long = "file", value_name = "PATH|HERE=THERE", value_parser = file_spec)]
    files: Vec<FileSpec>,
    /// Bring a file or a directory of the guest back, into the run's evidence.
    #[arg(long, value_name = "PATH")]
    collect: Vec<String>,
    /// Hide a file or a directory of the guest from the program, such as `/sys/kernel/btf`.
    #[arg(long, value_name = "PATH")]
    hide: Vec<String>,
    /// The guest's memory: `512M`, `1G`, or a number of MiB. By default, what the kernel and the program's files need.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<u32>,
    /// The number of processors of the guest.
    #[arg(long, value_name = "N", value_parser = processors)]
    cpus: Option<u32>,
    /// Boot a guest instead of restoring a saved one.
    #[arg(long)]
    pub(crate) cold: bool,
    /// A tar archive or a directory that becomes the guest's root file system.
    #[arg(long, value_name = "PATH")]
    root: Option<PathBuf>,
    /// Load a module of the kernel's package, and those that it needs.
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// Mount control groups of this version, `v1` or `v2`, at `/sys/fs/cgroup`. Without it, none are mounted.
    #[arg(long, value_name = "VERSION", value_parser = cgroup)]
    cgroup: Option<Cgroup>,
    /// Turn on a security module, beside those that the kernel turns on.
    #[arg(long, value_name = "NAME")]
    lsm: Option<String>,
}

/// Parses `PATH` or `HERE=THERE`, whose file must exist.
pub(crate) fn file_spec(text: &str) -> Result<FileSpec, String> {
    let spec = FileSpec::parse(text)?;
    match spec.host.exists() {
        true => Ok(spec),
        false => Err("no such file or directory".to_owned()),
    }
}

fn memory(text: &str) -> Result<u32, String> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => parse_memory(&format!("{text}M")),
        false => parse_memory(text),
    }
}

fn processors(text: &str) -> Result<u32, String> {
    kernlab_cli::whole_number(text, PROCESSORS_RANGE)
}

fn cgroup(text: &str) -> Result<Cgroup, String> {
    let found = Cgroup::NAMES.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, version)| version).ok_or_else(|| "expected v1 or v2".to_owned())
}

impl GuestOptions {
    /// A suite that only runs a command, in such a guest.
    pub(crate) fn suite(&self, argv: Vec<String>) -> Suite {
        Suite {
            files: self.files.clone(),
            collect: self.collect.clone(),
            hide: self.hide.clone(),
            root: self.root.clone(),
            guest: GuestSpec {
                cpus: self.cpus,
                memory_mib: self.memory,
                modules: self.modules.clone(),
                lsm: self.lsm.clone(),
                cgroup: self.cgroup,
                ..GuestSpec::default()
            },
            ..Suite::command(argv)
        }
    }

    /// The options as they are given on a command line, without those that only decide how a guest
    /// starts.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
        for FileSpec { host, guest } in &self.files {
            let guest = guest.as_ref().map(|guest| format!("={guest}")).unwrap_or_default();
            add("--file", format!("{}{guest}", host.display()));
        }
        let texts = [("--collect", &self.collect), ("--hide", &self.hide)];
        for (name, values) in texts.into_iter().chain([("--module", &self.modules)]) {
            values.iter().for_each(|value| add(name, value.clone()));
        }
        for (name, value) in [
            ("--memory", self.memory.map(|mib| mib.to_string())),
            ("--cpus", self.cpus.map(|count| count.to_string())),
            ("--root", self.root.as_ref().map(|root| root.display().to_string())),
            ("--cgroup", self.cgroup.map(|version| version.name().to_owned())),
            ("--lsm", self.lsm.clone()),
        ] {
            if let Some(value) = value {
                add(name, value);
            }
        }
        words
    }
}
