//! What QEMU itself may do while it runs a guest.

use std::{collections::BTreeMap, fs};

use kernlab_vmtest::{lab::Exit, qemu::Binary};

use super::workbench::{fault_agent, guest, machine};

/// The only child of this process.
fn our_qemu() -> String {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let children: String = threads
        .map(|thread| {
            fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default()
        })
        .collect();
    let children: Vec<_> = children.split_whitespace().collect();
    assert_eq!(children.len(), 1, "{children:?}");
    children[0].to_owned()
}

fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k, v.trim())).collect()
}

#[test]
fn a_running_qemu_gains_no_rights() {
    let mut guest = guest();
    let qemu = our_qemu();
    // It still runs guests, of course.
    assert_eq!(guest.run(&fault_agent(&["exit", "7"])).unwrap().exit, Exit::Code(7));
    let status = fs::read_to_string(format!("/proc/{qemu}/status")).unwrap();
    let status = fields(&status);
    assert_eq!((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"));
    let limits = fs::read_to_string(format!("/proc/{qemu}/limits")).unwrap();
    for limit in ["Max core file size        0  ", "Max file size             67108864  "] {
        assert!(limits.contains(limit), "{limits}");
    }
    // No device of the host's, and no file that it could write to.
    for descriptor in fs::read_dir(format!("/proc/{qemu}/fd")).unwrap() {
        let file = fs::read_link(descriptor.unwrap().path()).unwrap();
        let name = file.to_string_lossy();
        let is_harmless = ["socket:", "pipe:", "anon_inode:", "/memfd:"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || ["/dev/null", "/dev/kvm"].contains(&&*name);
        assert!(is_harmless, "QEMU has {name} open");
    }
    let arguments = fs::read_to_string(format!("/proc/{qemu}/cmdline")).unwrap();
    assert!(arguments.contains("\0-nic\0none\0"), "{arguments:?}");
}

#[test]
fn a_qemu_without_a_sandbox_still_gains_no_rights() {
    let mut machine = machine();
    machine.qemu = Binary::find(machine.machine.arch).unwrap().without_sandbox();
    let guest = kernlab_vmtest::lab::Guest::boot(&machine, kernlab_vmtest::lab::BOOT_TIMEOUT);
    let _guest = guest.unwrap_or_else(|error| panic!("{error}"));
    let status = fs::read_to_string(format!("/proc/{}/status", our_qemu())).unwrap();
    let status = fields(&status);
    assert_eq!(status["NoNewPrivs"], "1");
    // A container may have a filter of its own.
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(status["Seccomp"], fields(&ours)["Seccomp"]);
}
