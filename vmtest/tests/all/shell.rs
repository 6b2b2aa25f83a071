//! Users and scripts at the console of a guest.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    pty::openpty,
    sys::termios::{LocalFlags, tcgetattr},
};
use wait_timeout::ChildExt as _;

/// How long a shell may take for its commands.
const TIMEOUT: Duration = Duration::from_secs(120);

/// `kernlab shell` with the shell that every machine has.
fn shell(input: impl Into<Stdio>, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(["shell", "--kernel", "debian-6.1", "--program", "/bin/sh"])
        .args(more)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The exit code of the command.
fn ended(mut shell: Child) -> i32 {
    let status = shell.wait_timeout(TIMEOUT).unwrap();
    shell.kill().ok();
    status.expect("the shell does not end").code().unwrap()
}

/// Runs a script from a pipe.
fn run(script: &str, more: &[&str]) -> (i32, String) {
    let mut child = shell(Stdio::piped(), more);
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let mut printed = child.stdout.take().unwrap();
    let code = ended(child);
    let mut text = String::new();
    printed.read_to_string(&mut text).unwrap();
    (code, text)
}

/// Reads until a line has this text.
fn await_line(printed: &mut impl BufRead, wanted: &str) {
    let mut all = String::new();
    while !all.contains(wanted) {
        assert_ne!(printed.read_line(&mut all).unwrap(), 0, "{wanted:?} never came: {all}");
    }
}

#[test]
fn a_script_may_be_piped_in() {
    let script = "echo sum $((40 + 2)); read line < /tmp/a-file; echo \"<$line>\"; exit 5";
    let (code, text) = run(script, &["--file", "Cargo.toml=/tmp/a-file"]);
    assert!(text.contains("sum 42") && text.contains("<[workspace]>"), "{text}");
    assert_eq!(code, 5, "that of the script");
}

#[test]
fn a_long_script_is_whole() {
    let long = "x".repeat(200_000);
    let (code, text) = run(&format!("text={long}\necho length ${{#text}}\n"), &["--cold"]);
    assert!(text.contains("length 200000"), "{text}");
    assert_eq!(code, 0);
}

#[test]
fn a_kernel_that_crashes_ends_the_shell() {
    let (code, text) = run("echo c > /proc/sysrq-trigger", &[]);
    assert!(text.contains("sysrq triggered crash"), "{text}");
    assert_eq!(code, 3);
}

#[test]
fn somebody_types_and_leaves() {
    let terminal = openpty(None, None).unwrap();
    let mut keys = File::from(terminal.master);
    let mut child = shell(terminal.slave.try_clone().unwrap(), &[]);
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    keys.write_all(b"echo sum $((40 + 2))\r").unwrap();
    await_line(&mut printed, "sum 42");
    // A key that would end a program on the host goes to the guest.
    keys.write_all(b"trap 'echo sum $((50 + 2)); exit' INT; echo busy $((1 + 1)); ").unwrap();
    keys.write_all(b"while :; do :; done\r").unwrap();
    await_line(&mut printed, "busy 2");
    keys.write_all(b"\x03").unwrap();
    await_line(&mut printed, "sum 52");
    assert_eq!(ended(child), 0);
}

#[test]
fn one_key_leaves_whatever_the_guest_does() {
    let terminal = openpty(None, None).unwrap();
    let before = tcgetattr(&terminal.slave).unwrap();
    let mut keys = File::from(terminal.master);
    let mut child = shell(terminal.slave.try_clone().unwrap(), &[]);
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    keys.write_all(b"trap '' INT QUIT TSTP; echo busy $((1 + 1)); while :; do :; done\r").unwrap();
    await_line(&mut printed, "busy 2");
    let raw = tcgetattr(&terminal.slave).unwrap();
    assert!(!raw.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ISIG), "{raw:?}");
    keys.write_all(b"\x1d").unwrap();
    assert_eq!(ended(child), 0);
    assert_eq!(tcgetattr(&terminal.slave).unwrap(), before);
}

#[test]
fn a_debugger_stops_the_kernel_and_lets_it_go() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gdb");
    let terminal = openpty(None, None).unwrap();
    let mut keys = File::from(terminal.master);
    let device = format!("--gdb=unix:{},server=on,wait=off", socket.display());
    let mut child = shell(terminal.slave, &[&device]);
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    keys.write_all(b"echo sum $((40 + 2))\r").unwrap();
    await_line(&mut printed, "sum 42");

    // https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html
    let mut debugger = UnixStream::connect(socket).unwrap();
    debugger.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut ask = |packet: &str, is_answer: fn(&str) -> bool| {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(debugger, "${packet}#{sum:02x}").unwrap();
        let mut received = String::new();
        // The debugger's stub also reports a stop without being asked.
        while !received.split(['$', '#']).any(is_answer) {
            let mut byte = [0];
            debugger.read_exact(&mut byte).unwrap();
            received.push(byte[0].into());
        }
        debugger.write_all(b"+").unwrap();
    };
    ask("?", |answer| answer.starts_with("T05"));
    // Sixteen registers, the instruction pointer and more, as hexadecimal digits.
    ask("g", |answer| answer.len() > 17 * 16);
    ask("D", |answer| answer == "OK");
    keys.write_all(b"echo sum $((50 + 2)); exit\r").unwrap();
    await_line(&mut printed, "sum 52");
    assert_eq!(ended(child), 0);
}
