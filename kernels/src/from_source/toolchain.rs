//! The programs that build kernels: this machine's, or those that an entry names.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use kernlab_core::arch::Arch;
use nix::unistd::{AccessFlags, access};
use wait_timeout::ChildExt as _;

use super::{
    environment::Environment,
    error::{BuildError, io_error},
    missing_tools::MissingTools,
};
use crate::catalog::matrix::Toolchain;

/// Programs that every build runs.
const PROGRAMS: [&str; 4] = ["make", "flex", "bison", "bc"];
/// The binutils that Kbuild runs besides the linker and the assembler.
const BINUTILS: [&str; 4] = ["ar", "nm", "objcopy", "strip"];
/// The program that generates BTF.
const PAHOLE: &str = "pahole";
/// The header of libelf, which objtool and, for kernels with BTF, resolve_btfids are compiled with.
const LIBELF: &str = "gelf.h";

/// How much of a program's output an error message contains.
const LONGEST_MESSAGE: usize = 300;

/// A program that a build runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    /// Its role in the build: `cc`, `as`.
    role: &'static str,
    /// Its name or path.
    command: PathBuf,
    /// Whether the entry names it.
    is_named: bool,
    /// The first line of its `--version` output.
    version: String,
}

/// The programs of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tools {
    /// The architecture of the kernel.
    arch: Arch,
    programs: Vec<Program>,
    /// The prefix of the compiler's and the binutils' names.
    prefix: Option<PathBuf>,
    environment: Environment,
}

impl Tools {
    /// Finds the programs that an entry names, or this machine's for kernels of this architecture, and
    /// runs each with `--version`.
    pub(super) fn find(
        arch: Arch,
        named: &Toolchain,
        btf: bool,
        environment: Environment,
    ) -> Result<Self, MissingTools> {
        let prefix = named.prefix.clone().or_else(|| cross_prefix(arch));
        let mut tools = Tools { arch, programs: Vec::new(), prefix: prefix.clone(), environment };
        let mut missing_tools = MissingTools::default();
        for role in PROGRAMS {
            tools.add(role, Path::new(role), false, &mut missing_tools);
        }
        let usual = |role: &str| prefixed(prefix.as_deref(), role);
        let has_prefix = named.prefix.is_some();
        let cc = named.cc.clone().unwrap_or_else(|| usual("gcc"));
        tools.add("cc", &cc, named.cc.is_some() || has_prefix, &mut missing_tools);
        match &named.hostcc {
            Some(hostcc) => tools.add("hostcc", hostcc, true, &mut missing_tools),
            None if tools.is_cross() => {
                tools.add("hostcc", Path::new("gcc"), false, &mut missing_tools);
            }
            None => {}
        }
        let ld = named.ld.clone().unwrap_or_else(|| usual("ld"));
        tools.add("ld", &ld, named.ld.is_some() || has_prefix, &mut missing_tools);
        for role in BINUTILS {
            tools.add(role, &usual(role), has_prefix, &mut missing_tools);
        }
        let of_prefix =
            has_prefix.then(|| usual("as")).filter(|path| tools.path_of(path).is_some());
        match named.assembler.clone().or(of_prefix) {
            Some(assembler) => tools.add("as", &assembler, true, &mut missing_tools),
            // The assembler that the compiler runs, if there is a compiler.
            None if tools.program("cc").is_some() => {
                let assembler = tools.assembler_of(&cc, &tools.environment);
                tools.add("as", &assembler, false, &mut missing_tools);
            }
            None => {}
        }
        if btf {
            let pahole = named.pahole.clone().unwrap_or_else(|| PAHOLE.into());
            tools.add(PAHOLE, &pahole, named.pahole.is_some(), &mut missing_tools);
        }
        if missing_tools.is_empty() { Ok(tools) } else { Err(missing_tools) }
    }

