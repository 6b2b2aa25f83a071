//! `action/test` as GitHub would run it: its steps that run commands, with a shell, in a project, on a
//! real kernel. Its other steps are GitHub's.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::Value;

const SUITES: &str = r#"
kernels = ["debian-6.1"]
build = "false"
[[suite]]
name = "well"
run = "true"
exit = 0
[[suite]]
name = "ill"
run = "false"
exit = 0
"#;

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    inputs: BTreeMap<String, Input>,
    #[serde(default)]
    outputs: BTreeMap<String, Output>,
    runs: Runs,
}

#[derive(Deserialize)]
struct Input {
    default: String,
}

#[derive(Deserialize)]
struct Output {
    value: String,
}

#[derive(Deserialize)]
struct Runs {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    id: Option<String>,
    #[serde(rename = "if")]
    condition: Option<String>,
    run: Option<String>,
    shell: Option<String>,
    uses: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

fn action(name: &str) -> Action {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("action").join(name).join("action.yml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// A job on a runner: a project, and what its steps know.
struct Job {
    dir: tempfile::TempDir,
    /// The values of expressions: `inputs.kernels`.
    known: BTreeMap<String, String>,
}

impl Job {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["project", "bin"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        fs::write(dir.path().join("project/kernlab.toml"), SUITES).unwrap();
        let kernlab = env!("CARGO_BIN_EXE_kernlab");
        std::os::unix::fs::symlink(kernlab, dir.path().join("bin/kernlab")).unwrap();
        let known = [("github.token", "a token"), ("github.event.pull_request.number", "7")];
        let known = known.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Job { dir, known: known.into_iter().collect() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a program on the path.
    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The value of an expression of the few kinds that the actions have.
    fn value(&self, expression: &str) -> String {
        let mut values = expression.split("||").map(|name| {
            let name = name.trim();
            let is_output = name.starts_with("steps.");
            let value = self.known.get(name).cloned();
            value.or(is_output.then(String::new)).unwrap_or_else(|| panic!("unknown: {name}"))
        });
        values.find(|value| !value.is_empty()).unwrap_or_default()
    }

    /// A text with expressions.
    fn text(&self, text: &str) -> String {
        let mut parts = text.split("${{");
        let mut result = parts.next().unwrap().to_owned();
        for part in parts {
            let (expression, rest) = part.split_once("}}").unwrap();
            result += &self.value(expression);
            result += rest;
        }
        result
    }

    fn holds(&self, condition: &str, failed: bool) -> bool {
        let mut terms = condition.split("&&").map(str::trim).peekable();
        let always = terms.next_if_eq(&"always()").is_some();
        (always || !failed)
            && terms.all(|term| {
                let (name, value, equal) = match term.split_once(" == ") {
                    Some((name, value)) => (name, value, true),
                    None => {
                        let (name, value) = term.split_once(" != ").unwrap();
                        (name, value, false)
                    }
                };
                (self.value(name) == value.trim_matches('\'')) == equal
            })
    }

    /// Runs the action. Returns whether a step failed, its outputs, and the summary.
    fn run(&mut self, inputs: &[(&str, &str)]) -> (bool, BTreeMap<String, String>, String) {
        let action = action("test");
        for (name, input) in &action.inputs {
            self.known.insert(format!("inputs.{name}"), input.default.clone());
        }
        for (name, value) in inputs {
            let old = self.known.insert(format!("inputs.{name}"), (*value).to_owned());
            assert!(old.is_some(), "there is no input {name}");
        }
        let (output, summary) = (self.path("output"), self.path("summary"));
        fs::write(&summary, "").unwrap();
        let mut failed = false;
        for step in &action.runs.steps {
            let Some(script) = &step.run else {
                assert!(step.uses.is_some());
                continue;
            };
            assert!(!script.contains("${{"), "an expression in a script: {script}");
            assert_eq!(step.shell.as_deref(), Some("bash"));
            // Without a condition, a step runs if all before it succeeded.
            let runs = match &step.condition {
                Some(condition) => self.holds(condition, failed),
                None => !failed,
            };
            if !runs {
                continue;
            }
            fs::write(&output, "").unwrap();
            let path = format!("{}:{}", self.path("bin").display(), env!("PATH"));
            let run = Command::new("bash")
                .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
                .current_dir(self.path("project"))
                .envs(step.env.iter().map(|(name, value)| (name, self.text(value))))
                .env("PATH", path)
                .env("GITHUB_ACTIONS", "true")
                .env("GITHUB_OUTPUT", &output)
                .env("GITHUB_STEP_SUMMARY", &summary)
                .env("GITHUB_REPOSITORY", "you/tracer")
                .env("GITHUB_WORKFLOW", "Kernels")
                .env("KERNLAB_TEST_DIR", self.dir.path())
                .output()
                .unwrap();
            failed |= !run.status.success();
            let said = String::from_utf8_lossy(&run.stdout).into_owned();
            let said = said + &String::from_utf8_lossy(&run.stderr);
            fs::write(self.path("said"), &said).unwrap();
            for line in fs::read_to_string(&output).unwrap().lines() {
                let (name, value) =
                    line.split_once('=').unwrap_or_else(|| panic!("{line}: {said}"));
                let id = step.id.as_deref().unwrap();
                self.known.insert(format!("steps.{id}.outputs.{name}"), value.to_owned());
            }
        }
        let outputs = &action.outputs;
        let outputs = outputs.iter().map(|(name, output)| (name.clone(), self.text(&output.value)));
        (failed, outputs.collect(), fs::read_to_string(summary).unwrap())
    }
}

fn counts(outputs: &BTreeMap<String, String>) -> Value {
    serde_json::from_str(&outputs["counts"]).unwrap()
}

#[test]
fn only_new_failures_fail_a_pull_request() {
    let mut base = Job::new();
    let inputs = [("build", "touch built"), ("kernels", "debian-6.1,\n"), ("fail-on", "any")];
    let (failed, outputs, summary) = base.run(&inputs);
    assert!(failed && base.path("project/built").exists());
    assert_eq!(outputs["outcome"], "fail");
    assert_eq!(counts(&outputs)["outcomes"], serde_json::json!({"fail": 1, "pass": 1}));
    assert!(summary.contains("2 cells on 1 kernel"), "{summary}");
    let report = PathBuf::from(&outputs["report"]);
    for file in ["report.json", "index.html", "junit.xml", "summary.md", "comment.md"] {
        assert!(fs::metadata(report.join(file)).unwrap().len() > 0, "{file}");
    }

    let mut head = Job::new();
    // gh, which lists two runs, of which the newer has no artifact, copies that of the other, and writes down
    // the comment or changes it.
    head.program(
        "gh",
        "case \"$1 $2\" in\n\
         'run list') [ \"$8\" = main ] && printf '43\\n42\\n' ;;\n\
         'run download') cp -r \"$KERNLAB_TEST_DIR/base/.\" \"${9}\" ;;\n\
         'pr comment') [ \"$3\" = 7 ] && cp \"${7}\" \"$KERNLAB_TEST_DIR/comment\" ;;\n\
         'api --paginate') case \"$3\" in \
             */runs/42/artifacts*) echo 7 ;; */artifacts*) ;; \
             *) [ ! -f \"$KERNLAB_TEST_DIR/comment\" ] || echo 12 ;; esac ;;\n\
         'api --method') [ \"$4\" = repos/you/tracer/issues/comments/12 ] && \
             cp \"${6#body=@}\" \"$KERNLAB_TEST_DIR/changed\" ;;\n\
         esac",
    );
    std::os::unix::fs::symlink(&report, head.path("base")).unwrap();
    let inputs = [("base", "main"), ("comment", "true"), ("build", "true"), ("suite", "*")];
    let (failed, outputs, summary) = head.run(&inputs);
    assert!(!failed, "{}", fs::read_to_string(head.path("said")).unwrap());
    assert_eq!(outputs["outcome"], "pass");
    assert_eq!(counts(&outputs)["changes"], serde_json::json!({"still-failing": 1}));
    assert!(summary.contains("| still failing | 1 |"), "{summary}");
    let comment = |name: &str| fs::read_to_string(head.path(name)).unwrap();
    assert_eq!(comment("comment"), format!("<!-- kernlab kernlab -->\n{summary}"));

    let worse = SUITES.replace("run = \"true\"", "run = \"exit 3\"");
    fs::write(head.path("project/kernlab.toml"), worse).unwrap();
    let (failed, outputs, _) = head.run(&inputs);
    assert!(failed);
    let changes = serde_json::json!({"new-failure": 1, "still-failing": 1});
    assert_eq!(counts(&outputs)["changes"], changes);
    let changed = fs::read_to_string(head.path("changed")).unwrap();
    assert!(changed.contains("| new failure | 1 |"), "{changed}");

    // A suite that is gone is told, and fails.
    let gone = SUITES.rsplit_once("[[suite]]").unwrap().0;
    fs::write(head.path("project/kernlab.toml"), gone).unwrap();
    let (failed, outputs, summary) = head.run(&inputs);
    assert!(failed);
    assert_eq!(counts(&outputs)["changes"], serde_json::json!({"vanished": 1}));
    assert!(summary.contains("vanished"), "{summary}");
}

#[test]
fn parts_make_one_report_and_a_lost_one_is_missed() {
    let mut job = Job::new();
    let build = ("build", "true");
    for (part, failed) in [("1/2", false), ("2/2", true)] {
        let (is_failed, outputs, _) = job.run(&[build, ("shard", part)]);
        assert_eq!(is_failed, failed, "{part}");
        let name = part.replace('/', "-of-");
        fs::create_dir_all(job.path("project/parts")).unwrap();
        fs::rename(&outputs["report"], job.path("project/parts").join(name)).unwrap();
    }
    let (failed, outputs, _) = job.run(&[build, ("merge", "parts")]);
    assert!(failed);
    assert_eq!(counts(&outputs)["outcomes"], serde_json::json!({"fail": 1, "pass": 1}));
    let evidence = PathBuf::from(&outputs["report"]).join("cells/debian-6.1/embedded/suite/well");
    assert!(evidence.join("cell.json").is_file());
    fs::remove_dir_all(job.path("project/parts/2-of-2")).unwrap();
    let (failed, outputs, summary) = job.run(&[build, ("merge", "parts")]);
    assert!(failed);
    assert_eq!(outputs["outcome"], "unknown");
    assert_eq!(counts(&outputs)["outcomes"], serde_json::json!({"not-run": 1, "pass": 1}));
    assert!(summary.contains("no part has a report of this cell"), "{summary}");
}

fn suites_with_a_file() -> String {
    SUITES.replace("run = \"true\"", "run = \"true\"\nfiles = [\"tracer\"]")
}

fn suites_with_a_snapshot() -> String {
    SUITES.replace("run = \"true\"", "run = \"true\"\ngolden = \"well.snap\"")
}

/// Two parts, with each one's suites and build command.
#[rstest::rstest]
#[case::tracers(
    [suites_with_a_file(), suites_with_a_file()],
    ["echo old > tracer", "echo new > tracer"],
    "they differ in tracers: "
)]
#[case::golden_snapshots(
    [suites_with_a_snapshot(), suites_with_a_snapshot()],
    ["echo old > well.snap", "echo new > well.snap"],
    "they differ in suites: "
)]
#[case::suites(
    [SUITES.to_owned(), SUITES.replace("\"true\"", "\"true \"")],
    ["true", "true"],
    "they differ in suites: "
)]
fn parts_that_differ_are_not_merged(
    #[case] projects: [String; 2],
    #[case] builds: [&str; 2],
    #[case] expected: &str,
) {
    let mut job = Job::new();
    let parts = job.path("project/parts");
    fs::create_dir_all(&parts).unwrap();
    for (part, (suites, build)) in ["1/2", "2/2"].into_iter().zip(projects.iter().zip(builds)) {
        fs::write(job.path("project/kernlab.toml"), suites).unwrap();
        let (_, outputs, _) = job.run(&[("build", build), ("shard", part)]);
        fs::rename(&outputs["report"], parts.join(part.replace('/', "-of-"))).unwrap();
    }
    let (failed, ..) = job.run(&[("build", "true"), ("merge", "parts")]);
    let said = fs::read_to_string(job.path("said")).unwrap();
    assert!(failed && said.contains(expected), "{said}");
}

