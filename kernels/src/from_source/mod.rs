//! Kernels that are built on this machine.
//!
//! A [`Recipe`] describes a build: a source, the lab's configuration fragment, optionally options
//! of the entry's own, and whether to include BTF. Its key covers all of that and every program and
//! variable that affects the result. The store keeps the result under that key, as an artifact like
//! that of an unpacked package. The build runs in a scratch directory, so a build that fails or is
//! interrupted leaves only its log.

pub(crate) mod build_tools;
pub(crate) mod check;
mod config;
mod config_check;
mod environment;
mod error;
mod fragment;
mod make;
mod missing_tools;
mod toolchain;
mod tree;
mod versions;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use kernlab_core::arch::Arch;
use serde::{Deserialize, Serialize};

pub(crate) use self::tree::{Tree, version_of};
pub use self::{
    config::{Config, ConfigError, Value},
    config_check::Dropped,
    error::BuildError,
    fragment::{OptionState, Requirement, Scope, requirements},
    missing_tools::MissingTools,
};
use self::{environment::Environment, error::io_error, make::Make, toolchain::Tools};
use crate::interruption;
use crate::{
    catalog::{
        kernel::{Image, Unpacked},
        matrix::Toolchain,
    },
    digest::Digest,
    image::inspected::{CONFIG, Inspected, VMLINUX, file_name},
    progress::Event,
    store::{BUILT, Store, read_description, write_description, write_read_only},
};

/// Part of every key. Raise it with every change of how kernels are built.
const VERSION: u32 = 3;

/// The description of a build.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// The entry's id.
    pub(crate) id: &'a str,
    pub(crate) arch: Arch,
    pub(crate) tree: Tree<'a>,
    /// Options that override the lab's.
    pub(crate) config: Option<&'a Path>,
    /// Whether the image has BTF.
    pub(crate) btf: bool,
    /// The programs that the entry names.
    pub(crate) toolchain: &'a Toolchain,
}

/// The content of the artifact's description file.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    release: String,
    /// Whether the image has BTF; `None` if that can't be determined.
    has_btf: Option<bool>,
    seconds: u64,
}

/// Everything that affects the result.
struct Inputs {
    fragment: String,
    /// The entry's own options, if it has any.
    own: Option<Config>,
    key: String,
}

