use std::{
    fs::Permissions,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, symlink},
};

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
    let expected = "DIR/text is neither an ELF program nor a script that begins with #!";
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
    symlink("deep/a file", data.join("link")).unwrap();
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
    let mut payload = Payload::new(&Platform::default()).unwrap();
    payload.program(&program.display().to_string(), Path::new("/")).unwrap();
    payload.text("/run/kernlab/job.json", "{}");
    let (system, rest) = payload.split(std::slice::from_ref(&own));
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

#[test]
fn a_damaged_archive_is_packed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = kernlab_kernels::Store::open(dir.path().join("store")).unwrap();
    let program = script(dir.path(), "program", "#!/bin/sh\n");
    let mut with_a_file = Payload::default();
    with_a_file.insert("/program".to_owned(), Entry::File(program));
    let mut of_texts = Payload::default();
    of_texts.text("/run/kernlab/job.json", "{}");
    for payload in [with_a_file, of_texts] {
        let (path, is_known) = payload.archived(&store).unwrap();
        assert!(!is_known);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[520] ^= 4;
        for damaged in [&flipped, &whole[..700], &[]] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(payload.archived(&store).unwrap(), (path.clone(), false));
            assert!(fs::read(&path).unwrap() == whole);
            assert_eq!(payload.archived(&store).unwrap(), (path.clone(), true));
        }
    }
}

#[rstest::rstest]
#[case::the_conductor("/bin/kernlab-conductor", "the lab's own")]
#[case::by_the_other_name("/usr/bin/kernlab-tracer", "the lab's own")]
#[case::by_dots("/tmp/..//bin/./kernlab-agent", "the lab's own")]
#[case::by_a_link_of_the_guest("/var/run/kernlab/job.json", "the lab's own")]
#[case::by_a_link_of_the_user("/opt/b/kernlab-conductor", "the lab's own")]
#[case::the_agent("/init", "the lab's own")]
#[case::proc("/proc/1/comm", "the kernel's files")]
#[case::sys("/sys/kernel/btf/vmlinux", "the kernel's files")]
#[case::a_directory("/tmp/", "there is a directory")]
#[case::a_directory_by_its_content("/opt", "there is a directory")]
#[case::the_root("/", "it is the root directory")]
fn no_file_takes_the_place_of_the_guests_own(#[case] guest: &str, #[case] why: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut payload = Payload::new(&Platform::default()).unwrap();
    payload.insert("/opt/b".to_owned(), Entry::Link("../usr/bin".to_owned()));
    let error = payload.tree(&file, Some(guest)).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("a file can't be placed at {guest} in the guest: {why}")),
        "{error}"
    );
    // Neither does one in a directory, nor a link.
    if let Some((above, name)) = guest
        .trim_end_matches('/')
        .rsplit_once('/')
        .filter(|_| why.starts_with("the l") && !guest.starts_with("/opt"))
    {
        let above = if above.is_empty() { "/" } else { above };
        fs::rename(&file, dir.path().join(name)).unwrap();
        assert!(payload.tree(dir.path(), Some(above)).is_err());
        fs::remove_file(dir.path().join(name)).unwrap();
        symlink("/bin/true", dir.path().join(name)).unwrap();
        assert!(payload.tree(dir.path(), Some(above)).is_err());
    }
}

#[test]
fn files_replace_others_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut payload = Payload::new(&Platform::default()).unwrap();
    for (guest, place) in [
        ("/etc/localtime", "/etc/localtime"),
        ("/usr/bin/../bin/mine", "/bin/mine"),
        ("/var/run/mine", "/run/mine"),
        ("/dev/mine", "/dev/mine"),
    ] {
        payload.tree(&file, Some(guest)).unwrap();
        assert_eq!(payload.entries.get(place), Some(&Entry::File(file.clone())), "{guest}");
    }
    let long = format!("/opt/{}", "n".repeat(256));
    assert!(payload.tree(&file, Some(&long)).unwrap_err().to_string().contains("255 bytes"));
}

#[test]
fn a_directory_can_be_sent_to_the_root_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = kernlab_kernels::Store::open(dir.path().join("store")).unwrap();
    let own = dir.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("settings"), "").unwrap();
    let mut payload = Payload::default();
    payload.tree(&own, Some("/")).unwrap();
    let archive = payload.archive(&store).unwrap();
    let entries = tar::Archive::new(fs::File::open(archive).unwrap())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned())
        .collect::<Vec<_>>();
    assert_eq!(entries, [Path::new("settings")]);
}

#[test]
fn a_root_of_its_own_gets_files_where_they_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut payload = Payload::for_root(&Platform::default());
    payload.tree(&file, Some("/usr/lib/mine")).unwrap();
    payload.data(Path::new("/usr/lib")).unwrap();
    let paths: Vec<_> = payload.entries.keys().map(String::as_str).collect();
    assert_eq!(paths, ["/usr/lib", "/usr/lib/mine"]);
    let error = payload.tree(&file, Some("/usr/bin/kernlab-tracer")).unwrap_err().to_string();
    assert!(error.contains("the lab's own programs"), "{error}");
}

#[test]
fn a_program_that_was_rebuilt_in_place_is_packed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = kernlab_kernels::Store::open(dir.path().join("store")).unwrap();
    let program = script(dir.path(), "program", "#!/bin/sh\nexit 1\n");
    let mut payload = Payload::default();
    payload.placed("/program", &program);
    let before = payload.archive(&store).unwrap();
    // The same file, of the same size. Times of files advance in ticks.
    let changed = |file: &Path| {
        let state = fs::metadata(file).unwrap();
        (state.ctime(), state.ctime_nsec())
    };
    let first = changed(&program);
    while changed(&program) == first {
        script(dir.path(), "program", "#!/bin/sh\nexit 2\n");
    }
    assert_ne!(payload.archive(&store).unwrap(), before);
}
