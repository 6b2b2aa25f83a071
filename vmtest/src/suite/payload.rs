//! The files of this machine that a guest gets: programs with their interpreters and libraries,
//! data, and the usual small tools.
//!
//! Files have the same path in the guest as on this machine, so that a program finds what it names
//! by its path. `/bin` and `/usr/bin` are one directory in the guest, as are `/sbin` and
//! `/usr/sbin`, `/lib` and `/usr/lib`.

mod archive;
mod capability;
pub(crate) mod elf;
mod error;
pub(crate) mod script;
mod sysroot;
mod tools;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use kernlab_kernels::Arch;

pub(crate) use self::archive::touch;
use self::sysroot::Found;
pub use self::{archive::ArchiveError, elf::Machine, error::PayloadError};
use super::platform::Platform;

/// What a path of the guest holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// The content and permissions of a file of this machine.
    File(PathBuf),
    /// A small file.
    Text(String),
    /// A symbolic link.
    Link(String),
    /// A directory.
    Dir,
}

/// Files for a guest, by their absolute paths there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    entries: BTreeMap<String, Entry>,
    /// Programs whose interpreters and libraries are in it.
    complete: Vec<PathBuf>,
    /// The architecture of the guest, if this machine can't run its programs.
    foreign: Option<Arch>,
    /// Whether the guest has a root of its own, with its own libraries.
    has_root: bool,
    /// `LD_LIBRARY_PATH` of programs in the guest.
    library_path: Option<String>,
}

impl Payload {
    /// The files that every guest has: the usual small tools, users, directories.
    pub fn new(platform: &Platform) -> Result<Self, PayloadError> {
        let mut payload = Payload::beside(platform);
        for dir in ["/bin", "/etc", "/lib", "/lib64", "/root", "/run", "/sbin", "/tmp", "/var/tmp"]
        {
            payload.insert(dir.to_owned(), Entry::Dir);
        }
        for (from, to) in MERGED {
            payload.insert(from.to_owned(), Entry::Link(to.to_owned()));
        }
        payload.insert("/var/run".to_owned(), Entry::Link("/run".to_owned()));
        for (path, text) in [
            (
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            ),
            ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
            ("/etc/hosts", "127.0.0.1 localhost kernlab\n::1 localhost\n"),
        ] {
            payload.text(path, text);
        }
        payload.text("/etc/localtime", UTC);
        let cache = Path::new("/etc/ld.so.cache");
        if payload.foreign.is_none() && cache.exists() {
            payload.insert("/etc/ld.so.cache".to_owned(), Entry::File(cache.to_owned()));
        }
        tools::add(&mut payload, platform.busybox())?;
        Ok(payload)
    }

    /// Files for a guest that has a root of its own: its programs find their libraries there.
    pub fn for_root(platform: &Platform) -> Self {
        Payload { has_root: true, ..Payload::beside(platform) }
    }

    /// Files beside those that a guest already has.
    pub fn beside(platform: &Platform) -> Self {
        Payload { foreign: platform.foreign(), ..Payload::default() }
    }

    /// Looks for the libraries of programs that are added from now on as a guest does with this
    /// `LD_LIBRARY_PATH`.
    #[must_use]
    pub fn with_library_path(self, library_path: Option<String>) -> Self {
        Payload { library_path, ..self }
    }

    /// Adds a program by its name, which is looked up like a shell does: a name with a slash starts
    /// from `directory`, any other is searched for in `PATH`. Returns its path in the guest.
    pub fn program(&mut self, name: &str, directory: &Path) -> Result<String, PayloadError> {
        let no_program = || PayloadError::NoProgram {
            name: name.to_owned(),
            directory: directory.display().to_string(),
        };
        if !name.contains('/') {
            // A root of its own has its own programs, with their libraries.
            if self.has_root {
                return Ok(name.to_owned());
            }
            // The guest's own tools come first: they are small and need no libraries.
            if self.entries.contains_key(&format!("/bin/{name}")) {
                return Ok(format!("/bin/{name}"));
            }
            return match in_path(name) {
                Some(path) => self.executable(&path),
                None => Err(no_program()),
            };
        }
        let path = absolute(&directory.join(name));
        // Only the project's own files come on top of a root.
        if self.has_root && !path.starts_with(directory) {
            return Ok(name.to_owned());
        }
        match path.is_file() {
            true => self.executable(&path),
            false if self.has_root && name.starts_with('/') => Ok(name.to_owned()),
            false => Err(no_program()),
        }
    }