/// The log shows what a tracer wrote, and GitHub looks for its commands in it.
#[test]
fn what_a_tracer_writes_is_never_a_command() {
    let mut job = Job::new();
    let evil =
        "[[suite]]\nname = \"evil\"\nrun = \"echo ::error::x >&2; echo '##[debug]' >&2; false\"\n";
    fs::write(job.path("project/kernlab.toml"), evil).unwrap();
    // Empty is "not given", for all inputs.
    let inputs = [("kernels", "debian-6.1"), ("fail-on", ""), ("summary", "")];
    let (failed, outputs, summary) = job.run(&inputs);
    assert!(failed);
    assert_eq!(outputs["outcome"], "fail");
    assert!(summary.contains("::error::x"), "{summary}");
    let said = fs::read_to_string(job.path("said")).unwrap();
    let mut end = None;
    let mut commands = Vec::new();
    for line in said.lines().map(str::trim_start) {
        match &end {
            Some(known) if line == known => end = None,
            Some(_) => {}
            None if line.starts_with("::stop-commands::") => {
                end = Some(format!("::{}::", line.trim_start_matches("::stop-commands::")));
            }
            None if line.starts_with("::") || line.contains("##[") => commands.push(line),
            None => {}
        }
    }
    assert!(said.contains("::error::x") && end.is_none(), "{said}");
    let [notice] = commands[..] else { panic!("{commands:?}") };
    assert!(notice.starts_with("::notice title=kernlab::there is no base run"), "{notice}");
}

