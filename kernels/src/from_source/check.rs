//! Checks whether a kernel works in the lab, and which options it lacks.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use kernlab_core::{arch::Arch, scenario::Scenario};

use crate::{
    compression::{Compression, read_bounded},
    from_source::{Config, ConfigError, OptionState, Requirement, Scope, Value, requirements},
    image::{
        inspected::Inspected,
        is_arm64,
        vmlinux::{ImageError, is_elf},
    },
};

/// The architectures of kernels that the lab boots, as Kconfig names them.
const BOOTED: [&str; 2] = ["X86_64", "ARM64"];

const MAX_IMAGE: u64 = 1 << 30;
const MAX_CONFIG: u64 = 64 << 20;

/// The markers around the compressed configuration in an image: kernel/configs.c.
const IKCONFIG: [&[u8]; 2] = [b"IKCFG_ST", b"IKCFG_ED"];

/// What a file reveals about a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// What `uname -r` prints, or the part of it that a configuration contains.
    pub release: Option<String>,
    /// The properties of the image, if the file is one.
    pub image: Option<ImageTraits>,
    /// The configuration: the file itself, or the copy in an image.
    pub config: Option<Config>,
}

/// The properties of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageTraits {
    /// The architecture of the kernel.
    pub arch: Arch,
    /// Whether QEMU can start an uncompressed kernel by its PVH entry point. `None` if the payload
    /// of a bzImage can't be inspected.
    pub pvh: Option<bool>,
    /// Whether the image has BTF. `None` as above.
    pub btf: Option<bool>,
}

/// A file that reveals nothing about a kernel.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The file can't be read.
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    /// The file is an image that can't be used.
    #[error("cannot use {path}")]
    Image { path: PathBuf, source: ImageError },
    /// The file is a configuration for another architecture.
    #[error(
        "{path} is a configuration for {architecture}, and the lab boots kernels for x86-64 and arm64"
    )]
    OtherArchitecture {
        path: PathBuf,
        /// As Kconfig names it: `RISCV`.
        architecture: &'static str,
    },
    /// The file is neither an image nor a configuration.
    #[error("{path} is neither a kernel image nor a kernel's configuration")]
    Config {
        path: PathBuf,
        /// Why it is not a configuration.
        source: ConfigError,
    },
}

/// Examines a bzImage, a vmlinux, or a configuration, which may be compressed with gzip. An image
/// that can't be booted here is an error.
pub fn examine(path: &Path) -> Result<Examined, CheckError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        read_bounded(&mut file, MAX_IMAGE)
    };
    let unreadable = |source| CheckError::Read { path: path.to_owned(), source };
    let bytes = read().map_err(unreadable)?;
    if is_elf(&bytes) || bytes.get(0x202..0x206) == Some(b"HdrS") {
        return image(&bytes).map_err(|source| CheckError::Image { path: path.to_owned(), source });
    }
    let text = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => Compression::Gzip.decompress(&bytes, MAX_CONFIG).map_err(unreadable)?,
        false => bytes,
    };
    if is_arm64(&text) {
        return image(&text).map_err(|source| CheckError::Image { path: path.to_owned(), source });
    }
    let config = Config::parse(&String::from_utf8_lossy(&text))
        .map_err(|source| CheckError::Config { path: path.to_owned(), source })?;
    if let Some(architecture) = config.architecture().filter(|name| !BOOTED.contains(name)) {
        return Err(CheckError::OtherArchitecture { path: path.to_owned(), architecture });
    }
    let release = config.release.as_ref().map(ToString::to_string);
    Ok(Examined { release, image: None, config: Some(config) })
}

fn image(bytes: &[u8]) -> Result<Examined, ImageError> {
    let image = Inspected::of(bytes)?;
    let traits = ImageTraits { arch: image.arch, pvh: image.has_pvh, btf: image.has_btf };
    let config = image.uncompressed().and_then(embedded_config);
    Ok(Examined { release: image.release, image: Some(traits), config })
}

/// The configuration embedded in a kernel with `CONFIG_IKCONFIG`.
fn embedded_config(vmlinux: &[u8]) -> Option<Config> {
    let [start, end] = IKCONFIG;
    // Behind the last end, no start is looked at: each would be looked through to the end of the image.
    let last = memchr::memmem::rfind(vmlinux, end)?;
    memchr::memmem::find_iter(&vmlinux[..last], start).find_map(|at| {
        let rest = &vmlinux[at + start.len()..];
        let length = memchr::memmem::find(rest, end)?;
        let text = Compression::Gzip.decompress(&rest[..length], MAX_CONFIG).ok()?;
        Config::parse(&String::from_utf8_lossy(&text)).ok()
    })
}

