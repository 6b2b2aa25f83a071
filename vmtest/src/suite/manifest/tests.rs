use std::{path::Path, time::Duration};

use kernlab_kernels::Arch;
use rstest::rstest;

use super::*;

mod reference;
mod schema;

const EXAMPLE: &str = include_str!("tests/example.toml");

fn read(text: &str) -> Result<Project, String> {
    Project::parse(Path::new("kernlab.toml"), text).map_err(|error| error.to_string())
}

/// The one suite of a project.
fn suite(text: &str) -> Suite {
    read(&format!("[[suite]]\nname = \"s\"\n{text}")).unwrap().suites.remove(0)
}

fn argv(words: &[&str]) -> Command {
    Command::Argv(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn what_names_files_can_name_the_architecture() {
    let text = r#"
        root = "root-{arch}.tar"
        [[suite]]
        name = "program"
        run = ["out/{arch}/tracer", "--{arch}"]
        workload = "echo {arch}"
        files = ["out/{arch}=/opt/{arch}"]
        [[suite]]
        name = "object"
        object = "out/{arch}.o"
    "#;
    let project = read(text).unwrap();
    let [program, object] = &project.suites[..] else { panic!("{project:?}") };
    let program = program.clone().on_arch(Arch::Aarch64);
    assert_eq!(program.subject, Subject::Run(argv(&["out/aarch64/tracer", "--aarch64"])));
    assert_eq!(program.workload, Some(Command::Shell("echo {arch}".to_owned())));
    assert_eq!(program.root, Some("root-aarch64.tar".into()));
    let guest = Some("/opt/{arch}".to_owned());
    assert_eq!(program.files, [FileSpec { host: "out/aarch64".into(), guest }]);
    let object = object.clone().on_arch(Arch::X86_64);
    let Subject::Object(object) = object.subject else { panic!("{object:?}") };
    assert_eq!(object.path, Path::new("out/x86_64.o"));
}

#[test]
fn a_root_of_the_file_is_for_programs_that_name_none() {
    let text = "root = 'all.tar'\n\
                suite = [{ name = 'a', run = 'a' }, { name = 'b', run = 'b', root = 'own.tar' },\n\
                { name = 'c', object = 'c.o' }]";
    let project = Project::parse(Path::new("kernlab.toml"), text).unwrap();
    let roots: Vec<_> = project.suites.iter().map(|suite| suite.root.as_deref()).collect();
    assert_eq!(roots, [Some(Path::new("all.tar")), Some(Path::new("own.tar")), None]);
}

#[test]
fn the_example_is_read() {
    let project = read(EXAMPLE).unwrap();
    assert_eq!(project.kernels, ["default", "ubuntu-5.4"]);
    assert_eq!(project.build.as_deref(), Some("make"));
    let names: Vec<&str> = project.suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(names, ["opens", "agent", "script", "object"]);

    let opens = &project.suites[0];
    assert_eq!(opens.subject, Subject::Run(argv(&["build/opens", "--json"])));
    assert_eq!(opens.ready, Some(Ready::Stderr(Pattern::new("attached").unwrap())));
    assert_eq!(opens.workload, Some(argv(&["tests/opens.sh"])));
    assert_eq!(opens.golden.as_deref(), Some(Path::new("tests/opens.snap")));
    assert_eq!(opens.order, Order::PerField("pid".to_owned()));
    let pattern = Pattern::new(r"lost (\d+)").unwrap();
    assert_eq!(opens.lost, Some(Lost { stream: Stream::Stderr, pattern, max: 0 }));
    assert_eq!(opens.events, Some(Condition::parse("comm == \"victim\"").unwrap()));
    let alias = FieldRule::Alias { class: "pid".to_owned() };
    let rules = [("pid".to_owned(), alias.clone()), ("ts".to_owned(), FieldRule::Drop)];
    assert_eq!(opens.normalise.fields, rules.into());
    assert_eq!((opens.exit, &opens.stop), (None, &Stop::default()));
    assert_eq!(opens.timeout, Duration::from_secs(30));

    let agent = &project.suites[1];
    assert_eq!(agent.subject, Subject::Run(Command::Shell("bin/agent -self-test".to_owned())));
    let guest = GuestSpec {
        cpus: Some(2),
        memory_mib: Some(512),
        cgroup: Some(Cgroup::V2),
        modules: vec!["veth".to_owned()],
        lsm: Some("bpf".to_owned()),
        sysctl: [("kernel.bpf_stats_enabled".to_owned(), "1".to_owned())].into(),
        netns: true,
    };
    assert_eq!(agent.guest, guest);
    assert_eq!(agent.user.as_deref(), Some("nobody"));
    assert_eq!(agent.env["RUST_LOG"], "debug");
    let file = |host: &str, guest: Option<&str>| FileSpec {
        host: host.into(),
        guest: guest.map(str::to_owned),
    };
    let files =
        [file("tests/data", None), file("/usr/share/zoneinfo", None), file("a", Some("/b"))];
    assert_eq!(agent.files, files);
    assert_eq!(agent.collect, ["/tmp/out.json"]);
    assert_eq!(agent.root.as_deref(), Some(Path::new("image.tar")));
    assert_eq!(agent.stop, Stop { signal: "INT".to_owned(), within: Duration::from_secs(5) });
    assert_eq!(agent.btf, [BtfMode::Embedded, BtfMode::Masked]);
    assert_eq!(agent.exit, Some(0));
    assert_eq!(agent.normalise.replace.len(), 1);
    let rules = [
        ("pid".to_owned(), alias.clone()),
        ("ppid".to_owned(), alias),
        ("args.fd".to_owned(), FieldRule::Drop),
    ];
    assert_eq!(agent.normalise.fields, rules.into());
    let [expected] = agent.expect.as_slice() else { panic!("{:?}", agent.expect) };
    assert_eq!(expected.outcome, ExpectedOutcome::Fail);
    assert_eq!(expected.when.text(), "!map_type.ringbuf");
    assert_eq!(expected.review, Some(jiff::civil::date(2027, 3, 1)));

    let script = &project.suites[2];
    assert_eq!(script.subject, Subject::Bpftrace("opens.bt".into()));
    assert_eq!(script.assertions.len(), 1);

    let object = ObjectSubject {
        path: "build/probe.bpf.o".into(),
        attach: true,
        max_instructions: Some(900_000),
        max_growth_percent: Some(25),
    };
    assert_eq!(project.suites[3].subject, Subject::Object(object));
}

#[test]
fn a_suite_of_a_command_is_like_one_that_is_written() {
    let command = Suite::command(vec!["true".to_owned()]);
    let written = suite("run = [\"true\"]\nexit = 0");
    assert_eq!(Suite { name: "s".to_owned(), ..command }, written);
}

#[test]
fn values_have_several_spellings() {
    let suite = suite(
        "run = 'a'\nworkload = ['b', '']\nuser = 1000\nenv = { N = 1, EMPTY = '', ON = true }\n\
         guest = { memory = '1G', sysctl = { kernel.perf_event_paranoid = -1 } }\n\
         stop = { signal = 'SIGTERM' }\nready = { programs = 3 }\norder = 'none'\nexit = 0x7f",
    );
    assert_eq!(suite.workload, Some(argv(&["b", ""])));
    assert_eq!(suite.user.as_deref(), Some("1000"));
    assert_eq!((suite.env["N"].as_str(), suite.env["EMPTY"].as_str()), ("1", ""));
    assert_eq!(suite.guest.memory_mib, Some(1024));
    assert_eq!(suite.guest.sysctl["kernel.perf_event_paranoid"], "-1");
    assert_eq!((suite.stop.signal.as_str(), suite.stop.number()), ("TERM", 15));
    assert_eq!(suite.ready, Some(Ready::Programs(3)));
    assert_eq!(suite.order, Order::Unordered);
    assert_eq!(suite.exit, Some(127));
    assert_eq!(suite.subject, Subject::Run(Command::Shell("a".to_owned())));
    assert_eq!(Command::Shell("a".to_owned()).argv(), ["sh", "-c", "a"]);
}

#[rstest]
#[case("kernlab.toml", ".")]
#[case("a/kernlab.toml", "a")]
#[case("/a/kernlab.toml", "/a")]
fn paths_start_from_the_directory_of_the_file(#[case] path: &str, #[case] dir: &str) {
    let project = Project::parse(Path::new(path), EXAMPLE).unwrap();
    assert_eq!(project.dir(), Path::new(dir));
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let error = Project::read(&path).unwrap_err();
    assert!(error.to_string().starts_with("cannot read "), "{error}");
    std::fs::write(&path, EXAMPLE).unwrap();
    assert_eq!(Project::read(&path).unwrap().path, path);
}

#[rstest]
#[case("", "1:1: `suite` is missing")]
#[case("suite = []", "1:1: expected at least one [[suite]]")]
#[case("suite = 3", "1:9: `suite`: expected `[[suite]]` tables, found an integer")]
#[case("kernel = []", "1:1: unknown key `kernel`: did you mean `kernels`?")]
#[case("kernels = []", "1:11: `kernels`: expected at least one kernel, such as \"default\"")]
#[case("kernels = [1]", "1:12: `kernels`: expected a text, found an integer")]
#[case("kernels = ['']", "1:12: `kernels`: expected a text, found an empty one")]
#[case("build = ['make']", "1:9: `build`: expected a text, found a list")]
#[case("build = 'make'\nb", "2:2: key with no value, expected `=`")]
#[case(
    "normalise = { pid = 'aliased' }",
    "1:21: `normalise.pid`: unknown rule `aliased`: did you mean `alias`?"
)]
#[case(
    "normalise = { pid = 'alias:a b' }",
    "1:21: `normalise.pid`: `a b` can't be what names begin with"
)]
#[case(
    "normalise = { 'a..b' = 'drop' }",
    "1:24: `normalise.a..b`: expected names of fields, with single dots"
)]
fn errors_in_a_project_say_where(#[case] text: &str, #[case] message: &str) {
    let error = read(text).unwrap_err();
    assert!(error.starts_with(&format!("kernlab.toml:{message}")), "{error}");
}

