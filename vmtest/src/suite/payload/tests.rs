use std::{fs::Permissions, io::Read as _};

use super::*;

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn distributions_may_or_may_not_have_merged_their_directories() {
    for (path, expected) in [
        ("/usr/bin/python3", "/bin/python3"),
        ("/bin/sh", "/bin/sh"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
        ("/usr/library/x", "/usr/library/x"),
        ("/usr/lib64", "/lib64"),
    ] {
        assert_eq!(merged(path), expected);
    }
}

#[test]
fn a_script_brings_its_interpreter() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "tracer.sh", "#!/bin/bash\n");
    let mut payload = Payload::default();
    let guest = payload.program("./tracer.sh", dir.path()).unwrap();
    assert_eq!(guest, path.display().to_string());
    let has = |part: &str| payload.entries.keys().any(|path| path.contains(part));
    assert!(has("/bin/bash") && has("/libc.so.6") && has("/ld-"), "{payload:?}");
}

#[test]
fn what_cannot_run_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = |name: &str| {
        let error = Payload::default().program(name, dir.path()).unwrap_err();
        error.to_string().replace(&dir.path().display().to_string(), "DIR")
    };
    assert_eq!(message("./missing"), "no program \"./missing\" in DIR");
    assert_eq!(message("no-such-program"), "no program \"no-such-program\" in PATH");
    script(dir.path(), "lost", "#!/opt/none -x\n");
    let expected = "DIR/lost names the interpreter \"/opt/none\", which is not installed";
    assert_eq!(message("./lost"), expected);
    script(dir.path(), "text", "echo\n");
    let expected = "DIR/text is neither a program for x86-64 nor a script that begins with #!";
    assert_eq!(message("./text"), expected);
    fs::write(dir.path().join("data"), "#!/bin/sh\n").unwrap();
    assert!(message("./data").contains("is not executable"));
}

#[test]
fn a_directory_is_taken_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("deep")).unwrap();
    fs::write(data.join("deep/a file"), "content").unwrap();
    std::os::unix::fs::symlink("deep/a file", data.join("link")).unwrap();
    let mut payload = Payload::default();
    payload.tree(&data, Some("/data")).unwrap();
    let paths: Vec<_> = payload.entries.keys().map(String::as_str).collect();
    assert_eq!(paths, ["/data", "/data/deep", "/data/deep/a file", "/data/link"]);
}

#[test]
fn an_archive_holds_everything_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = kernlab_kernels::Store::open(dir.path().join("store")).unwrap();
    let own = dir.path().join("own");
    fs::create_dir(&own).unwrap();
    let program = script(&own, "program", "#!/bin/sh\n");
    let mut payload = Payload::new().unwrap();
    payload.program(&program.display().to_string(), Path::new("/")).unwrap();
    payload.text("/run/kernlab/job.json", "{}");
    let (system, rest) = payload.split(&own);
    assert!(system.size() > 100_000 && rest.size() < 100_000);
    let archive = rest.archive(&store).unwrap();
    assert_eq!(rest.archive(&store).unwrap(), archive);

    let mut found = Vec::new();
    for entry in tar::Archive::new(fs::File::open(&archive).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let mode = entry.header().mode().unwrap();
        found.push((format!("/{}", entry.path().unwrap().display()), mode, text));
    }
    let expected = [
        ("/run/kernlab/job.json".to_owned(), 0o644, "{}".to_owned()),
        (program.display().to_string(), 0o755, "#!/bin/sh\n".to_owned()),
    ];
    assert_eq!(found, expected);

    script(&own, "program", "#!/bin/sh\nexit 1\n");
    assert_ne!(rest.archive(&store).unwrap(), archive);
}
