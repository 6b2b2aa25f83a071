//! Somebody, or a script, at the console of a guest.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use wait_timeout::ChildExt as _;

/// How long a shell may take to do what it was told to.
const PATIENCE: Duration = Duration::from_secs(120);

/// `kernlab shell` with the shell that every machine has.
fn shell(more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(["shell", "--kernel", "debian-6.1", "--program", "/bin/sh"])
        .args(more)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it printed from now on, once it has ended.
fn ended(mut shell: Child, mut printed: impl std::io::Read) -> (i32, String) {
    drop(shell.stdin.take());
    let status = shell.wait_timeout(PATIENCE).unwrap();
    shell.kill().ok();
    let mut text = String::new();
    printed.read_to_string(&mut text).unwrap();
    let status = status.unwrap_or_else(|| panic!("the shell did not end: {text}"));
    (status.code().unwrap(), text)
}

#[test]
fn a_script_is_typed_in() {
    let mut child = shell(&["--file", "Cargo.toml=/tmp/a-file"]);
    let printed = child.stdout.take().unwrap();
    let script = "echo sum $((40 + 2)); read line < /tmp/a-file; echo \"<$line>\"\nexit 5\n";
    child.stdin.as_mut().unwrap().write_all(script.as_bytes()).unwrap();
    let (code, text) = ended(child, printed);
    assert!(text.contains("sum 42") && text.contains("<[workspace]>"), "{text}");
    assert_eq!(code, 0, "how a shell ends is no verdict on the kernel");
}

#[test]
fn the_end_of_the_input_ends_the_shell() {
    let mut child = shell(&["--cold"]);
    let printed = child.stdout.take().unwrap();
    let (code, text) = ended(child, printed);
    assert!(text.contains("/bin/sh has the console"), "{text}");
    assert_eq!(code, 0);
}

#[test]
fn a_kernel_that_crashes_ends_the_shell() {
    let mut child = shell(&[]);
    let printed = child.stdout.take().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"echo c > /proc/sysrq-trigger\n").unwrap();
    let (code, text) = ended(child, printed);
    assert!(text.contains("sysrq triggered crash"), "{text}");
    assert_eq!(code, 3);
}

#[test]
fn a_debugger_stops_the_kernel_and_lets_it_go() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gdb");
    let mut child = shell(&[&format!("--gdb=unix:{},server=on,wait=off", socket.display())]);
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert!(line.contains("has the console"), "{line}");

    // https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html
    let mut debugger = UnixStream::connect(socket).unwrap();
    debugger.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut ask = |packet: &str, is_answer: fn(&str) -> bool| {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(debugger, "${packet}#{sum:02x}").unwrap();
        let mut said = String::new();
        // It also says unasked that it stopped.
        while !said.split(['$', '#']).any(is_answer) {
            let mut byte = [0];
            debugger.read_exact(&mut byte).unwrap();
            said.push(byte[0].into());
        }
        debugger.write_all(b"+").unwrap();
    };
    ask("?", |answer| answer.starts_with("T05"));
    // The sixteen registers, the instruction pointer and more, as hexadecimal digits.
    ask("g", |answer| answer.len() > 17 * 16);
    ask("D", |answer| answer == "OK");
    child.stdin.as_mut().unwrap().write_all(b"echo sum $((40 + 2))\n").unwrap();
    let (code, text) = ended(child, printed);
    assert!(text.contains("sum 42"), "{text}");
    assert_eq!(code, 0);
}
