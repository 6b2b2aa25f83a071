//! Decides from what is missing how to install it. Runs nothing itself.

use std::time::Duration;

use super::{
    archive::Archive,
    distribution::{Distribution, PackageManager},
    requirement::{Crate, Origin, Packages, Requirement},
};
use crate::{architecture::Architecture, invocation::Invocation, workflows};

/// Enough for downloads and compilation on a slow and busy machine.
const STEP_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
/// A profile that compiles quickly: these programs run for milliseconds, and their projects' release
/// profiles take minutes to compile.
const QUICK_PROFILE: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

/// The steps that setup runs, and those that it leaves to the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Run by setup, in this order.
    pub(crate) steps: Vec<Step>,
    /// Commands or packages for the user, on distributions where setup installs none.
    pub(crate) by_hand: Vec<String>,
}

/// One step of setup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Runs a command.
    Run(Invocation, Duration),
    /// Gets the core library's source for the installed toolchain from rustup.
    RustSource {
        /// Take Debian's package of the same release if rustup fails.
        or_debian: bool,
    },
    /// Downloads a program's release.
    Download {
        /// The release.
        archive: Archive,
        /// Compiles the program if the download fails.
        otherwise: Invocation,
        /// The deadline of that command.
        deadline: Duration,
    },
}

impl Plan {
    /// The plan for `missing` requirements on a machine of this architecture.
    pub(crate) fn new(
        missing: &[&Requirement],
        distribution: &Distribution,
        root: bool,
        architecture: Architecture,
    ) -> Self {
        let mut plan = Plan::default();
        let packages = missing.iter().filter_map(|requirement| match requirement.origin {
            Origin::Packages(packages) => Some((*requirement, packages)),
            _ => None,
        });
        plan.add_packages(&packages.collect::<Vec<_>>(), distribution, root);
        for requirement in missing {
            match requirement.origin {
                Origin::Packages(_) => {}
                Origin::RustSource => {
                    plan.steps.push(Step::RustSource { or_debian: distribution.id == "debian" });
                }
                Origin::Linters => {
                    plan.steps.push(Step::Run(workflows::install(), STEP_DEADLINE));
                }
                Origin::Crate(wanted) => {
                    let compile = compile(wanted);
                    let archive = wanted.archive.filter(|_| architecture == Architecture::X86_64);
                    plan.steps.push(match archive {
                        Some(archive) => {
                            Step::Download { archive, otherwise: compile, deadline: STEP_DEADLINE }
                        }
                        None => Step::Run(compile, STEP_DEADLINE),
                    });
                }
            }
        }
        plan
    }

    fn add_packages(
        &mut self,
        missing: &[(&Requirement, Packages)],
        distribution: &Distribution,
        root: bool,
    ) {
        let names = |of: fn(&Packages) -> &'static [&'static str]| {
            missing.iter().flat_map(move |(_, packages)| of(packages)).copied()
        };
        let privileged = |command: Invocation| if root { command } else { command.with_sudo() };
        if missing.is_empty() {
            return;
        }
        match distribution.package_manager() {
            Some(PackageManager::Apt) => {
                let apt = || Invocation::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
                let update = apt().args(["update"]);
                // A machine that has just started may be upgrading itself.
                let install = apt()
                    .args(["install", "--yes", "--no-install-recommends"])
                    .args(["-o", "DPkg::Lock::Timeout=300"])
                    .args(names(|packages| packages.apt));
                let commands = [update, install].map(privileged);
                self.steps.extend(commands.map(|command| Step::Run(command, STEP_DEADLINE)));
            }
            Some(PackageManager::Dnf) => {
                let install = Invocation::new("dnf").args(["install"]);
                let install = privileged(install.args(names(|packages| packages.dnf)));
                self.by_hand.push(install.to_string());
            }
            Some(PackageManager::Pacman) => {
                let install = Invocation::new("pacman").args(["-S", "--needed"]);
                let install = privileged(install.args(names(|packages| packages.pacman)));
                self.by_hand.push(install.to_string());
            }
            None => self.by_hand.extend(missing.iter().map(|(requirement, packages)| {
                let names = packages.apt.join(" ");
                format!("install {} (Debian calls it {names})", requirement.name)
            })),
        }
    }
}