    fn add(
        &mut self,
        role: &'static str,
        command: &Path,
        is_named: bool,
        missing_tools: &mut MissingTools,
    ) {
        let name = command.display().to_string();
        match first_line(command, &self.environment) {
            Ok(version) => {
                let command = command.to_owned();
                self.programs.push(Program { role, command, is_named, version });
            }
            Err(Unusable::Absent) if is_named => missing_tools.misnamed.push(name),
            Err(Unusable::Absent) => missing_tools.missing.push(name),
            Err(Unusable::Broken(said)) => missing_tools.broken.push((name, said)),
        }
    }

    fn program(&self, role: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.role == role)
    }

    /// The version line of a program.
    pub(super) fn version(&self, role: &str) -> Option<&str> {
        self.program(role).map(|program| program.version.as_str())
    }

    /// Everything here that affects the result: one line for each program and for each environment
    /// variable.
    pub(super) fn identity(&self) -> String {
        let line = |program: &Program| {
            let Program { role, command, version, .. } = program;
            format!("{role}: {}: {version}\n", command.display())
        };
        let prefix = self.prefix.iter().map(|prefix| format!("prefix: {}\n", prefix.display()));
        let lines: String = self.programs.iter().map(line).chain(prefix).collect();
        lines + &self.environment.identity()
    }

    /// Checks for everything else that a build needs.
    pub(super) fn complete(&self) -> Result<(), MissingTools> {
        match has_header(LIBELF, self.host_compiler(), &self.environment) {
            true => Ok(()),
            false => {
                let missing = vec!["the headers of libelf".to_owned()];
                Err(MissingTools { missing, ..MissingTools::default() })
            }
        }
    }

    /// Whether the compiler makes programs for another architecture than this machine's.
    fn is_cross(&self) -> bool {
        cross_prefix(self.arch).is_some()
    }

    /// The compiler for host programs: the tools of old sources need the old compiler as well.
    fn host_compiler(&self) -> &Path {
        let program = self.program("hostcc").or_else(|| self.program("cc"));
        program.map_or(Path::new("gcc"), |program| &program.command)
    }

    /// The variables for make, as in `make NAME=value`: the architecture, and what the entry names.
    pub(super) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("ARCH", self.arch.kbuild().into())];
        if let Some(prefix) = &self.prefix {
            variables.push(("CROSS_COMPILE", prefix.clone().into_os_string()));
        }
        for (role, variable) in [("cc", "CC"), ("ld", "LD"), ("as", "AS"), (PAHOLE, "PAHOLE")] {
            if let Some(program) = self.program(role).filter(|program| program.is_named) {
                variables.push((variable, program.command.clone().into_os_string()));
            }
        }
        let names_a_compiler =
            ["cc", "hostcc"].iter().any(|role| self.program(role).is_some_and(|p| p.is_named));
        if names_a_compiler {
            variables.push(("HOSTCC", self.host_compiler().as_os_str().to_owned()));
        }
        variables
    }

    /// The environment of make. Kbuild's AS variable assembles nothing: the compiler does, with the
    /// assembler that it finds. So an assembler that the entry names is put where compilers look
    /// first. This does not work for the linker: an old linker can't link host programs with this
    /// machine's libraries, because it doesn't know their relocations (`.relr.dyn`, binutils 2.38).
    pub(super) fn environment(&self, dir: &Path) -> Result<Environment, BuildError> {
        let Some(named) = self.program("as").filter(|program| program.is_named) else {
            return Ok(self.environment.clone());
        };
        // Only compilers for another machine look into the directory of its name.
        let (place, compilers) = match self.program("cc") {
            Some(cc) if self.is_cross() => {
                (dir.join(answer(&cc.command, "-dumpmachine", &self.environment)), &["cc"][..])
            }
            _ => (dir.to_owned(), &["cc", "hostcc"][..]),
        };
        fs::create_dir_all(&place).map_err(io_error("write", &place))?;
        let link = place.join("as");
        let path = self.path_of(&named.command).unwrap_or_else(|| named.command.clone());
        symlink(path, &link).map_err(io_error("write", &link))?;
        let environment = self.environment.with("COMPILER_PATH", dir);
        for compiler in compilers.iter().filter_map(|role| self.program(role)) {
            let found = self.assembler_of(&compiler.command, &environment);
            if found != link {
                let compiler = compiler.command.display().to_string();
                return Err(BuildError::OtherAssembler { compiler, found });
            }
        }
        Ok(environment)
    }

    /// The assembler that a compiler runs; only a name if it is the one on the `PATH`.
    fn assembler_of(&self, compiler: &Path, environment: &Environment) -> PathBuf {
        match &*answer(compiler, "-print-prog-name=as", environment) {
            "" => PathBuf::from("as"),
            name => PathBuf::from(name),
        }
    }

    /// The path of a program.
    fn path_of(&self, command: &Path) -> Option<PathBuf> {
        let is_program = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
        if command.as_os_str().as_encoded_bytes().contains(&b'/') {
            return Some(command.to_owned()).filter(is_program);
        }
        let path = self.environment.get("PATH").unwrap_or_default();
        std::env::split_paths(path).map(|dir| dir.join(command)).find(is_program)
    }
}

