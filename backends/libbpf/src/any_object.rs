//! Anybody's objects, step by step, with the errors that libbpf gives.

use std::{ffi::CString, io, path::Path, ptr::NonNull};

use libbpf_rs::{AsRawLibbpf as _, ObjectBuilder, OpenObject};
use libbpf_sys::{
    bpf_link, bpf_link__destroy, bpf_object__find_program_by_name, bpf_object__load,
    bpf_object__prepare, bpf_program, bpf_program__attach, bpf_program__type,
};

use crate::log;

/// An object that libbpf has read. Dropping it unloads what was loaded.
#[derive(Debug)]
pub struct AnyObject {
    object: OpenObject,
}

/// A program of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramHeading {
    /// Its function's name.
    pub name: String,
    /// Its section.
    pub section: String,
    /// `enum bpf_prog_type`.
    pub program_type: u32,
}

/// A map of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapHeading {
    /// Its name.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
}

/// A program at its place. Dropping this detaches it.
#[derive(Debug)]
pub struct AttachedProgram(NonNull<bpf_link>);

impl AnyObject {
    /// Reads an object; type information comes from `btf` instead of from the kernel, if there is such a
    /// file. From now on, libbpf's warnings are kept: [`take_warnings`].
    pub fn open(bytes: &[u8], btf: Option<&Path>) -> io::Result<Self> {
        log::capture();
        let mut builder = ObjectBuilder::default();
        // libbpf sets errno, and its Rust bindings' errors keep it to themselves.
        let errno = |_| io::Error::last_os_error();
        builder.name("object").map_err(errno)?;
        if let Some(btf) = btf {
            builder.btf_custom_path(btf).map_err(errno)?;
        }
        builder.open_memory(bytes).map(|object| AnyObject { object }).map_err(errno)
    }

    /// Its programs.
    pub fn programs(&self) -> Vec<ProgramHeading> {
        let heading = |program: libbpf_rs::OpenProgram<'_>| ProgramHeading {
            name: program.name().to_string_lossy().into_owned(),
            section: program.section().to_string_lossy().into_owned(),
            // SAFETY: the object owns the program, and outlives this.
            program_type: unsafe { bpf_program__type(program.as_libbpf_object().as_ptr()) },
        };
        self.object.progs().map(heading).collect()
    }

    /// Its maps.
    pub fn maps(&self) -> Vec<MapHeading> {
        let heading = |map: libbpf_rs::OpenMap<'_>| MapHeading {
            name: map.name().to_string_lossy().into_owned(),
            map_type: map.map_type() as u32,
        };
        self.object.maps().map(heading).collect()
    }

    /// Only this program will be loaded; without one, none will be.
    pub fn load_only(&mut self, wanted: Option<&str>) {
        for mut program in self.object.progs_mut() {
            let is_wanted = wanted.is_some_and(|wanted| program.name() == wanted);
            program.set_autoload(is_wanted);
        }
    }

    /// Only this map will be created.
    pub fn create_only(&mut self, wanted: &str) {
        for mut map in self.object.maps_mut() {
            let is_wanted = map.name() == wanted;
            // An object that isn't loaded yet refuses nothing here.
            let _ = map.set_autocreate(is_wanted);
        }
    }

    /// Does all that comes before the programs: relocates, and creates maps.
    pub fn prepare(&mut self) -> io::Result<()> {
        // SAFETY: the object is open.
        succeeded(unsafe { bpf_object__prepare(self.object.as_libbpf_object().as_ptr()) })
    }

    /// Loads the programs, and before that whatever is not prepared.
    pub fn load(&mut self) -> io::Result<()> {
        // SAFETY: the object is open.
        succeeded(unsafe { bpf_object__load(self.object.as_libbpf_object().as_ptr()) })
    }

    /// Attaches a program that is loaded to where its section says: `EOPNOTSUPP` if it doesn't say.
    pub fn attach(&self, program: &str) -> io::Result<AttachedProgram> {
        let program = self.find(program)?;
        // SAFETY: the object owns the program.
        let link = unsafe { bpf_program__attach(program.as_ptr()) };
        NonNull::new(link).map(AttachedProgram).ok_or_else(io::Error::last_os_error)
    }

    fn find(&self, program: &str) -> io::Result<NonNull<bpf_program>> {
        let name = CString::new(program)?;
        // SAFETY: the object is open, and the name outlives the call.
        let found = unsafe {
            bpf_object__find_program_by_name(self.object.as_libbpf_object().as_ptr(), name.as_ptr())
        };
        NonNull::new(found).ok_or_else(io::Error::last_os_error)
    }
}

impl Drop for AttachedProgram {
    fn drop(&mut self) {
        // SAFETY: the link is ours, and destroyed once.
        unsafe { bpf_link__destroy(self.0.as_ptr()) };
    }
}

/// What libbpf has warned of since this was last asked.
pub fn take_warnings() -> String {
    log::take()
}

fn succeeded(answer: i32) -> io::Result<()> {
    match answer {
        0 => Ok(()),
        // The answer is the negative number of an error.
        _ => Err(io::Error::from_raw_os_error(-answer)),
    }
}