/// An option that does not have the required value.
#[derive(Clone, Debug)]
pub struct Unsatisfied {
    /// The required value, with what needs it and why.
    pub requirement: &'static Requirement,
    /// The actual value; `None` if the configuration does not mention the option.
    pub found: Option<Value>,
}

/// How a configuration meets the lab's list of options.
#[derive(Clone, Debug)]
pub struct Suitability {
    /// Every required option that has a different value, in the order of the list.
    pub unsatisfied: Vec<Unsatisfied>,
    /// The number of options that have the required value, or that the release does not have and
    /// does not need.
    pub met: usize,
}

impl Suitability {
    /// Compares a configuration with the list of options.
    pub fn of(config: &Config) -> Self {
        let mut suitability = Suitability { unsatisfied: Vec::new(), met: 0 };
        let arch = match config.architecture() {
            Some("ARM64") => Arch::Aarch64,
            _ => Arch::X86_64,
        };
        for requirement in requirements() {
            let needs_it = !matches!(requirement.scope, Scope::Build | Scope::Btf);
            if !needs_it || !requirement.concerns(arch) {
                continue;
            }
            match requirement.state_in(config) {
                OptionState::Met | OptionState::TooOld => suitability.met += 1,
                OptionState::Unsatisfied(found) => {
                    suitability.unsatisfied.push(Unsatisfied { requirement, found })
                }
            }
        }
        suitability
    }

    /// Whether the lab can boot the kernel and run tracers in it.
    pub fn suits(&self) -> bool {
        let is_general = |unsatisfied: &Unsatisfied| {
            matches!(unsatisfied.requirement.scope, Scope::Guest | Scope::Tracers)
        };
        !self.unsatisfied.iter().any(is_general)
    }

    /// The scenarios that can't work, as long as others can.
    pub fn unsupported(&self) -> Vec<&'static Scenario> {
        let needed: Vec<_> = self
            .unsatisfied
            .iter()
            .flat_map(|unsatisfied| unsatisfied.requirement.scope.scenarios())
            .collect();
        Scenario::ALL.iter().filter(|scenario| needed.contains(scenario)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;
    use crate::test_support::{
        archive::compress,
        image::{Payload, bzimage, vmlinux},
    };

    /// The lab's own list of options, as a configuration.
    fn config() -> String {
        let lines = include_str!("../../kconfig/lab.config");
        format!("# Linux/x86 6.1.5 Kernel Configuration\n{lines}")
    }

    fn examine_bytes(bytes: &[u8]) -> Result<Examined, CheckError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        examine(file.path())
    }

    #[rstest]
    #[case::plain(Compression::None)]
    #[case::proc_config_gz(Compression::Gzip)]
    fn a_configuration_is_read(#[case] compression: Compression) {
        let examined = examine_bytes(&compress(compression, config().as_bytes())).unwrap();
        assert_eq!(examined.release.as_deref(), Some("6.1"));
        let suitability = Suitability::of(&examined.config.unwrap());
        assert!(suitability.suits() && suitability.unsatisfied.is_empty(), "{suitability:?}");
        assert!(suitability.met > 30);
    }

    #[rstest]
    #[case::plain(Compression::None)]
    #[case::gzip(Compression::Gzip)]
    fn an_image_of_arm64_is_told_as_such(#[case] compression: Compression) {
        let mut image = vec![0; 0x1000];
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        let examined = examine_bytes(&compress(compression, &image)).unwrap();
        let traits = ImageTraits { arch: Arch::Aarch64, pvh: None, btf: Some(false) };
        assert_eq!(examined.image, Some(traits));
    }

    #[test]
    fn a_configuration_of_another_architecture_is_told_as_such() {
        let config = config();
        let arm64 = config.replace("x86", "arm64") + "CONFIG_ARM64=y\n";
        let suitability =
            Suitability::of(&examine_bytes(arm64.as_bytes()).unwrap().config.unwrap());
        assert!(suitability.suits());
        let text = config.replace("x86", "riscv") + "CONFIG_RISCV=y\n";
        let error = examine_bytes(text.as_bytes()).unwrap_err();
        assert!(error.to_string().ends_with(
            "is a configuration for RISCV, and the lab boots kernels for x86-64 and arm64"
        ));
    }

