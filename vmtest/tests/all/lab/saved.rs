//! Guests that are restored instead of booted.

use std::{collections::BTreeSet, time::Duration};

use kernlab_vmtest::{
    lab::{BOOT_TIMEOUT, Checkpoint, Exit, Guest, Job},
    qemu::InjectedFile,
};

use super::workbench::{fault_agent, image, machine, machine_with, program};

/// How many guests to restore from one checkpoint.
const GUESTS: usize = 20;

#[test]
fn every_guest_of_a_state_is_pristine_and_none_repeats_anothers_random_bytes() {
    let machine = machine();
    let saved = Checkpoint::of_boot(&machine, BOOT_TIMEOUT).unwrap();
    assert!(saved.kernel_log.contains("Linux version"), "{}", saved.kernel_log);
    let mut random = BTreeSet::new();
    for number in 0..GUESTS {
        let mut guest = Guest::restore(&machine, &saved)
            .unwrap_or_else(|error| panic!("guest {number}: {error}: {:?}", error.evidence()));
        assert_eq!(guest.hello(), &saved.hello);
        let output = guest.run(&fault_agent(&["nap", "10", "1000"])).unwrap();
        let slept: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        assert!((10_000..2_000_000).contains(&slept), "10 ms were {slept} us");
        let output = guest.run(&fault_agent(&["identify"])).unwrap();
        assert_eq!(output.exit, Exit::Code(0));
        let text = String::from_utf8(output.stdout).unwrap();
        let (bytes, time) = text.trim().split_once(' ').unwrap();
        assert!(random.insert(bytes.to_owned()), "guest {number} repeats {bytes}");
        let time = Duration::from_secs(time.parse().unwrap());
        let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(here.abs_diff(time) < Duration::from_secs(60), "{time:?} is not {here:?}");
        assert!(guest.kernel_log().unwrap().starts_with(&saved.kernel_log));
    }
}

#[test]
fn files_come_by_the_port_where_they_can_not_be_fetched() {
    let mut machine = machine_with(&image(&program("kernlab-agent"), &[]), &["kernlab.files=port"]);
    let saved = Checkpoint::of_boot(&machine, BOOT_TIMEOUT).unwrap();
    // A short script, because transferring a program would take a minute. Its interpreter is the
    // agent.
    let script = format!("#!/init\n{}", "padding\n".repeat(5000));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    machine.machine.injected =
        vec![InjectedFile { guest: "/tmp/file".to_owned(), host: file.path().to_owned() }];
    let mut guest = Guest::restore(&machine, &saved).unwrap();
    let output = guest.run(&Job::new(["/tmp/file"])).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("PID 1 of kernlab's guests"), "{output:?}");
}

#[test]
fn a_state_serves_programs_that_came_later() {
    let mut machine = machine();
    let saved = Checkpoint::of_boot(&machine, BOOT_TIMEOUT).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("late, and with a comma");
    std::fs::copy(&machine.machine.injected[0].host, &host).unwrap();
    machine.machine.injected = vec![InjectedFile { guest: "/tmp/late".to_owned(), host }];
    let mut guest = Guest::restore(&machine, &saved).unwrap();
    assert_eq!(guest.run(&Job::new(["/tmp/late", "exit", "7"])).unwrap().exit, Exit::Code(7));
}
