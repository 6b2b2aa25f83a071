//! `kernlab kernels check`: whether a kernel suits the lab.

use std::{fmt::Write as _, path::Path};

use clap::Args;
use kernlab_cli::{Exit, Scope};
use kernlab_kernels::{
    Arch, Config, Examined, ImageTraits, Kernels, Suitability, Unsatisfied, Value, chain, examine,
};

use super::progress::Progress;
use crate::{failure::Failure, selection};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A bzImage, a vmlinux, a configuration (also a compressed one such as /proc/config.gz), or a
    /// kernel of the matrix: an id, a release, a glob, `host`.
    #[arg(value_name = "IMAGE|CONFIG|KERNEL", required = true)]
    subjects: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

/// Examines each kernel and prints what it lacks. Fails if one of them does not suit the lab.
pub(super) fn run(kernels: Kernels, arguments: &Check) -> Result<Exit, Failure> {
    let kernels = &selection::limit(kernels, arguments.scope.locked);
    let mut exit = Exit::Success;
    for subject in &arguments.subjects {
        let examined = match Path::new(subject).is_file() {
            true => examine(Path::new(subject))
                .map(|examined| vec![(subject.clone(), examined)])
                .map_err(|error| Failure::usage(chain(&error))),
            false => of_matrix(kernels, subject, &arguments.scope),
        };
        let examined = examined.unwrap_or_else(|failure| {
            exit = exit.and(failure.report());
            Vec::new()
        });
        for (name, examined) in examined {
            let (text, found) = render(&name, &examined);
            print!("{text}");
            exit = exit.and(found);
        }
    }
    Ok(exit)
}

fn of_matrix(
    kernels: &Kernels,
    selector: &str,
    scope: &Scope,
) -> Result<Vec<(String, Examined)>, Failure> {
    let selection = selection::selection(scope, &[selector.to_owned()]);
    let entries = kernels.select(&selection)?.entries;
    let progress = Progress::new();
    let mut all = Vec::new();
    for entry in &entries {
        let kernel = kernels.prepare(entry, &progress)?;
        let examine = |path| examine(path).map_err(|error| Failure::infrastructure(&error));
        let mut examined = examine(kernel.image.fastest())?;
        if let Some(path) = &kernel.config {
            examined.config = examine(path)?.config;
        }
        examined.release = Some(kernel.release);
        all.push((entry.id.clone(), examined));
    }
    Ok(all)
}

/// The text about one kernel, and its exit code.
fn render(name: &str, examined: &Examined) -> (String, Exit) {
    let mut text =
        format!("{name}: {}\n", examined.release.as_deref().unwrap_or("release unknown"));
    if let Some(ImageTraits { arch, pvh, btf }) = examined.image {
        let starts = match pvh {
            _ if arch == Arch::Aarch64 => "boots through its Image, for arm64",
            Some(true) => "boots through its PVH entry point",
            Some(false) => {
                "boots through its bzImage, a second slower than through a PVH entry point"
            }
            None => "boots through its bzImage, whose payload has an unknown compression",
        };
        let types = match btf {
            Some(true) => "has BTF: modes embedded and masked",
            Some(false) => "no BTF: modes absent and external",
            None => "whether it has BTF is unknown",
        };
        let _ = writeln!(text, "  {types}\n  {starts}");
    } else if let Some(config) = &examined.config {
        let types = match (config.get("CONFIG_DEBUG_INFO_BTF"), config.is_fragment()) {
            (Some(Value::BuiltIn), _) => "will have BTF (CONFIG_DEBUG_INFO_BTF=y)",
            (None, true) => {
                "whether it will have BTF is unknown: CONFIG_DEBUG_INFO_BTF is not in it"
            }
            _ => "will have no BTF: CONFIG_DEBUG_INFO_BTF is not set",
        };
        let _ = writeln!(text, "  {types}");
    }
    if examined.config.as_ref().is_some_and(Config::is_fragment) {
        text += "  a fragment of a configuration: options that it does not set are \
                 unknown: check the .config that `make olddefconfig` makes of it\n";
        return (text, Exit::Infrastructure);
    }
    let Some(config) = &examined.config else {
        text += "  its configuration is not in the image (CONFIG_IKCONFIG): check its config file too\n";
        return (text, Exit::Infrastructure);
    };
    let exit = options(&mut text, config);
    (text, exit)
}