    /// Adds an executable file with everything that it needs to run: an interpreter, libraries.
    pub fn executable(&mut self, path: &Path) -> Result<String, PayloadError> {
        let guest = self.file(path)?;
        let mode = fs::metadata(path).map_err(unreadable(path))?.permissions().mode();
        if mode & 0o111 == 0 {
            return Err(PayloadError::NotExecutable(path.to_owned()));
        }
        // A root has libraries of its own, but of one architecture only.
        let arch = self.arch();
        match Machine::of_file(path).map_err(unreadable(path))? {
            Some(found @ Machine::Known(other)) if other != arch => {
                return Err(PayloadError::Foreign { path: path.to_owned(), found, arch });
            }
            _ => {}
        }
        if !self.complete_file(path)? {
            return Err(PayloadError::NoFormat(path.to_owned()));
        }
        Ok(guest)
    }

    /// The architecture of the guest.
    fn arch(&self) -> Arch {
        self.foreign.or_else(Arch::of_this_program).unwrap_or_default()
    }

    /// Adds what an executable file needs. `false` if it is neither a program nor a script.
    fn complete_file(&mut self, path: &Path) -> Result<bool, PayloadError> {
        // A root of its own has its own libraries and interpreters.
        if self.has_root || self.complete.iter().any(|known| known == path) {
            return Ok(true);
        }
        self.complete.push(path.to_owned());
        if let Some(interpreter) = script::interpreter(path)? {
            for program in interpreter.programs {
                self.interpreter(path, &program)?;
            }
            return Ok(true);
        }
        let needs = elf::needs(path, self.foreign, self.library_path.as_deref())?;
        let Some(needs) = needs else { return Ok(false) };
        for Found { host, guest } in needs {
            match guest {
                Some(guest) => {
                    let real = host.canonicalize().map_err(unreadable(&host))?;
                    self.insert(self.merged(&guest), Entry::File(real));
                }
                None => drop(self.file(&host)?),
            }
        }
        Ok(true)
    }

    fn interpreter(&mut self, script: &Path, program: &str) -> Result<(), PayloadError> {
        // The guest's own shell, env and awk.
        if program.starts_with('/') && self.entries.contains_key(&self.merged(program)) {
            return Ok(());
        }
        match self.program(program, Path::new("/")) {
            Err(PayloadError::NoProgram { .. }) => Err(PayloadError::NoInterpreter {
                script: script.to_owned(),
                interpreter: program.to_owned(),
            }),
            other => other.map(drop),
        }
    }

