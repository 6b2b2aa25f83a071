//! The libraries of a program that this machine can't run, so that no dynamic linker of its own can be
//! asked: they are looked for as ld.so(8) does, in the directories where a machine has those of another
//! architecture.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use kernlab_kernels::Arch;
use object::{
    LittleEndian,
    elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH},
    read::elf::ElfFile64,
};

use super::{PayloadError, elf, unreadable};

/// A file of this machine that a guest needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) host: PathBuf,
    /// Its path in the guest, if that is another.
    pub(super) guest: Option<String>,
}

impl From<PathBuf> for Found {
    fn from(host: PathBuf) -> Self {
        Found { host, guest: None }
    }
}

/// A directory with libraries.
struct Place {
    host: PathBuf,
    /// Where a guest has its files, if that is elsewhere.
    guest: Option<&'static str>,
}

/// The directories that belong to an architecture. A guest has the files of a cross compiler where every
/// dynamic linker looks.
fn places(arch: Arch) -> Vec<Place> {
    let packages = of_packages(arch);
    let cross = of_a_cross_compiler(arch);
    let own = [packages.clone(), format!("/usr{packages}")].map(|host| (host, None));
    let cross = [cross.clone(), format!("{cross}64")].map(|host| (host, Some("/lib")));
    let place = |(host, guest): (String, _)| Place { host: host.into(), guest };
    own.into_iter().chain(cross).map(place).collect()
}

/// Where a distribution has the libraries of an architecture if it has several side by side.
pub(super) fn of_packages(arch: Arch) -> String {
    format!("/lib/{}-linux-gnu", arch.name())
}

/// Where a cross compiler has its libraries.
pub(super) fn of_a_cross_compiler(arch: Arch) -> String {
    format!("/usr/{}-linux-gnu/lib", arch.name())
}

/// The files that a dynamic program needs: its dynamic linker and its libraries.
pub(super) fn needs(
    path: &Path,
    bytes: Vec<u8>,
    linker: &Path,
    arch: Arch,
    library_path: Option<&str>,
) -> Result<Vec<Found>, PayloadError> {
    let places = places(arch);
    let missing = |library: &str| PayloadError::NoForeignLibrary {
        path: path.to_owned(),
        library: library.to_owned(),
        arch,
    };
    let found = find_linker(linker, arch, &places);
    let mut files = vec![found.ok_or_else(|| missing(&linker.display().to_string()))?];
    let mut known = BTreeSet::new();
    let first = path.canonicalize().map_err(unreadable(path))?;
    let mut queue = vec![(first, bytes)];
    while let Some((of, bytes)) = queue.pop() {
        let damaged = |source| PayloadError::Elf { path: of.clone(), source };
        let dynamic = Dynamic::of(&bytes).map_err(damaged)?;
        let own = dynamic.search(library_path, &of);
        for name in dynamic.needed {
            // The dynamic linker is a library, too.
            let is_linker = linker.file_name().is_some_and(|linker| *linker == *name);
            if is_linker || !known.insert(name.clone()) {
                continue;
            }
            let library = find(&name, &own, arch, &places).ok_or_else(|| missing(&name))?;
            let bytes = fs::read(&library.host).map_err(unreadable(&library.host))?;
            queue.push((library.host.clone(), bytes));
            files.push(library);
        }
    }
    Ok(files)
}

/// The dynamic linker at its own path, or of the cross compiler.
fn find_linker(linker: &Path, arch: Arch, places: &[Place]) -> Option<Found> {
    if is_of_arch(linker, arch) {
        return Some(Found { host: linker.to_owned(), guest: None });
    }
    let name = linker.file_name()?;
    let mut cross = places.iter().filter(|place| place.guest.is_some());
    let host =
        cross.find_map(|place| Some(place.host.join(name)).filter(|it| is_of_arch(it, arch)));
    Some(Found { host: host?, guest: Some(linker.to_str()?.to_owned()) })
}

fn find(name: &str, own: &[PathBuf], arch: Arch, places: &[Place]) -> Option<Found> {
    let at = |host: PathBuf, guest| is_of_arch(&host, arch).then_some(Found { host, guest });
    if name.contains('/') {
        return at(name.into(), None);
    }
    let in_place = |place: &Place| {
        let guest = place.guest.map(|dir| format!("{dir}/{name}"));
        at(place.host.join(name), guest)
    };
    let own = own.iter().find_map(|dir| at(dir.join(name), None));
    own.or_else(|| places.iter().find_map(in_place))
}