#[cfg(test)]
impl Tools {
    /// Tools of which only this version line is known.
    pub(super) fn named(version: &str) -> Self {
        Tools::for_kernels_of(Arch::X86_64, version)
    }

    /// Like above, for kernels of this architecture.
    pub(super) fn for_kernels_of(arch: Arch, version: &str) -> Self {
        let program = Program {
            role: "cc",
            command: "gcc".into(),
            is_named: false,
            version: version.to_owned(),
        };
        let environment = Environment::of_this_process();
        Tools { arch, programs: vec![program], prefix: None, environment }
    }
}

/// What a compiler prints when it is asked for something; empty if it prints nothing.
fn answer(compiler: &Path, question: &str, environment: &Environment) -> String {
    let mut command = Command::new(compiler);
    environment.apply(&mut command);
    let output = command.arg(question).stdin(Stdio::null()).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// The prefix of compilers and binutils for another architecture than this machine's, as distributions
/// name them: `aarch64-linux-gnu-`.
fn cross_prefix(arch: Arch) -> Option<PathBuf> {
    let is_cross = Arch::of_this_program() != Some(arch);
    is_cross.then(|| PathBuf::from(format!("{arch}-linux-gnu-")))
}

/// Joins a prefix and a name, such as `x86_64-linux-gnu-` and `gcc`.
fn prefixed(prefix: Option<&Path>, name: &str) -> PathBuf {
    let mut path = prefix.map(|prefix| prefix.as_os_str().to_owned()).unwrap_or_default();
    path.push(name);
    path.into()
}

/// A program whose version can't be determined.
#[derive(Debug, PartialEq, Eq)]
enum Unusable {
    Absent,
    /// Its error output, or how it ended.
    Broken(String),
}

/// How long a program may take to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// The first line of a program's `--version` output.
fn first_line(program: &Path, environment: &Environment) -> Result<String, Unusable> {
    let mut command = Command::new(program);
    environment.apply(&mut command);
    let broken = |error: io::Error| Unusable::Broken(error.to_string());
    let started = command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::Absent,
        _ => broken(error),
    })?;
    if child.wait_timeout(VERSION_TIMEOUT).map_err(broken)?.is_none() {
        // It may have ended meanwhile.
        let _ = child.kill();
        let _ = child.wait();
        let seconds = VERSION_TIMEOUT.as_secs();
        return Err(Unusable::Broken(format!("--version did not end within {seconds} s")));
    }
    let output = child.wait_with_output().map_err(broken)?;
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let said: String = said.trim().chars().take(LONGEST_MESSAGE).collect();
    Err(Unusable::Broken(match said.is_empty() {
        true => output.status.to_string(),
        false => format!("{said} ({})", output.status),
    }))
}

/// Whether a compiler finds a header.
fn has_header(header: &str, compiler: &Path, environment: &Environment) -> bool {
    let mut command = Command::new(compiler);
    environment.apply(&mut command);
    let status = command
        .args(["-fsyntax-only", "-include", header, "-x", "c", "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests;