    /// Adds a file or a directory with all files in it, at the same path or at `guest`. Executable
    /// files bring what they need.
    pub fn tree(&mut self, path: &Path, guest: Option<&str>) -> Result<(), PayloadError> {
        let kind = fs::metadata(path).map_err(unreadable(path))?;
        let guest = match guest {
            Some(guest) => Some(self.free_place(guest, kind.is_dir())?),
            None => None,
        };
        let guest = guest.as_deref();
        if kind.is_dir() {
            let guest = match guest {
                Some(guest) => guest.to_owned(),
                None => self.free_place(&self.guest_path(&absolute(path))?, true)?,
            };
            self.insert(guest.clone(), Entry::Dir);
            for entry in fs::read_dir(path).map_err(unreadable(path))? {
                let entry = entry.map_err(unreadable(path))?;
                let name = entry.file_name();
                let name = name.to_str().ok_or_else(|| PayloadError::NotText(entry.path()))?;
                let inside = format!("{}/{name}", guest.trim_end_matches('/'));
                let link = fs::symlink_metadata(entry.path()).map_err(unreadable(path))?;
                if link.is_symlink() {
                    let inside = self.free_place(&inside, false)?;
                    let target = fs::read_link(entry.path()).map_err(unreadable(path))?;
                    let target =
                        target.to_str().ok_or_else(|| PayloadError::NotText(target.clone()))?;
                    self.insert(inside, Entry::Link(target.to_owned()));
                } else if link.is_dir() || link.is_file() {
                    not_all_runs(self.tree(&entry.path(), Some(&inside)))?;
                }
            }
            return Ok(());
        }
        if !kind.is_file() {
            return Err(PayloadError::NotAFile(path.to_owned()));
        }
        match guest {
            Some(guest) => self.insert(guest.to_owned(), Entry::File(absolute(path))),
            None => {
                let real = path.canonicalize().map_err(unreadable(path))?;
                self.free_place(&self.guest_path(&real)?, false)?;
                drop(self.file(path)?);
            }
        }
        if kind.permissions().mode() & 0o111 != 0 {
            self.complete_file(&absolute(path))?;
        }
        Ok(())
    }

    /// The files of this machine in it whose capabilities the guest's copies lack.
    pub(super) fn with_capabilities(&self) -> impl Iterator<Item = &Path> {
        self.files().filter(|file| capability::has_any(file))
    }

    /// The files of this machine that are in it.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::File(host) => Some(host.as_path()),
            Entry::Text(_) | Entry::Link(_) | Entry::Dir => None,
        })
    }

    /// Adds a file, a link or an empty directory at its own path. Executable files bring what they
    /// need, if that can be found.
    pub fn data(&mut self, path: &Path) -> Result<(), PayloadError> {
        // A file that is gone by now, or that this user can't read, is missed by what needs it.
        let Ok(kind) = fs::symlink_metadata(path) else { return Ok(()) };
        if kind.is_file() && fs::File::open(path).is_err() {
            return Ok(());
        }
        let guest = self.guest_path(path)?;
        if kind.is_dir() {
            self.insert(guest, Entry::Dir);
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(unreadable(path))?;
            let target = target.to_str().ok_or_else(|| PayloadError::NotText(target.clone()))?;
            self.insert(guest, Entry::Link(target.to_owned()));
        } else {
            self.insert(guest, Entry::File(path.to_owned()));
            if kind.permissions().mode() & 0o111 != 0 {
                not_all_runs(self.complete_file(path).map(drop))?;
            }
        }
        Ok(())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a small file.
    pub fn text(&mut self, guest: &str, text: impl Into<String>) {
        self.insert(guest.to_owned(), Entry::Text(text.into()));
    }

    /// Adds a file of this machine at another path in the guest.
    pub fn placed(&mut self, guest: &str, path: &Path) {
        self.insert(guest.to_owned(), Entry::File(path.to_owned()));
    }

    /// Adds a file at its own path, and the file that it is a link to. Returns its path in the guest.
    fn file(&mut self, path: &Path) -> Result<String, PayloadError> {
        let path = absolute(path);
        let real = path.canonicalize().map_err(unreadable(&path))?;
        let (guest, target) = (self.guest_path(&path)?, self.guest_path(&real)?);
        if guest != target {
            self.insert(guest.clone(), Entry::Link(target.clone()));
        }
        self.insert(target, Entry::File(real));
        Ok(guest)
    }

    fn insert(&mut self, guest: String, entry: Entry) {
        // Every guest has a root directory, and archives have no name for it.
        if guest != "/" {
            self.entries.insert(guest, entry);
        }
    }

    fn guest_path(&self, path: &Path) -> Result<String, PayloadError> {
        let path = path.to_str().ok_or_else(|| PayloadError::NotText(path.to_owned()))?;
        Ok(self.merged(path))
    }

    /// The path in the guest of a path that may be in one of the merged directories. A root of its own
    /// may have them apart.
    fn merged(&self, path: &str) -> String {
        if self.has_root { path.to_owned() } else { merged(path) }
    }

    /// Where a file of the user's ends up that is sent to this path, if that is free for it.
    fn free_place(&self, guest: &str, is_dir: bool) -> Result<String, PayloadError> {
        let place = self.followed(guest);
        let refuse = |why| Err(PayloadError::Reserved { path: guest.to_owned(), why });
        if let Some(why) = reserved(&place, is_dir) {
            return refuse(why);
        }
        let below = format!("{}/", place.trim_end_matches('/'));
        let is_directory = || {
            self.entries.get(&place) == Some(&Entry::Dir)
                || self
                    .entries
                    .range(below.clone()..)
                    .next()
                    .is_some_and(|(path, _)| path.starts_with(&below))
        };
        if !is_dir && is_directory() {
            return refuse("there is a directory; name the file in it");
        }
        Ok(place)
    }

    /// The path without `.` and `..`, and without the links that lead there. The last part is not
    /// followed: a file takes the place of a link.
    fn followed(&self, guest: &str) -> String {
        let mut path = self.merged(&absolute(Path::new(guest)).to_string_lossy());
        // A circle of links ends here.
        for _ in 0..40 {
            let above: Vec<_> = path.match_indices('/').skip(1).map(|(at, _)| at).collect();
            let link = above.into_iter().find_map(|at| match self.entries.get(&path[..at]) {
                Some(Entry::Link(target)) => Some((at, target.clone())),
                _ => None,
            });
            let Some((at, target)) = link else { break };
            let dir = Path::new(&path[..at]).parent().unwrap_or(Path::new("/"));
            let whole = format!("{}{}", dir.join(target).display(), &path[at..]);
            path = self.merged(&absolute(Path::new(&whole)).to_string_lossy());
        }
        path
    }
}