    #[rstest]
    #[case::fragment("CONFIG_BPF=y\n", true)]
    #[case::with_a_head("# Linux/x86 6.1.5 Kernel Configuration\nCONFIG_BPF=y\n", false)]
    #[case::with_an_architecture("CONFIG_X86_64=y\nCONFIG_BPF=y\n", false)]
    fn a_fragment_is_known(#[case] text: &str, #[case] expected: bool) {
        let config = examine_bytes(text.as_bytes()).unwrap().config.unwrap();
        assert_eq!(config.is_fragment(), expected);
    }

    #[test]
    fn an_image_may_carry_its_configuration() {
        let mut kernel = vmlinux("6.1.5", true);
        let packed = compress(Compression::Gzip, config().as_bytes());
        for (image, expected) in [(kernel.clone(), false), {
            kernel.extend([IKCONFIG[0], &packed, IKCONFIG[1]].concat());
            (kernel, true)
        }] {
            let packed = bzimage("6.1.5", Payload::Compressed(Compression::Xz), &image);
            for bytes in [image, packed] {
                let examined = examine_bytes(&bytes).unwrap();
                assert_eq!(examined.release.as_deref(), Some("6.1.5"));
                let traits = ImageTraits { arch: Arch::X86_64, pvh: Some(true), btf: Some(false) };
                assert_eq!(examined.image, Some(traits));
                assert_eq!(examined.config.is_some(), expected);
            }
        }
    }

    #[test]
    fn an_image_that_can_t_be_looked_into_is_still_one() {
        let examined = examine_bytes(&bzimage("6.1.5", Payload::Bzip2, b"")).unwrap();
        assert_eq!(examined.image, Some(ImageTraits { arch: Arch::X86_64, pvh: None, btf: None }));
    }

    #[test]
    fn files_that_tell_nothing_say_why() {
        for (bytes, expected) in [
            (&b"#!/bin/sh\necho\n"[..], "is neither a kernel image nor a kernel's configuration"),
            (b"", "is neither a kernel image"),
            (&vmlinux("4.18.0", false), "build it with CONFIG_PVH=y"),
            (&[0x1f, 0x8b, 3, 3], "cannot read "),
        ] {
            let error = crate::chain(&examine_bytes(bytes).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        let error = examine(Path::new("/nonexistent/config")).unwrap_err();
        assert!(error.to_string().contains("cannot read /nonexistent/config"), "{error}");
        let error = examine(Path::new("/")).unwrap_err();
        assert!(matches!(error, CheckError::Read { .. }), "{error:?}");
    }

    #[rstest]
    #[case::one_scenario("CONFIG_KEYS=y", "# CONFIG_KEYS is not set", true, &["many_args/key_alloc"])]
    #[case::a_tracer(
        "CONFIG_UPROBES=y",
        "",
        true,
        &[
            "user_args/eight_ints",
            "user_args/pie_and_static",
            "user_args/ten_ints",
            "user_args/mixed_types",
            "user_args/two_at_once",
            "user_args/recursive",
            "user_args/full_pending",
            "user_args/unseen_end",
        ]
    )]
    #[case::every_tracer("CONFIG_KPROBES=y", "# CONFIG_KPROBES is not set", false, &[])]
    #[case::a_module("CONFIG_INET=y", "CONFIG_INET=m", false, &[])]
    #[case::not_for_distributions("CONFIG_CGROUPS=y", "", true, &[])]
    fn what_is_missing_decides_what_works(
        #[case] from: &str,
        #[case] to: &str,
        #[case] suits: bool,
        #[case] unsupported: &[&str],
    ) {
        let config = Config::parse(&config().replace(&format!("{from}\n"), &format!("{to}\n")));
        let suitability = Suitability::of(&config.unwrap());
        assert_eq!(suitability.suits(), suits);
        let names: Vec<_> = suitability.unsupported().iter().map(ToString::to_string).collect();
        assert_eq!(names, unsupported);
    }

    proptest::proptest! {
        #[test]
        fn no_image_makes_it_panic(tail in proptest::collection::vec(0_u8.., 0..200)) {
            let [start, end] = IKCONFIG;
            for marks in [[start, &tail, end].concat(), [start, &tail].concat()] {
                drop(embedded_config(&marks));
            }
            drop(image(&[b"\x7fELF", &tail[..]].concat()));
        }
    }
}
