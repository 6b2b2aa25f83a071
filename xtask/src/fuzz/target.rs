//! The targets, and where their first inputs are from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A program of `fuzz/`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Its name.
    pub(super) name: &'static str,
    /// The longest input that is tried, in bytes.
    pub(super) longest: u32,
    /// Files of the repository that are inputs, and directories of such files, besides
    /// `fuzz/seeds/NAME`.
    fixtures: &'static [&'static str],
}

const fn target(name: &'static str, kibibytes: u32, fixtures: &'static [&'static str]) -> Target {
    Target { name, longest: kibibytes << 10, fixtures }
}

/// All targets, ordered by name.
pub(super) const TARGETS: [Target; 16] = [
    target("btf", 16, &[]),
    target("dossier", 32, &["core/tests/dossiers"]),
    target("frames", 8, &[]),
    target("image", 32, &[]),
    target("kernel_text", 16, &[]),
    target(
        "manifest",
        16,
        &[
            "fixtures/own-tracer/kernlab.toml",
            "fixtures/suites",
            "vmtest/src/suite/init",
            "vmtest/src/suite/manifest/tests",
            "vmtest/tests/all/suites",
        ],
    ),
    target("matrix", 16, &["kernels.toml", "kernels.lock", "kernels/kconfig"]),
    target("object", 32, &[]),
    target("output", 16, &[]),
    target("package", 16, &[]),
    target("record", 16, &[]),
    target("report", 64, &["docs/images/report.json"]),
    target("repository", 16, &[]),
    target("root_archive", 16, &[]),
    target("splat", 32, &["splat/tests/cases"]),
    target("tests", 16, &[]),
];

impl Target {
    /// Copies all first inputs into a directory, which has nothing else then.
    pub(super) fn collect_seeds(&self, root: &Path, into: &Path) -> Result<()> {
        let failed = |what: &str, path: &Path| format!("failed to {what} {}", path.display());
        if into.exists() {
            fs::remove_dir_all(into).with_context(|| failed("remove", into))?;
        }
        fs::create_dir_all(into).with_context(|| failed("make", into))?;
        for file in self.seeds(root)? {
            let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('/', "_");
            fs::copy(&file, into.join(name)).with_context(|| failed("copy", &file))?;
        }
        Ok(())
    }

    /// The files with its first inputs.
    fn seeds(&self, root: &Path) -> Result<Vec<PathBuf>> {
        let own = root.join("fuzz/seeds").join(self.name);
        let fixtures = self.fixtures.iter().map(|path| root.join(path));
        let mut waiting: Vec<PathBuf> = fixtures.collect();
        if own.is_dir() {
            waiting.push(own);
        }
        let mut files = Vec::new();
        while let Some(path) = waiting.pop() {
            if !path.is_dir() {
                files.push(path);
                continue;
            }
            let entries = fs::read_dir(&path)
                .with_context(|| format!("failed to list {}", path.display()))?;
            for entry in entries {
                waiting.push(
                    entry.with_context(|| format!("failed to list {}", path.display()))?.path(),
                );
            }
        }
        files.sort();
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn targets_are_the_programs_of_the_package() {
        let manifest = fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let programs = manifest["bin"].as_array().unwrap().iter();
        let programs: Vec<_> = programs.map(|bin| bin["name"].as_str().unwrap()).collect();
        assert_eq!(programs, TARGETS.map(|target| target.name));
        for target in TARGETS {
            let file = format!("fuzz/fuzz_targets/{}.rs", target.name);
            let text = fs::read_to_string(workspace::root().join(file)).unwrap();
            assert!(text.contains(&format!("kernlab_fuzz::{}(bytes)", target.name)), "{text}");
        }
    }

    #[test]
    fn every_target_has_seeds() {
        for target in TARGETS {
            let dir = tempfile::tempdir().unwrap();
            let seeds = target.seeds(&workspace::root()).unwrap();
            assert!(!seeds.is_empty(), "{}", target.name);
            target.collect_seeds(&workspace::root(), dir.path()).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), seeds.len(), "{}", target.name);
        }
    }
}