/// Not everything in a directory is meant to run in a guest.
fn not_all_runs(added: Result<(), PayloadError>) -> Result<(), PayloadError> {
    match added {
        Err(
            PayloadError::NoInterpreter { .. }
            | PayloadError::NoLibrary { .. }
            | PayloadError::Linker { .. }
            | PayloadError::NoForeignLibrary { .. }
            | PayloadError::Foreign { .. }
            | PayloadError::Elf { .. },
        ) => Ok(()),
        other => other,
    }
}

/// The time zone of all guests, as tzfile(5) describes it. Without the file, the C library looks for it
/// each time that it formats a time, and a tracer of openat(2) sees itself for ever.
const UTC: &str = "TZif\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0UTC\0";

/// Directories of distributions that are one directory in the guest.
const MERGED: [(&str, &str); 4] =
    [("/usr/bin", "/bin"), ("/usr/sbin", "/sbin"), ("/usr/lib", "/lib"), ("/usr/lib64", "/lib64")];

/// The path where a path in one of the merged directories leads.
fn merged(path: &str) -> String {
    for (from, to) in MERGED {
        if let Some(rest) = path.strip_prefix(from)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return format!("{to}{rest}");
        }
    }
    path.to_owned()
}

/// What is at a path of every guest where no file of a user's can be.
fn reserved(place: &str, is_dir: bool) -> Option<&'static str> {
    let is_at = |dir: &str| {
        place.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if place.split('/').any(|name| name.len() > 255) {
        return Some("no file system of Linux holds names of more than 255 bytes");
    }
    if place == "/init" || merged(place).starts_with("/bin/kernlab-") || is_at("/run/kernlab") {
        return Some("the lab's own programs and files are there");
    }
    if is_at("/proc") || is_at("/sys") {
        return Some("the kernel's files are there");
    }
    (place == "/" && !is_dir).then_some("it is the root directory")
}

/// The absolute path without `.` and `..`, by its text alone.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    clean
}

/// The executable file of this name in `PATH`.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Tools for administrators are often missing in the PATH of other users.
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|path| {
            fs::metadata(path)
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> PayloadError {
    let path = path.to_owned();
    move |source| PayloadError::Read { path: path.clone(), source }
}

#[cfg(test)]
mod tests;