/// What a stranger's pull request can write into the inputs of a workflow is data.
#[test]
fn inputs_are_never_commands() {
    let mut job = Job::new();
    let evil = "$(touch evil); `touch evil` \"; touch evil; # ' --help";
    for input in ["kernels", "arch", "suite", "config", "shard", "merge", "base-report", "fail-on"]
    {
        let (failed, outputs, _) = job.run(&[("build", "true"), (input, evil)]);
        let said = fs::read_to_string(job.path("said")).unwrap();
        assert!(failed, "{input}: {said}");
        assert_eq!(outputs["outcome"], "", "{input}: {said}");
        assert!(!job.path("project/evil").exists(), "{input}");
    }
}

/// A branch without a run has no base, nor has a run whose artifact has expired. gh downloads another
/// run's artifact if it is given no run.
#[rstest::rstest]
#[case::no_run("[ \"$1 $2\" = 'run list' ] || touch \"$KERNLAB_TEST_DIR/downloaded\"")]
#[case::no_artifact(
    "case \"$1 $2\" in 'run list') echo 42 ;; 'api --paginate') ;; \
     *) touch \"$KERNLAB_TEST_DIR/downloaded\" ;; esac"
)]
fn a_base_that_is_gone_is_told_and_all_failures_count(#[case] gh: &str) {
    let mut job = Job::new();
    job.program("gh", gh);
    let (failed, outputs, _) = job.run(&[("base", "main"), ("build", "true")]);
    assert!(failed);
    assert!(!job.path("downloaded").exists());
    assert_eq!(outputs["outcome"], "fail");
    let said = fs::read_to_string(job.path("said")).unwrap();
    let notice = "::notice title=kernlab::there is no base run to compare with";
    assert!(said.contains(notice), "{said}");
}

