//! From what is missing to what is done about it: a decision, nothing happens here.

use std::time::Duration;

use super::{
    distribution::{Distribution, PackageManager},
    requirement::{Origin, Packages, Requirement},
};
use crate::invocation::Invocation;

/// Downloads and compilation on a slow and busy machine.
const STEP_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);

/// What setup will do, and what it leaves to the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Done by us, in this order.
    pub(crate) steps: Vec<Step>,
    /// Commands or packages that we name, and don't run on this distribution.
    pub(crate) by_hand: Vec<String>,
}

/// One thing that setup does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Runs a command.
    Run(Invocation, Duration),
    /// Gets the core library's source for the installed toolchain, from rustup.
    RustSource {
        /// Where rustup can't, Debian's package of the same release does.
        or_debian: bool,
    },
}

impl Plan {
    /// How `missing` requirements are met on a machine.
    pub(crate) fn new(missing: &[&Requirement], distribution: &Distribution, root: bool) -> Self {
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
                Origin::Crate(wanted) => plan.steps.push(Step::Run(
                    Invocation::cargo(["install", "--locked", "--version", wanted.version])
                        .args(wanted.options.iter().copied())
                        .args(["--force", wanted.name]),
                    STEP_DEADLINE,
                )),
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

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Run(command, _) => command.fmt(f),
            Step::RustSource { or_debian } => {
                f.write_str("rustup component add rust-src")?;
                if *or_debian { f.write_str(" (or Debian's package of it)") } else { Ok(()) }
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

    fn needs(purpose: Purpose) -> Vec<&'static Requirement> {
        requirement::ALL.iter().filter(|need| purpose.includes(need.purpose)).collect()
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
        let everything = needs(Purpose::Test);
        let plan = Plan::new(&everything, &distribution(id), root);
        insta::assert_snapshot!(format!("bare_{id}"), render(&plan));
    }

    #[rstest]
    #[case("debian", false)]
    #[case("fedora", false)]
    #[case("arch", true)]
    fn a_machine_that_is_to_build_kernels(#[case] id: &str, #[case] root: bool) {
        let plan = Plan::new(&needs(Purpose::BuildBtf), &distribution(id), root);
        insta::assert_snapshot!(format!("builds_{id}"), render(&plan));
    }

    #[test]
    fn only_what_is_missing_is_touched() {
        assert_eq!(Plan::new(&[], &distribution("debian"), true), Plan::default());
        let linker = requirement::ALL.iter().filter(|need| need.name == "bpf-linker");
        let plan = Plan::new(&linker.collect::<Vec<_>>(), &distribution("debian"), false);
        assert_eq!(
            render(&plan),
            "run: cargo install --locked --version 0.10.1 --force bpf-linker\n"
        );
    }
}
