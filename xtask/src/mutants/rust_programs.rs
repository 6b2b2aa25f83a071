//! The Rust BPF programs in a workspace of their own, to be broken and compiled.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::invocation::Invocation;

/// What one compilation may take: all programs, and at first `core`.
const DEADLINE: Duration = Duration::from_secs(20 * 60);
/// What the workspace consists of.
const MEMBERS: [&str; 2] = ["backends/aya/ebpf", "core/abi"];
/// The variants of each object, and the features that make them.
const VARIANTS: [(&str, &str); 2] = [("ring", ""), ("perf", "perf")];
const TARGET: &str = "bpfel-unknown-none";

/// A copy of the programs' sources, and what they are when they are not broken.
pub(super) struct RustPrograms {
    root: PathBuf,
    dir: PathBuf,
    /// By tracer and variant.
    unbroken: BTreeMap<(String, &'static str), Vec<u8>>,
}

impl RustPrograms {
    /// Copies the sources to `dir`, and compiles them.
    pub(super) fn copy(root: &Path, dir: &Path) -> Result<Self> {
        for member in MEMBERS {
            copy(&root.join(member), &dir.join(member))?;
        }
        let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
        let manifest = workspace_of_programs(&manifest).context("failed to change Cargo.toml")?;
        fs::write(dir.join("Cargo.toml"), manifest)?;
        fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock"))?;
        let mut programs =
            RustPrograms { root: root.to_owned(), dir: dir.to_owned(), unbroken: BTreeMap::new() };
        let bins = fs::read_dir(dir.join(MEMBERS[0]).join("src/bin"))?;
        let names = bins.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".rs")?.to_owned())
        });
        let tracers: Vec<String> = names.collect();
        fs::create_dir_all(dir.join("unbroken"))?;
        for (variant, features) in VARIANTS {
            programs.compile(features, &tracers)?;
            for tracer in &tracers {
                let object = fs::read(programs.object(tracer))?;
                fs::write(programs.unbroken(tracer, variant), &object)?;
                programs.unbroken.insert((tracer.clone(), variant), object);
            }
        }
        Ok(programs)
    }

    /// The object of a tracer that is not broken.
    pub(super) fn unbroken(&self, tracer: &str, variant: &str) -> PathBuf {
        self.dir.join("unbroken").join(format!("{tracer}.{variant}.o"))
    }

    /// The objects of these tracers that are others if a file is: tracer, variant, path. Those with perf
    /// buffers are made of some of the tracers only.
    pub(super) fn changed(
        &self,
        file: &str,
        text: &str,
        tracers: &[String],
        with_perf: &[String],
    ) -> Result<Vec<(String, &'static str, PathBuf)>> {
        let broken = self.dir.join(file);
        fs::write(&broken, text)?;
        let changed = self.compile_changed(tracers, with_perf);
        fs::copy(self.root.join(file), &broken)?;
        changed
    }

    fn compile_changed(
        &self,
        tracers: &[String],
        with_perf: &[String],
    ) -> Result<Vec<(String, &'static str, PathBuf)>> {
        let mut changed = Vec::new();
        for (variant, features) in VARIANTS {
            let tracers = if variant == "perf" { with_perf } else { tracers };
            if tracers.is_empty() {
                continue;
            }
            self.compile(features, tracers)?;
            for tracer in tracers {
                let object = fs::read(self.object(tracer))?;
                if self.unbroken.get(&(tracer.clone(), variant)) != Some(&object) {
                    let path = self.dir.join(format!("{tracer}.{variant}.o"));
                    fs::write(&path, object)?;
                    changed.push((tracer.clone(), variant, path));
                }
            }
        }
        Ok(changed)
    }

    fn object(&self, tracer: &str) -> PathBuf {
        self.dir.join("target").join(TARGET).join("release").join(tracer)
    }

    /// As backends/aya/build.rs does.
    fn compile(&self, features: &str, tracers: &[String]) -> Result<()> {
        let bins = tracers.iter().flat_map(|tracer| ["--bin", tracer]);
        let flags = ["--cfg=bpf_target_arch=\"x86_64\"", "-Ctarget-cpu=v2", "-Clinker=bpf-linker"]
            .join("\x1f");
        let build = Invocation::new("cargo")
            .args(["build", "--offline", "--quiet", "--release", "--package", "kernlab-aya-ebpf"])
            .args(["--target", TARGET, "--config", "profile.release.debug=false"])
            .args(["-Zbuild-std=core", "--features", features, "--target-dir", "target"])
            .args(bins)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .dir(&self.dir);
        build.read(DEADLINE).map(drop)
    }
}

/// The manifest of a workspace that has only the programs.
fn workspace_of_programs(manifest: &str) -> Result<String> {
    let mut manifest: toml::Table = toml::from_str(manifest)?;
    let Some(workspace) = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut) else {
        bail!("it has no workspace");
    };
    let members: Vec<toml::Value> = MEMBERS.iter().map(|&member| member.into()).collect();
    workspace.insert("members".to_owned(), members.into());
    workspace.remove("default-members");
    workspace.remove("exclude");
    // Packages that are not there have no profile.
    if let Some(profiles) = manifest.get_mut("profile").and_then(toml::Value::as_table_mut) {
        profiles.clear();
    }
    Ok(toml::to_string(&manifest)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let (path, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_of_the_programs_has_nothing_else() {
        let manifest = "[workspace]\nmembers = [\"a\"]\ndefault-members = [\"a\"]\n\
                        [workspace.package]\nversion = \"1\"\n[profile.dev.package.a]\nopt-level = 3\n";
        let changed = workspace_of_programs(manifest).unwrap();
        assert!(changed.contains("members = [\"backends/aya/ebpf\", \"core/abi\"]"), "{changed}");
        assert!(!changed.contains("default-members") && !changed.contains("opt-level"));
        assert!(changed.contains("version = \"1\""));
        assert!(workspace_of_programs("[package]\n").is_err());
    }
}
