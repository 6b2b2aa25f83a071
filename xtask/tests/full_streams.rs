//! A stream that is closed or full is no reason to panic, in any command.

use std::{
    fs::OpenOptions,
    process::{Command, Stdio},
};

use rstest::rstest;

#[rstest]
#[case::listing(&["workflows"])]
#[case::help(&["--help"])]
#[case::wrong(&["bogus"])]
fn no_stream_makes_a_command_panic(
    #[case] arguments: &[&str],
    #[values(true, false)] errors: bool,
) {
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).stdin(Stdio::null()).stdout(full());
    if errors {
        command.stderr(full());
    }
    let status = command.status().expect("the command starts");
    assert!(matches!(status.code(), Some(0..=3)), "{arguments:?}: {status}");
}