impl Recipe<'_> {
    /// The kernel, if it was built before.
    pub(crate) fn find(&self, store: &Store) -> Option<Unpacked> {
        let tools = self.tools().ok()?;
        let key = self.inputs(store, &tools).ok()?.key;
        let path = store.artifact_path(&key);
        self.open(&path).filter(|_| store.damage(&key).is_none())
    }

    /// The kernel, which is built if it wasn't before. A signal that would end the process takes
    /// effect only after the build has been cleaned up.
    pub(crate) fn prepare(
        &self,
        store: &Store,
        observe: &dyn Fn(Event<'_>),
    ) -> Result<Unpacked, BuildError> {
        let missing = |missing_tools| BuildError::ToolsMissing {
            id: self.id.to_owned(),
            missing_tools: Box::new(missing_tools),
        };
        let tools = self.tools().map_err(missing)?;
        let mut hold = None;
        let prepared = self.prepare_with(store, &tools, observe, || {
            tools.complete().map_err(missing)?;
            let held = interruption::hold();
            hold = Some(held.map_err(io_error("hold back signals in", store.root()))?);
            match interruption::noted() {
                Some(signal) => Err(BuildError::Interrupted { signal }),
                None => Ok(()),
            }
        });
        if hold.take().is_some()
            && let Some(signal) = interruption::noted()
        {
            interruption::resume(signal);
        }
        prepared
    }

    fn tools(&self) -> Result<Tools, MissingTools> {
        Tools::find(self.arch, self.toolchain, self.btf, Environment::of_this_process())
    }

    fn prepare_with(
        &self,
        store: &Store,
        tools: &Tools,
        observe: &dyn Fn(Event<'_>),
        ready: impl FnOnce() -> Result<(), BuildError>,
    ) -> Result<Unpacked, BuildError> {
        let inputs = self.inputs(store, tools)?;
        let wait = || observe(Event::WaitForBuild);
        let build = |scratch: &Path| {
            ready()?;
            self.build(store, &inputs, tools, scratch, observe)
        };
        let open = |path: &Path| self.open(path);
        let (_, kernel) = store.artifact_announced(&inputs.key, open, wait, build)?;
        Ok(kernel)
    }

    fn inputs(&self, store: &Store, tools: &Tools) -> Result<Inputs, BuildError> {
        let mut fragment = fragment::fragment(self.arch, self.btf);
        let mut own = None;
        if let Some(path) = self.config {
            let text = fs::read_to_string(path).map_err(io_error("read", path))?;
            let config = Config::parse(&text)
                .map_err(|source| BuildError::Config { path: path.to_owned(), source })?;
            own = Some(config);
            fragment += &text;
        }
        let source = self.tree.digest(store)?;
        let tools = tools.identity();
        let arch = self.arch;
        let key = format!("build {VERSION} {arch}\n{source}\n{tools}{fragment}");
        Ok(Inputs { fragment, own, key: Digest::of(key.as_bytes()).to_string() })
    }

    fn build(
        &self,
        store: &Store,
        inputs: &Inputs,
        tools: &Tools,
        scratch: &Path,
        observe: &dyn Fn(Event<'_>),
    ) -> Result<(), BuildError> {
        let began = Instant::now();
        let log = self.begin_log(store, &inputs.key)?;
        let work = scratch.join("work");
        let output = work.join("output");
        fs::create_dir_all(&output).map_err(io_error("write", &output))?;
        observe(Event::Build { log: &log });
        let tree = self.tree.bring(store, &work)?;
        let advised = |error: BuildError| error.advised(|| versions::advice(&tree, tools));
        let environment = tools.environment(&work.join("tools"))?;
        let make = Make::new(&tree, &output, &log, environment, tools.variables());
        let config = self.configure(&make, inputs, observe).map_err(advised)?;
        let mut files = 0;
        make.run(file_name(self.arch), &[], &mut |file| {
            files += 1;
            observe(Event::Made { files, file });
        })
        .map_err(advised)?;
        let has_btf = self.keep(&make, tools, &config, scratch)?;
        let seconds = began.elapsed().as_secs();
        let release = output.join("include/config/kernel.release");
        let release = fs::read_to_string(&release).map_err(io_error("read", &release))?;
        let release = release.trim().to_owned();
        write_description(&scratch.join(BUILT), &Description { release, has_btf, seconds })?;
        fs::remove_dir_all(&work).map_err(io_error("remove", &work))?;
        observe(Event::Built { files, seconds });
        Ok(())
    }

    /// The configuration that Kconfig generates from the fragment: every option is off that the
    /// fragment neither names nor needs.
    fn configure(
        &self,
        make: &Make<'_>,
        inputs: &Inputs,
        observe: &dyn Fn(Event<'_>),
    ) -> Result<PathBuf, BuildError> {
        let fragment = make.output.join("fragment.config");
        fs::write(&fragment, &inputs.fragment).map_err(io_error("write", &fragment))?;
        make.run("allnoconfig", &[("KCONFIG_ALLCONFIG", &fragment)], &mut |_| {})?;
        make.run("olddefconfig", &[], &mut |_| {})?;
        let path = make.output.join(".config");
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let config = Config::parse(&text)
            .map_err(|source| BuildError::Config { path: path.clone(), source })?;
        if let Err(dropped) = config_check::check(&config, self.arch, self.btf) {
            // The scratch directory is removed. This copy next to the log stays for inspection.
            let kept = make.log.with_extension("config");
            fs::write(&kept, text).map_err(io_error("write", &kept))?;
            return Err(BuildError::Dropped(dropped, kept));
        }
        if let Some(own) = &inputs.own {
            for difference in config_check::differences(own, &config) {
                observe(Event::OptionLost { difference: &difference });
            }
        }
        Ok(path)
    }

    /// Copies the files to keep out of the build directory. Returns whether the image has BTF, if
    /// that can be determined.
    fn keep(
        &self,
        make: &Make<'_>,
        tools: &Tools,
        config: &Path,
        scratch: &Path,
    ) -> Result<Option<bool>, BuildError> {
        let read = |path: &Path| fs::read(path).map_err(io_error("read", path));
        let name = file_name(self.arch);
        let bytes = read(&make.output.join(format!("arch/{}/boot/{name}", self.arch.kbuild())))?;
        let image = Inspected::of(&bytes)?;
        write_read_only(&scratch.join(name), &bytes)?;
        write_read_only(&scratch.join(CONFIG), &read(config)?)?;
        if let Some(has) = image.has_btf.filter(|has| *has != self.btf) {
            return Err(BuildError::Btf { has, log: make.log.to_owned() });
        }
        // pahole writes kinds without regard to what the kernel understands.
        let known = versions::newest_btf_kind(make.tree);
        if let (Some(found), Some(known)) = (image.newest_btf_kind(), known)
            && found > known
        {
            return Err(BuildError::NewerBtf {
                pahole: tools.version("pahole").unwrap_or_default().to_owned(),
                found,
                known,
                advice: versions::advice(make.tree, tools),
            });
        }
        if let Some(vmlinux) = image.pvh_kernel() {
            write_read_only(&scratch.join(VMLINUX), vmlinux)?;
        }
        Ok(image.has_btf)
    }

    /// Creates an empty log that outlives the build. Builds with other keys have other logs.
    fn begin_log(&self, store: &Store, key: &str) -> Result<PathBuf, BuildError> {
        let dir = store.root().join("logs");
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        let log = dir.join(format!("{}-{}.log", self.id, &key[..12]));
        fs::write(&log, "").map_err(io_error("write", &log))?;
        Ok(log)
    }

    /// The kernel in an artifact.
    fn open(&self, path: &Path) -> Option<Unpacked> {
        let Description { release, has_btf, .. } = read_description(&path.join(BUILT))?;
        let image = Image::in_artifact(path, self.arch)?;
        let config = Some(path.join(CONFIG)).filter(|path| path.is_file());
        Some(Unpacked { config, has_btf, ..Unpacked::new(self.id, &release, self.arch, image) })
    }
}

#[cfg(test)]
mod tests;