fn compile(wanted: Crate) -> Invocation {
    let install = Invocation::cargo(["install", "--locked", "--version", wanted.version])
        .args(wanted.options.iter().copied())
        .args(["--force", wanted.name]);
    QUICK_PROFILE.iter().fold(install, |install, (name, value)| install.env(name, *value))
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Run(command, _) => command.fmt(f),
            Step::RustSource { or_debian } => {
                f.write_str("rustup component add rust-src")?;
                if *or_debian { f.write_str(" (or Debian's package of it)") } else { Ok(()) }
            }
            Step::Download { archive, otherwise, .. } => {
                let Archive { url, sha256, .. } = archive;
                write!(f, "get {url}\n    if its SHA-256 is {sha256}, otherwise\n    {otherwise}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        super::requirement::{self, Purpose},
        *,
    };

    fn distribution(id: &str) -> Distribution {
        Distribution { id: id.to_owned(), ..Distribution::default() }
    }

    const X86_64: Architecture = Architecture::X86_64;

    fn needs(host: Architecture, purpose: Purpose) -> Vec<&'static Requirement> {
        requirement::of(host, purpose).collect()
    }

    fn render(plan: &Plan) -> String {
        let steps = plan.steps.iter().map(|step| format!("run: {step}\n"));
        let by_hand = plan.by_hand.iter().map(|command| format!("by hand: {command}\n"));
        steps.chain(by_hand).collect()
    }

    #[rstest]
    #[case("debian", true)]
    #[case("ubuntu", false)]
    #[case("fedora", false)]
    #[case("arch", true)]
    #[case("nixos", false)]
    fn a_bare_machine(#[case] id: &str, #[case] root: bool) {
        let everything = needs(X86_64, Purpose::Test);
        let plan = Plan::new(&everything, &distribution(id), root, X86_64);
        insta::assert_snapshot!(format!("bare_{id}"), render(&plan));
    }

    #[rstest]
    #[case("debian", false)]
    #[case("fedora", false)]
    #[case("arch", true)]
    fn a_machine_that_is_to_build_kernels(#[case] id: &str, #[case] root: bool) {
        let plan = Plan::new(&needs(X86_64, Purpose::Builds), &distribution(id), root, X86_64);
        insta::assert_snapshot!(format!("builds_{id}"), render(&plan));
    }

    /// What an x86-64 machine has of its own is foreign to one of arm64, and the other way around.
    #[rstest]
    #[case::work(X86_64, Purpose::Work, " qemu-system-x86 ", &["qemu-system-arm", "-linux-gnu"])]
    #[case::foreign(
        X86_64,
        Purpose::Foreign,
        " qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross\n",
        &["x86"]
    )]
    #[case::builds(X86_64, Purpose::BuildForeign, " gcc-aarch64-linux-gnu\n", &["x86"])]
    #[case::work_on_arm64(
        Architecture::Aarch64,
        Purpose::Work,
        " qemu-system-arm ",
        &["x86", "-linux-gnu", "get https"]
    )]
    #[case::foreign_on_arm64(
        Architecture::Aarch64,
        Purpose::Foreign,
        " qemu-system-x86 gcc-x86-64-linux-gnu libc6-dev-amd64-cross\n",
        &["arm", "aarch64"]
    )]
    #[case::builds_on_arm64(
        Architecture::Aarch64,
        Purpose::BuildForeign,
        " gcc-x86-64-linux-gnu\n",
        &["aarch64"]
    )]
    fn machines_of_each_architecture(
        #[case] host: Architecture,
        #[case] purpose: Purpose,
        #[case] wanted: &str,
        #[case] unwanted: &[&str],
    ) {
        let plan = render(&Plan::new(&needs(host, purpose), &distribution("debian"), true, host));
        assert!(plan.contains(wanted), "{plan}");
        assert!(!unwanted.iter().any(|words| plan.contains(words)), "{plan}");
    }

    #[test]
    fn only_what_is_missing_is_touched() {
        let plan = Plan::new(&[], &distribution("debian"), true, X86_64);
        assert_eq!(plan, Plan::default());
        let rendered = plan_for("bpf-linker", X86_64);
        assert!(rendered.starts_with("run: CARGO_PROFILE_RELEASE_OPT_LEVEL="), "{rendered}");
        assert!(
            rendered.ends_with(" cargo install --locked --version 0.10.1 --force bpf-linker\n"),
            "{rendered}"
        );
        assert_eq!(rendered.lines().count(), 1);
    }

    #[rstest]
    #[case::with_a_release("cargo-nextest", X86_64, true)]
    #[case::another_architecture("cargo-nextest", Architecture::Aarch64, false)]
    #[case::without_a_release("bpf-linker", X86_64, false)]
    fn releases_are_for_one_architecture(
        #[case] name: &str,
        #[case] architecture: Architecture,
        #[case] downloaded: bool,
    ) {
        let rendered = plan_for(name, architecture);
        assert_eq!(rendered.starts_with("run: get https://"), downloaded, "{rendered}");
        assert!(rendered.contains("cargo install --locked"), "{rendered}");
    }

    /// A release is of the version that is compiled where it is not available.
    #[rstest]
    fn releases_have_the_version_that_is_pinned() {
        for requirement in requirement::all() {
            let Origin::Crate(Crate { version, archive: Some(archive), .. }) = requirement.origin
            else {
                continue;
            };
            assert!(archive.url.contains(&format!("-{version}-x86_64-")), "{}", archive.url);
            assert_eq!(archive.sha256.len(), 64, "{}", archive.url);
        }
    }

    fn plan_for(name: &str, architecture: Architecture) -> String {
        let needs = requirement::all().filter(|need| need.name == name).collect::<Vec<_>>();
        render(&Plan::new(&needs, &distribution("debian"), false, architecture))
    }
}