fn options(text: &mut String, config: &Config) -> Exit {
    let suitability = Suitability::of(config);
    for Unsatisfied { requirement, found } in &suitability.unsatisfied {
        let found = match found {
            Some(found) => format!("is {found}"),
            None => "is missing".to_owned(),
        };
        let _ = writeln!(
            text,
            "  {} {found}, should be {}; needed by {}: {}",
            requirement.option, requirement.value, requirement.scope, requirement.why
        );
    }
    let unsupported: Vec<_> = suitability.unsupported().iter().map(ToString::to_string).collect();
    let (met, unsatisfied) = (suitability.met, suitability.unsatisfied.len());
    let verdict = match (suitability.suits(), unsupported.is_empty()) {
        (false, _) => {
            format!("does not suit the lab: {met} options are as needed, {unsatisfied} not")
        }
        (true, true) => format!("suits the lab: all {met} options are as needed"),
        (true, false) => format!(
            "suits the lab, except for these unsupported scenarios: {}",
            unsupported.join(", ")
        ),
    };
    let _ = writeln!(text, "  {verdict}");
    if suitability.suits() { Exit::Success } else { Exit::Failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(config: Option<&str>) -> Examined {
        let lines = include_str!("../../../../../kernels/kconfig/lab.config");
        let lines = format!("CONFIG_X86_64=y\n{lines}");
        let config = config.map(|gone| Config::parse(&lines.replace(gone, "")).unwrap());
        let image = Some(ImageTraits { arch: Arch::X86_64, pvh: Some(false), btf: Some(false) });
        Examined { release: Some("5.4.273".to_owned()), image, config }
    }

    #[test]
    fn a_fragment_is_told_as_one() {
        let config = Some(Config::parse("CONFIG_KPROBES=y\nCONFIG_DEBUG_INFO_BTF=y\n").unwrap());
        let (text, exit) = render("part", &Examined { config, ..Examined::default() });
        insta::assert_snapshot!(format!("{text}-> {exit:?}"), @r"
        part: release unknown
          will have BTF (CONFIG_DEBUG_INFO_BTF=y)
          a fragment of a configuration: options that it does not set are unknown: check the .config that `make olddefconfig` makes of it
        -> Infrastructure
        ");
    }

    #[test]
    fn verdicts() {
        let cases = [
            ("all", Some("nothing")),
            ("few", Some("CONFIG_KEYS=y\n")),
            ("useless", Some("CONFIG_KPROBES=y\n")),
            ("silent", None),
        ];
        let texts = cases.map(|(name, config)| {
            let (text, exit) = render(name, &examined(config));
            format!("{text}-> {exit:?}\n")
        });
        insta::assert_snapshot!(texts.join("\n"), @r"
        all: 5.4.273
          no BTF: modes absent and external
          boots through its bzImage, a second slower than through a PVH entry point
          suits the lab: all 42 options are as needed
        -> Success

        few: 5.4.273
          no BTF: modes absent and external
          boots through its bzImage, a second slower than through a PVH entry point
          CONFIG_KEYS is missing, should be y; needed by many_args/key_alloc: add_key(2), and the function behind it that has eight arguments.
          suits the lab, except for these unsupported scenarios: many_args/key_alloc
        -> Success

        useless: 5.4.273
          no BTF: modes absent and external
          boots through its bzImage, a second slower than through a PVH entry point
          CONFIG_KPROBES is missing, should be y; needed by every tracer: Probes at the entry and return of kernel functions, and the symbol table that says which there are.
          does not suit the lab: 41 options are as needed, 1 not
        -> Failure

        silent: 5.4.273
          no BTF: modes absent and external
          boots through its bzImage, a second slower than through a PVH entry point
          its configuration is not in the image (CONFIG_IKCONFIG): check its config file too
        -> Infrastructure
        ");
    }
}