/// A new failure may be an old one of an older run.
#[test]
fn a_base_that_cannot_be_downloaded_is_not_replaced_by_an_older_one() {
    let mut job = Job::new();
    job.program(
        "gh",
        "case \"$1 $2\" in 'run list') printf '43\\n42\\n' ;; 'api --paginate') echo 7 ;; \
         'run download') echo \"download $3\"; [ \"$3\" = 42 ] ;; esac",
    );
    let (failed, outputs, _) = job.run(&[("base", "main"), ("build", "true")]);
    let said = fs::read_to_string(job.path("said")).unwrap();
    assert!(failed && said.contains("download 43") && !said.contains("download 42"), "{said}");
    assert_eq!(outputs["outcome"], "", "{said}");
}

/// What is installed as root has been verified before.
#[rstest::rstest]
#[case::whole("", "", true)]
#[case::the_digest_that_was_given("DIGEST", "", true)]
#[case::another_digest("OTHER", "", false)]
#[case::not_attested("", "verify", false)]
#[case::not_there("", "download", false)]
fn only_a_release_that_is_verified_is_installed(
    #[case] sha256: &str,
    #[case] failing: &str,
    #[case] is_installed: bool,
) {
    let job = Job::new();
    let tool = |name: &str, script: &str| job.program(name, script);
    tool("uname", "echo x86_64");
    tool("sudo", "echo \"sudo $*\" >> \"$KERNLAB_TEST_DIR/log\"");
    tool(
        "gh",
        &format!(
            "echo \"gh $1 $2\" >> \"$KERNLAB_TEST_DIR/log\"\n\
             [ \"$2\" != '{failing}' ] || exit 1\n\
             [ \"$2\" != download ] || printf release > kernlab-1.2.3-x86_64-unknown-linux-gnu.tar.gz"
        ),
    );
    let step = action("setup").runs.steps.remove(0);
    assert_eq!(step.condition.as_deref(), Some("inputs.version != 'installed'"));
    let digest = "a4d451ec23463726f72c43d64c710968f6b602cd653b4de8adee1b556240a829";
    let run = Command::new("bash")
        .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &step.run.unwrap()])
        .env("PATH", format!("{}:{}", job.path("bin").display(), env!("PATH")))
        .env("RUNNER_TEMP", job.path("project"))
        .env("REPOSITORY", "kernlab/kernlab")
        .env("SHA256", sha256.replace("DIGEST", digest).replace("OTHER", &"0".repeat(64)))
        .env("VERSION", "1.2.3")
        .env("KERNLAB_TEST_DIR", job.path(""))
        .output()
        .unwrap();
    let log = fs::read_to_string(job.path("log")).unwrap();
    assert_eq!(run.status.success(), is_installed, "{log}{run:?}");
    let done: Vec<_> = log.lines().collect();
    assert_eq!(done.iter().any(|line| line.starts_with("sudo tar")), is_installed, "{log}");
    if is_installed {
        assert_eq!(done[..2], ["gh release download", "gh attestation verify"]);
    }
}

/// The keys of caches depend on the kernels, and not on how they are written.
#[test]
fn caches_are_named_after_what_is_in_them() {
    let job = Job::new();
    let keys = |kernels: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_kernlab"))
            .args(["ci", "keys", "--kernels", kernels])
            .env("KERNLAB_ACCEL", "tcg")
            .current_dir(job.path("project"))
            .env_remove("GITHUB_OUTPUT")
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = stdout.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let both = keys("debian-6.1 debian-5.10");
    let names: Vec<_> = both.keys().map(String::as_str).collect();
    assert_eq!(names, ["accelerator", "checkpoints-key", "kernels-key", "store"]);
    assert_eq!(both["accelerator"], "tcg");
    assert_eq!(both, keys("debian-5.10,\ndebian-6.1"));
    let one = keys("");
    for key in ["kernels-key", "checkpoints-key"] {
        assert_ne!(both[key], one[key], "kernlab.toml names one kernel");
    }
    let outputs = action("setup").outputs;
    for Output { value } in outputs.values() {
        let name = value.trim_start_matches("${{ steps.keys.outputs.").trim_end_matches(" }}");
        assert!(both.contains_key(name), "{value}");
    }
}
