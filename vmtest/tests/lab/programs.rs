//! Programs of this machine in a guest.

use std::time::Duration;

use kernlab_vmtest::{
    lab::{BOOT_TIMEOUT, Exit, Guest},
    program::Program,
};

use crate::workbench::machine;

#[test]
fn a_dynamic_program_finds_its_libraries() {
    let path = Program::in_path("sort").expect("every Linux has sort");
    let program = Program::find(&path).unwrap();
    assert!(program.files().len() > 1, "it is static: this test shows nothing");
    let mut machine = machine();
    machine.machine.injected = program.files();
    let mut guest = Guest::boot(&machine, BOOT_TIMEOUT).unwrap();
    let words = ["-r", "/proc/filesystems"].map(str::to_owned);
    let output = guest.run(&program.job(words).timeout(Duration::from_secs(5))).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.exit, Exit::Code(0), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines.len() > 3 && lines.is_sorted_by(|a, b| a >= b), "{stdout}");
}
