//! Who may depend on whom. An edge that is not in the table fails, and so does a package that is
//! not in it: adding either is a decision about the architecture, made here.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;
use serde_json::Value;
use xshell::{Shell, cmd};

/// Every package of the workspace, and the packages of the workspace that it may use.
///
/// vmtest knows no backend; xtask knows only command lines, and so builds in seconds.
const ALLOWED: &[(&str, &[&str])] = &[
    ("kernlab-abi", &[]),
    ("kernlab-core", &["kernlab-abi"]),
    ("kernlab-libbpf", &["kernlab-abi", "kernlab-core"]),
    ("kernlab-aya", &["kernlab-abi", "kernlab-core"]),
    ("kernlab-aya-ebpf", &["kernlab-abi"]),
    ("kernlab-fixtures", &["kernlab-core"]),
    (
        "kernlab-tracer",
        // Its tests run broken programs in the lab.
        &[
            "kernlab-abi",
            "kernlab-core",
            "kernlab-libbpf",
            "kernlab-aya",
            "kernlab-kernels",
            "kernlab-vmtest",
        ],
    ),
    ("kernlab-proto", &[]),
    ("kernlab-agent", &["kernlab-proto"]),
    ("kernlab-conductor", &["kernlab-proto"]),
    ("kernlab-splat", &[]),
    ("kernlab-kernels", &["kernlab-core"]),
    ("kernlab-cli", &[]),
    (
        "kernlab-vmtest",
        &["kernlab-cli", "kernlab-core", "kernlab-kernels", "kernlab-proto", "kernlab-splat"],
    ),
    ("kernlab-cells", &["kernlab-core", "kernlab-kernels", "kernlab-vmtest"]),
    ("xtask", &["kernlab-cli"]),
];

/// Packages of the workspace with the packages of the workspace that they use: to run, to build and
/// to test.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn dependencies_point_one_way() {
    let violations = violations(&workspace());
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// What a graph has that the table has not, and the other way round.
fn violations(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for (package, uses) in graph {
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| known == package) else {
            violations.push(format!("{package} is not in the table of packages"));
            continue;
        };
        let forbidden = uses.iter().filter(|used| !allowed.contains(&used.as_str()));
        violations.extend(forbidden.map(|used| format!("{package} must not depend on {used}")));
    }
    let gone = ALLOWED.iter().filter(|(package, _)| !graph.contains_key(*package));
    violations.extend(gone.map(|(package, _)| format!("{package} is in the table and gone")));
    violations
}

/// The graph that cargo sees.
fn workspace() -> Graph {
    let sh = Shell::new().unwrap();
    sh.change_dir(env!("CARGO_MANIFEST_DIR"));
    let cargo = env!("CARGO");
    let metadata = cmd!(sh, "{cargo} metadata --no-deps --format-version 1").read().unwrap();
    graph(&serde_json::from_str(&metadata).expect("cargo writes JSON"))
}

/// Reads `cargo metadata --no-deps`: a dependency with a path is one of ours.
fn graph(metadata: &Value) -> Graph {
    let text = |value: &Value| value.as_str().expect("cargo names things").to_owned();
    let list = |value: &Value| value.as_array().expect("cargo lists things").clone();
    let packages = list(&metadata["packages"]).into_iter().map(|package| {
        let uses = list(&package["dependencies"]).into_iter();
        let ours = uses.filter(|used| used["path"].is_string()).map(|used| text(&used["name"]));
        (text(&package["name"]), ours.collect())
    });
    packages.collect()
}

/// The table itself as a graph, with one more edge.
fn with_edge(from: &str, to: &str) -> Graph {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let table = ALLOWED.iter().map(|(package, uses)| (package.to_string(), owned(uses)));
    let mut graph = table.collect::<Graph>();
    graph.entry(from.to_owned()).or_default().insert(to.to_owned());
    graph
}

#[rstest]
#[case::the_host_learns_of_a_backend("kernlab-vmtest", "kernlab-libbpf")]
#[case::kernels_learn_of_the_lab("kernlab-kernels", "kernlab-vmtest")]
#[case::core_looks_up("kernlab-core", "kernlab-aya")]
#[case::abi_looks_up("kernlab-abi", "kernlab-core")]
#[case::backends_meet("kernlab-aya", "kernlab-libbpf")]
#[case::the_agent_judges("kernlab-agent", "kernlab-core")]
#[case::workloads_trace("kernlab-fixtures", "kernlab-libbpf")]
#[case::xtask_gets_heavy("xtask", "kernlab-vmtest")]
fn a_wrong_edge_is_told(#[case] from: &str, #[case] to: &str) {
    let expected = format!("{from} must not depend on {to}");
    assert_eq!(violations(&with_edge(from, to)), [expected]);
}

#[test]
fn an_unknown_package_is_told() {
    let violations = violations(&with_edge("kernlab-new", "kernlab-core"));
    assert_eq!(violations, ["kernlab-new is not in the table of packages"]);
}

#[test]
fn edges_of_every_kind_are_read() {
    let metadata = serde_json::json!({"packages": [{
        "name": "kernlab-vmtest",
        "dependencies": [
            {"name": "serde", "kind": null},
            {"name": "kernlab-core", "kind": null, "path": "/core"},
            {"name": "kernlab-aya", "kind": "dev", "path": "/backends/aya"},
        ],
    }]});
    let uses = graph(&metadata).remove("kernlab-vmtest").unwrap();
    assert_eq!(uses.into_iter().collect::<Vec<_>>(), ["kernlab-aya", "kernlab-core"]);
}
