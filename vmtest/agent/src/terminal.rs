//! The console as the terminal of a program.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    },
    process::Command,
};

use kernlab_proto::TerminalSize;
use nix::unistd::setsid;

nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, libc::winsize);
nix::ioctl_write_int_bad!(set_controlling_terminal, libc::TIOCSCTTY);

/// Makes the console the controlling terminal of a program, in its own session.
pub(crate) fn give(command: &mut Command, size: TerminalSize) -> io::Result<()> {
    let active = fs::read_to_string("/sys/class/tty/console/active")?;
    // /dev/console is the last one of the list.
    let device = active.split_ascii_whitespace().next_back().unwrap_or("ttyS0");
    let terminal = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(format!("/dev/{device}"))?;
    let TerminalSize { rows: ws_row, columns: ws_col } = size;
    let window = libc::winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call reads `window`, which is the structure that it expects.
    unsafe { set_window_size(terminal.as_raw_fd(), &window) }?;
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    // SAFETY: both calls are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            set_controlling_terminal(libc::STDIN_FILENO, 0)?;
            Ok(())
        });
    }
    Ok(())
}