#[test]
fn a_snapshot_never_replaces_the_file_itself() {
    for golden in ["kernlab.toml", "./kernlab.toml", "a/../kernlab.toml"] {
        let text = format!("[[suite]]\nname = 's'\nrun = 'a'\ngolden = '{golden}'\n");
        let error = read(&text).unwrap_err();
        assert!(
            error.contains("the golden snapshot of the suite \"s\" can't be this file"),
            "{error}"
        );
    }
}

#[rstest]
#[case("run = 'a'", "1:1: `suite`: `name` is missing")]
#[case(
    "name = 'a b'\nrun = 'a'",
    "2:8: `suite.name`: \"a b\" is not the name of a suite: expected at most 100 letters"
)]
#[case("name = '..'\nrun = 'a'", "2:8: `suite.name`: \"..\" is not the name of a suite")]
#[case("name = 's'", "1:1: `suite`: expected `run`, `bpftrace`, `object` or `cargo-test`")]
#[case(
    "name = 's'\nrun = 'a'\nobject = 'b'",
    "4:10: `suite.object`: `run` is there already: expected one of them"
)]
#[case(
    "name = 's'\nrun = 'a'\n[[suite]]\nname = 's'\nrun = 'b'",
    "5:8: `suite.name`: there is another suite \"s\" above"
)]
#[case("name = 's'\nrnu = 'a'", "3:1: `suite`: unknown key `rnu`: did you mean `run`?")]
#[case(
    "name = 's'\nrun = 'a'\nwork-load = 'a'",
    "4:1: `suite`: unknown key `work-load`: did you mean `workload`?"
)]
fn errors_in_a_suite_say_where(#[case] text: &str, #[case] message: &str) {
    let error = read(&format!("[[suite]]\n{text}\n")).unwrap_err();
    assert!(error.starts_with(&format!("kernlab.toml:{message}")), "{error}");
}

