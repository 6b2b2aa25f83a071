//! No QEMU outlives the process that started it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kernlab_vmtest::lab::{BOOT_TIMEOUT, Guest};

use super::workbench::{guest, machine};

/// Set in the process that the test kills.
const VICTIM: &str = "KERNLAB_TEST_VICTIM";

/// The QEMUs whose parent is this process.
pub(crate) fn qemus_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((name, rest)) = stat.rsplit_once(')') else { return false };
        let fields: Vec<_> = rest.split_whitespace().collect();
        name.contains("(qemu") && fields[0] != "Z" && fields[1] == parent.to_string()
    };
    pids.filter(is_ours).collect()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn a_guest_that_is_dropped_is_gone() {
    let us = std::process::id();
    let guest = guest();
    assert_eq!(qemus_of(us).len(), 1);
    drop(guest);
    assert_eq!(qemus_of(us), [0; 0]);
}

#[test]
fn a_guest_may_move_to_a_thread_that_outlives_the_one_that_started_it() {
    let booted = thread::spawn(guest).join().unwrap();
    let mut guest = booted;
    let output = guest.run(&super::workbench::fault_agent(&["exit", "7"])).unwrap();
    assert_eq!(output.exit, kernlab_vmtest::lab::Exit::Code(7));
}

#[test]
fn a_kill_leaves_no_qemu_behind() {
    if std::env::var_os(VICTIM).is_some() {
        // Boots a guest, reports it, and waits to be killed.
        let guest = Guest::boot(&machine(), BOOT_TIMEOUT).unwrap();
        println!("ready {:?}", guest.hello().release);
        thread::sleep(Duration::from_secs(600));
    }
    let mut victim = start_victim();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("ready \"6.1")), "the victim boots a guest");
    let qemus = qemus_of(victim.id());
    assert_eq!(qemus.len(), 1);

    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_alive(qemus[0]) {
        assert!(Instant::now() < deadline, "QEMU {} is still alive", qemus[0]);
        thread::yield_now();
    }
}

fn start_victim() -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["lab::survivors::a_kill_leaves_no_qemu_behind", "--exact", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
