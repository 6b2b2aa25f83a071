//! `docs/findings.md`.

use std::{collections::BTreeMap, fmt::Write as _};

use super::record::{Claim, Claims, OfRelease, Results, Shown};

const HEAD: &str = "\
# Findings: Debian's tracing tools on many kernels

libbpf-tools, bpftrace and bcc are tools that others wrote. The lab ran them as Debian ships them: each \
does something known in a guest, and an assertion says how often the tool must tell it. This page says on \
which kernels a tool tells something else, and why. `cargo xtask findings` runs everything again and \
writes this page; `cargo xtask findings --check` runs the cells of some findings, and fails if one no \
longer holds. The suites are in [fixtures/suites](../fixtures/suites).
";

/// Renders the page.
pub(super) fn of(claims: &Claims, results: &Results) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## What was found\n");
    for claim in &claims.findings {
        finding(&mut page, claim, results);
    }
    for release in claims.releases.keys() {
        let Some(of_release) = results.0.get(release) else { continue };
        let _ = write!(page, "\n## The tools of {release}\n\n");
        for package in &of_release.packages {
            let _ =
                writeln!(page, "- {}", package.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        grid(&mut page, of_release);
        unexplained(&mut page, claims, release, of_release);
    }
    page
}

fn finding(page: &mut String, claim: &Claim, results: &Results) {
    let _ = write!(page, "\n### {}\n\n{}\n\n", claim.title, claim.text.trim());
    for release in &claim.releases {
        for suite in &claim.suites {
            let Some(cells) = results.0.get(release).and_then(|of| of.cells.get(suite)) else {
                continue;
            };
            // One line for all kernels that say the same.
            let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let mut message = "";
            for kernel in claim.fails.iter().chain(&claim.passes) {
                for (btf, shown) in cells.get(kernel).into_iter().flatten() {
                    if claim.btf.as_deref().is_some_and(|mode| mode != btf) {
                        continue;
                    }
                    alike.entry(shown.describe()).or_default().push(format!("{kernel} ({btf})"));
                    if message.is_empty() {
                        message = &shown.message;
                    }
                }
            }
            for (outcome, kernels) in alike {
                let _ =
                    writeln!(page, "- {suite} of {release}: {outcome} on {}", kernels.join(", "));
            }
            if !message.is_empty() {
                let _ = write!(page, "\n```text\n{message}\n```\n\n");
            }
        }
    }
    let of_first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let kernel = of_first(&claim.fails);
    let _ = write!(
        page,
        "\n```sh\ncargo xtask findings --release {} --suite {} --kernel {kernel}\n```\n",
        of_first(&claim.releases),
        of_first(&claim.suites)
    );
}

/// A row per suite, a column per kernel, a character per BTF mode.
fn grid(page: &mut String, of_release: &OfRelease) {
    let OfRelease { kernels, cells, .. } = of_release;
    let _ = write!(page, "\n| tool |");
    for kernel in kernels {
        let _ = write!(page, " {} |", kernel.id);
    }
    let _ = write!(page, "\n|---|{}\n", "---|".repeat(kernels.len()));
    for (suite, by_kernel) in cells {
        let _ = write!(page, "| {suite} |");
        for kernel in kernels {
            let modes = by_kernel.get(&kernel.id);
            let outcomes: Vec<String> = modes
                .into_iter()
                .flatten()
                .map(|(btf, shown)| format!("{}{}", letter(shown), suffix(btf)))
                .collect();
            let _ = write!(page, " {} |", outcomes.join(" "));
        }
        page.push('\n');
    }
    let releases: Vec<String> =
        kernels.iter().map(|kernel| format!("{} is {}", kernel.id, kernel.release)).collect();
    let _ = write!(
        page,
        "\n✓ pass, ✗ fail, t timeout, w kernel warning, i the lab could not tell; m: the kernel's BTF was \
         hidden from user space, a: the kernel has none. {}.\n",
        releases.join(", ")
    );
}

fn letter(shown: &Shown) -> char {
    match shown.outcome.as_str() {
        "pass" => '✓',
        "timeout" => 't',
        "kernel-warning" => 'w',
        "infra" | "unavailable" | "not-run" => 'i',
        _ => '✗',
    }
}

fn suffix(btf: &str) -> &'static str {
    match btf {
        "masked" => "m",
        "absent" => "a",
        _ => "",
    }
}

/// What failed and no finding is about.
fn unexplained(page: &mut String, claims: &Claims, release: &str, of_release: &OfRelease) {
    let mut alike: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
    for (suite, by_kernel) in &of_release.cells {
        for (kernel, modes) in by_kernel {
            for (btf, shown) in modes.iter().filter(|(_, shown)| shown.outcome != "pass") {
                let covered =
                    claims.findings.iter().any(|claim| claim.covers(release, suite, kernel, btf));
                if !covered {
                    let message = shown.message.lines().next().unwrap_or_default();
                    alike
                        .entry((format!("{suite}: {}", shown.describe()), message))
                        .or_default()
                        .push(format!(
                            "{kernel}{}",
                            if btf == "embedded" { String::new() } else { format!(" ({btf})") }
                        ));
                }
            }
        }
    }
    if alike.is_empty() {
        return;
    }
    let _ = write!(page, "\nNot explained yet:\n\n");
    for ((what, message), kernels) in alike {
        let _ =
            writeln!(page, "- {what} on {}: {}", kernels.join(", "), message.replace('|', "\\|"));
    }
}
