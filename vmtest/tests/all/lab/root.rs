//! Guests whose programs have a root file system of their own.

use std::{fs, io::Read as _, path::Path};

use kernlab_kernels::{Kernels, Silent, chain};
use kernlab_vmtest::{
    image::root::RootStore,
    lab::{BOOT_TIMEOUT, Bootable, Checkpoint, Exit, Guest, Job, Ready},
    machine::{self, MachineError, Wanted},
    qemu::InjectedFile,
};
use tar::{Builder, EntryType, Header};

use super::workbench::{kernel, program};

fn machine_with(wanted: &Wanted) -> Result<Bootable, MachineError> {
    let kernels = Kernels::open().unwrap();
    let agent = program("kernlab-agent");
    let guest = agent.parent().unwrap();
    machine::with(kernels.store(), kernel(), guest, &[], wanted, &Silent)
}

/// An archive with a program, and links that lead elsewhere if they are not followed inside.
fn archive() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let header = |kind, size: usize| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size as u64);
        header
    };
    let tool = fs::read(program("kernlab-fault-agent")).unwrap();
    let mut file = header(EntryType::Regular, tool.len());
    builder.append_data(&mut file, "./usr/bin/tool", &*tool).unwrap();
    let mut link = |name, target| {
        builder.append_link(&mut header(EntryType::Symlink, 0), name, target).unwrap();
    };
    link("./bin", "/usr/bin");
    link("./var", "/data");
    link("./sys", "/nowhere");
    builder.append_data(&mut header(EntryType::Directory, 0), "./data", &[][..]).unwrap();
    builder.into_inner().unwrap()
}

fn machine_with_root(dir: &Path) -> Bootable {
    let path = dir.join("root, with a comma.tar");
    fs::write(&path, archive()).unwrap();
    let kernels = Kernels::open().unwrap();
    let root = RootStore::of(kernels.store()).image_of(&path, &Silent).unwrap();
    machine_with(&Wanted { root: Some(root), ..Wanted::default() }).unwrap()
}

fn run(guest: &mut Guest<Ready>, job: Job) -> String {
    let output = guest.run(&job).unwrap();
    assert_eq!(output.exit, Exit::Code(0), "{output:?}");
    let mut text = String::new();
    (&*output.stdout).read_to_string(&mut text).unwrap();
    text
}

fn list(dir: &str) -> Job {
    Job::new(["/bin/tool", "list", dir])
}

#[test]
fn guests_share_a_disk_and_no_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = machine_with_root(dir.path());
    machine.machine.injected =
        vec![InjectedFile { guest: "/opt/late".to_owned(), host: program("kernlab-fault-agent") }];
    let saved = Checkpoint::of_boot(&machine, BOOT_TIMEOUT).unwrap();
    assert_eq!(saved.hello.notes, [""; 0], "everything could be set up");

    let mut first = Guest::restore(&machine, &saved).unwrap();
    // The file's path leads through a link that is absolute.
    let given = list("/data").file("/var/given", 0o600, b"content".to_vec());
    assert_eq!(run(&mut first, given), "given\n");
    assert_eq!(run(&mut first, Job::new(["/opt/late", "list", "/opt"])), "late\n");

    let mut second = Guest::restore(&machine, &saved).unwrap();
    assert_eq!(run(&mut second, list("/data")), "");
}

#[test]
fn programs_find_the_kernels_file_systems_in_their_root() {
    let dir = tempfile::tempdir().unwrap();
    let machine = machine_with_root(dir.path());
    let mut guest = Guest::boot(&machine, BOOT_TIMEOUT).unwrap();
    let mut has = |dir: &str, name: &str| {
        let listed = run(&mut guest, list(dir));
        assert!(listed.lines().any(|line| line == name), "{name} in {dir}: {listed}");
    };
    has("/proc/self", "exe");
    has("/sys/kernel/btf", "vmlinux");
    has("/sys/kernel/tracing", "kprobe_events");
    has("/sys/kernel/debug", "tracing");
    has("/dev", "null");
    has("/dev/pts", "ptmx");
    let hidden = list("/sys/kernel/btf").hide("/sys/kernel/btf");
    assert_eq!(run(&mut guest, hidden), "");
    assert!(run(&mut guest, list("/sys/kernel/btf")).contains("vmlinux"), "only for one job");
}

#[test]
fn modules_are_loaded_by_their_names() {
    let wanted = Wanted { modules: vec!["xt-mark".to_owned()], ..Wanted::default() };
    let mut machine = machine_with(&wanted).unwrap();
    machine.machine.injected = vec![InjectedFile::program(program("kernlab-fault-agent"))];
    let mut guest = Guest::boot(&machine, BOOT_TIMEOUT).unwrap();
    let loaded = run(&mut guest, Job::new(["/bin/kernlab-fault-agent", "list", "/sys/module"]));
    for module in ["xt_mark", "x_tables"] {
        assert!(loaded.lines().any(|line| line == module), "{module}: {loaded}");
    }

    let wanted = Wanted { modules: vec!["xt_marc".to_owned()], ..Wanted::default() };
    let error = chain(&machine_with(&wanted).unwrap_err());
    assert!(error.contains("no module xt_marc"), "{error}");
    assert!(error.contains("similar names: ") && error.contains("xt_mark"), "{error}");
}