/// ld.so(8) passes over files of another architecture.
fn is_of_arch(file: &Path, arch: Arch) -> bool {
    elf::Machine::of_file(file).is_ok_and(|machine| machine == Some(elf::Machine::Known(arch)))
}

/// What an ELF file says to the dynamic linker.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dynamic {
    needed: Vec<String>,
    rpath: Option<String>,
    runpath: Option<String>,
}

impl Dynamic {
    fn of(bytes: &[u8]) -> object::read::Result<Self> {
        let table = ElfFile64::<LittleEndian>::parse(bytes)?;
        let table = table.elf_dynamic_table()?;
        let mut dynamic = Dynamic::default();
        for entry in &table {
            if !matches!(entry.tag, DT_NEEDED | DT_RPATH | DT_RUNPATH) {
                continue;
            }
            let text = String::from_utf8_lossy(table.string(entry)?).into_owned();
            match entry.tag {
                DT_NEEDED => dynamic.needed.push(text),
                DT_RPATH => dynamic.rpath = Some(text),
                _ => dynamic.runpath = Some(text),
            }
        }
        Ok(dynamic)
    }

    /// The directories that come before those of the system, in the order of ld.so(8).
    fn search(&self, library_path: Option<&str>, of: &Path) -> Vec<PathBuf> {
        let rpath = self.rpath.as_deref().filter(|_| self.runpath.is_none());
        let lists = [rpath, library_path, self.runpath.as_deref()];
        let dirs = lists.into_iter().flatten().flat_map(|list| list.split(':'));
        let origin = of.parent().unwrap_or(Path::new("/")).display().to_string();
        let expanded = |dir: &str| dir.replace("$ORIGIN", &origin).replace("${ORIGIN}", &origin);
        dirs.filter(|dir| !dir.is_empty()).map(|dir| expanded(dir).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_searched_as_the_dynamic_linker_does() {
        let dynamic = |rpath: Option<&str>, runpath: Option<&str>| {
            let text = |list: Option<&str>| list.map(str::to_owned);
            let dynamic =
                Dynamic { needed: Vec::new(), rpath: text(rpath), runpath: text(runpath) };
            let dirs = dynamic.search(Some("/e::/f"), Path::new("/opt/bin/program"));
            dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":")
        };
        assert_eq!(dynamic(None, None), "/e:/f");
        assert_eq!(dynamic(Some("/r"), None), "/r:/e:/f");
        assert_eq!(
            dynamic(Some("/r"), Some("$ORIGIN/../lib:${ORIGIN}")),
            "/e:/f:/opt/bin/../lib:/opt/bin"
        );
    }

    #[test]
    fn a_program_says_what_it_needs() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let dynamic = Dynamic::of(&own).unwrap();
        assert!(dynamic.needed.iter().any(|name| name == "libc.so.6"), "{dynamic:?}");
        assert!(Dynamic::of(b"\x7fELF").is_err());
    }

    #[test]
    fn a_guest_has_the_files_of_a_cross_compiler_where_linkers_look() {
        let dir = tempfile::tempdir().unwrap();
        let own = Arch::of_this_program().unwrap();
        let library = dir.path().join("libx.so");
        fs::copy(std::env::current_exe().unwrap(), &library).unwrap();
        let [missing, cross] = [dir.path().join("missing"), dir.path().to_owned()];
        let places =
            [Place { host: missing, guest: None }, Place { host: cross, guest: Some("/lib") }];
        let found = |guest: Option<&str>| {
            Some(Found { host: library.clone(), guest: guest.map(str::to_owned) })
        };
        assert_eq!(find("libx.so", &[], own, &places), found(Some("/lib/libx.so")));
        let dirs = [dir.path().to_owned()];
        assert_eq!(find("libx.so", &dirs, own, &places), found(None));
        let linker = Path::new("/lib/no-such-architecture/libx.so");
        let guest = linker.to_str();
        assert_eq!(find_linker(linker, own, &places), found(guest));
        let other = Arch::ALL.into_iter().find(|arch| *arch != own).unwrap();
        assert_eq!(find("libx.so", &dirs, other, &places), None);
    }
}