#[test]
fn the_tests_of_cargo_are_no_suite_yet() {
    let text = "[[suite]]\nname = 's'\ntimeout = 9\n\
                cargo-test = { package = 'a', test = ['b', 'c'], args = ['--skip', 'd'] }\n\
                [[suite]]\nname = 'all'\ncargo-test = {}\n";
    let project = read(text).unwrap();
    assert_eq!(project.suites, []);
    let [some, all] = &project.cargo[..] else { panic!("{:?}", project.cargo) };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let expected = CargoTests {
        packages: texts(&["a"]),
        tests: texts(&["b", "c"]),
        args: texts(&["--skip", "d"]),
        ..CargoTests::default()
    };
    assert_eq!((some.template.name.as_str(), &some.tests), ("s", &expected));
    assert_eq!(some.template.timeout, Duration::from_secs(9));
    assert_eq!(all.tests, CargoTests::default());
}

#[rstest]
#[case(
    "cargo-test = { packages = 'a' }",
    "`cargo-test`: unknown key `packages`: did you mean `package`?"
)]
#[case("cargo-test = 'a'", "`cargo-test`: expected a table, found a text")]
#[case(
    "cargo-test = { args = 3 }",
    "`cargo-test.args`: expected a list of texts, found an integer"
)]
#[case("cargo-test = {}\nworkload = 'a'", "`workload`: a test of `cargo-test` judges itself")]
#[case("cargo-test = {}\nexit = 1", "`exit`: a test of `cargo-test` judges itself")]
#[case("run = 'a'\ncargo-test = {}", "`cargo-test`: `run` is there already")]
#[case("run = []", "`run`: expected a program and its arguments, found an empty list")]
#[case("run = ['']", "`run`: the name of the program is empty")]
#[case("run = ' '", "`run`: expected a text, found an empty one")]
#[case("run = 3", "`run`: expected a list of texts or one text, found an integer")]
#[case("run = ['a', 3]", "`run`: expected a text, found an integer")]
#[case("run = \"a\\u0000\"", "`run`: a string can't contain NUL")]
#[case(
    "run = 'a'\nworkload = []",
    "`workload`: expected a program and its arguments, found an empty list"
)]
#[case(
    "run = 'a'\nready = { stderr = 'a' }",
    "`ready`: the workload starts when the tracer is ready, and the suite has no"
)]
#[case(
    "run = 'a'\nstop = { signal = 'INT' }",
    "`stop`: the tracer is stopped after the workload, and the suite has no"
)]
#[case("run = 'a'\nattach = true", "`attach`: this is for an `object`, and the suite has none")]
#[case("run = 'a'\ninsns = {}", "`insns`: this is for an `object`, and the suite has none")]
#[case("object = 'a'\ngolden = 'b'", "`golden`: an `object` is not a program: it prints nothing")]
#[case(
    "run = 'a'\ngolden = '/tmp/a.snap'",
    "`golden`: expected a file below the directory of this"
)]
#[case("run = 'a'\ngolden = 'a/../../b'", "`golden`: expected a file below the directory of this")]
#[case("run = 'a'\ngolden = 'a/..'", "`golden`: expected a file below the directory of this")]
#[case("object = 'a'\nexit = 0", "`exit`: an `object` is not a program: it prints nothing")]
#[case(
    "object = 'a'\nready = { programs = 1 }",
    "`ready`: an `object` is not a program: the lab loads it"
)]
#[case("object = 'a'\nworkload = 'b'", "`workload`: the lab only loads an `object`")]
#[case("object = 'a'\ninsns = { max = 0 }", "`insns.max`: expected 1 or more")]
#[case(
    "object = 'a'\ninsns = { growth = '25' }",
    "`insns.growth`: `25` is not a percentage such as \"25%\""
)]
#[case(
    "object = 'a'\ninsns = { most = 3 }",
    "`insns`: unknown key `most`: expected `max` or `growth`"
)]
#[case(
    "run = 'a'\nworkload = 'b'\nready = {}",
    "`ready`: expected `stdout`, `stderr` or `programs`"
)]
#[case(
    "run = 'a'\nworkload = 'b'\nready = { stdout = 'a', stderr = 'b' }",
    "`ready.stderr`: `stdout` is there already"
)]
#[case(
    "run = 'a'\nworkload = 'b'\nready = { stderr = '(' }",
    "`ready.stderr`: `(` is not a regular expression: unclosed group"
)]
#[case(
    "run = 'a'\nworkload = 'b'\nready = { stdot = 'a' }",
    "`ready`: unknown key `stdot`: did you mean `stdout`?"
)]
#[case(
    "run = 'a'\nworkload = 'b'\nready = { programs = 0 }",
    "`ready.programs`: expected 1 to 10000"
)]
#[case("run = 'a'\nworkload = 'b'\nready = 'attached'", "`ready`: expected a table, found a text")]
#[case(
    "run = 'a'\nworkload = 'b'\nstop = { signal = 'INTR' }",
    "`stop.signal`: unknown signal `INTR`: did you mean `INT`?"
)]
#[case("run = 'a'\nworkload = 'b'\nstop = { within = 0 }", "`stop.within`: expected 1 to 86400")]
#[case("run = 'a'\ntimeout = '30s'", "`timeout`: expected an integer, found a text")]
#[case(
    "run = 'a'\ntimeout = 1.5",
    "`timeout`: expected an integer, found a number with a fraction"
)]
#[case("run = 'a'\nexit = 256", "`exit`: expected 0 to 255")]
#[case("run = 'a'\nuser = 'a b'", "`user`: `a b` is not the name of a user")]
#[case("run = 'a'\nuser = -1", "`user`: expected 0 to 4294967294")]
#[case("run = 'a'\nenv = { A = [] }", "`env.A`: expected a text or an integer, found a list")]
#[case(
    "run = 'a'\nenv = { 'A=' = 'b' }",
    "`env.A=`: a variable's name is not empty and has no `=`"
)]
#[case(
    "run = 'a'\nfiles = ['=/a']",
    "`files`: `=/a` names no file of this machine: expected `HERE=THERE`"
)]
#[case(
    "run = 'a'\nfiles = ['a=b']",
    "`files`: `b` is a path in the guest, and must begin with `/`"
)]
#[case(
    "run = 'a'\ncollect = ['out']",
    "`collect`: `out` is a path in the guest, and must begin with `/`"
)]
#[case("run = 'a'\nguest = { cpus = 0 }", "`guest.cpus`: expected 1 to 64")]
#[case("run = 'a'\nguest = { memory = 512 }", "`guest.memory`: expected a text, found an integer")]
#[case(
    "run = 'a'\nguest = { memory = '512MB' }",
    "`guest.memory`: `512MB` is not a size of memory: expected `128M` to `64G`"
)]
#[case(
    "run = 'a'\nguest = { memory = '9999999999G' }",
    "`guest.memory`: `9999999999G` is not a size of memory"
)]
#[case(
    "run = 'a'\nguest = { cgroup = 'v3' }",
    "`guest.cgroup`: unknown version of cgroup `v3`: did you mean"
)]
#[case(
    "run = 'a'\nguest = { modules = ['a b'] }",
    "`guest.modules`: `a b` is not the name of a module"
)]
#[case(
    "run = 'a'\nguest = { lsm = 'bpf quiet' }",
    "`guest.lsm`: `bpf quiet` is not a list of names"
)]
#[case(
    "run = 'a'\nguest = { sysctl = { 'a/../b' = 1 } }",
    "`guest.sysctl.a/../b`: expected names such as"
)]
#[case(
    "run = 'a'\nguest = { netns = 'yes' }",
    "`guest.netns`: expected `true` or `false`, found a text"
)]
#[case(
    "run = 'a'\nbtf = ['embeded']",
    "`btf`: unknown BTF mode `embeded`: did you mean `embedded`?"
)]
#[case("run = 'a'\nbtf = ['absent', 'absent']", "`btf`: `absent` is there twice")]
#[case("run = 'a'\norder = 'per-'", "`order`: unknown order `per-`")]
#[case("run = 'a'\norder = 'strickt'", "`order`: unknown order `strickt`: did you mean `strict`?")]
#[case("run = 'a'\nlost = { max = 3 }", "`lost`: expected `stdout` or `stderr`")]
#[case(
    "run = 'a'\nlost = { stderr = 'lost' }",
    "`lost.stderr`: `lost` has 0 groups: expected one around the number"
)]
#[case("run = 'a'\nlost = { stderr = '(a)(b)' }", "`lost.stderr`: `(a)(b)` has 2 groups")]
#[case("run = 'a'\nlost = { stderr = '(a)', max = -1 }", "`lost.max`: expected 0 or more")]
#[case(
    "run = 'a'\nevents = 'comm ='",
    "`events`: unexpected `=`: equality is written `==`, at character 6 of `comm =`"
)]
#[case(
    "run = 'a'\nassert = ['count(a == 1)']",
    "`assert`: expected `==`, `!=`, `<`, `<=`, `>` or `>=`, found the end"
)]
#[case(
    "run = 'a'\nassert = 'count(a == 1) > 1'",
    "`assert`: expected a list of assertions, found a text"
)]
#[case("run = 'a'\nreplace = [{ pattern = 'a' }]", "`replace`: `with` is missing")]
#[case(
    "run = 'a'\nreplace = [{ pattern = '(a)', with = '$1_x' }]",
    "`replace.with`: `(a)` has no group `1_x`: write `${1}` where a letter"
)]
#[case(
    "run = 'a'\nreplace = [{ pattern = '(a)', with = '$1 $2' }]",
    "`replace.with`: `(a)` has no group `2`"
)]
#[case("run = 'a'\nfiles = ['b=/x', 'c=/x']", "`files`: another file has this place in the guest")]
#[case("run = 'a'\nrun = 'b'", "duplicate key `run`")]
#[case("run = 'a'\nexpect = [{ when = 'btf', outcome = 'fail' }]", "`expect`: `reason` is missing")]
#[case(
    "run = 'a'\nexpect = [{ when = 'btff' }]",
    "`expect.when`: unknown feature `btff`: did you mean `btf`?"
)]
#[case(
    "run = 'a'\nexpect = [{ when = 'btf', outcome = 'fails' }]",
    "`expect.outcome`: unknown outcome `fails`: did you mean `fail`?"
)]
#[case(
    "run = 'a'\nexpect = [{ when = 'btf', outcome = 'fail', reason = 'a', review = '2027-03-01' }]",
    "`expect.review`: expected a date without quotes, such as 2027-03-01, found a text"
)]
#[case(
    "run = 'a'\nexpect = [{ when = 'btf', outcome = 'fail', reason = 'a', review = 2027-03-01T00:00:00 }]",
    "`expect.review`: expected a date without quotes"
)]
fn what_makes_no_sense_is_refused(#[case] text: &str, #[case] message: &str) {
    let error = read(&format!("[[suite]]\nname = \"s\"\n{text}\n")).unwrap_err();
    let (_, found) = error.split_once(": ").unwrap();
    let found = found.replacen("`suite.", "`", 1);
    assert!(found.starts_with(message), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(kernels|suite|name|run|\\[\\[|\\]\\]|=|'a'|\\{|\\}|\\[|\\]|3|\n| |\\.){0,20}") {
        let _ = read(&text);
    }
}
