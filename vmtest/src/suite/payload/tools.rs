//! The shell and the usual small tools of a guest.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use kernlab_kernels::Busybox;

use super::{Entry, Payload, PayloadError, in_path};

/// Where busybox is in the guest.
const BUSYBOX: &str = "/bin/busybox";

/// The tools of this machine that a guest gets if there is no busybox. With their libraries they are about as
/// large as `LARGE` in start.rs, from where on each guest is saved with them.
const TOOLS: [&str; 50] = [
    "sh", "awk", "basename", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "dirname",
    "dmesg", "echo", "env", "expr", "false", "find", "grep", "head", "hostname", "id", "ip",
    "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mktemp", "mount", "mv", "printf", "ps", "pwd",
    "readlink", "rm", "rmdir", "sed", "seq", "setsid", "sleep", "sort", "stat", "sync", "tail",
    "touch", "tr", "true", "uname",
];

/// Adds busybox: this one, or else the one that is installed. If none is, adds the tools of this machine.
pub(super) fn add(payload: &mut Payload, busybox: Option<&Busybox>) -> Result<(), PayloadError> {
    if let Some(Busybox { path, applets }) = busybox {
        add_busybox(payload, path, applets);
        return Ok(());
    }
    let Some(busybox) = in_path("busybox") else {
        for tool in TOOLS.iter().filter_map(|tool| in_path(tool)) {
            payload.executable(&tool)?;
        }
        // Scripts name them by these paths, wherever this machine has them.
        for name in ["sh", "env"] {
            if let Some(host) = in_path(name) {
                let at = payload.executable(&host)?;
                let place = format!("/bin/{name}");
                if at != place {
                    payload.insert(place, Entry::Link(at));
                }
            }
        }
        return Ok(());
    };
    payload.complete_file(&busybox)?;
    add_busybox(payload, &busybox, &applets(&busybox));
    Ok(())
}

fn add_busybox(payload: &mut Payload, busybox: &Path, applets: &[String]) {
    for applet in applets {
        payload.insert(format!("/bin/{applet}"), Entry::Link(BUSYBOX.to_owned()));
    }
    payload.insert(BUSYBOX.to_owned(), Entry::File(busybox.to_owned()));
}

/// The names by which busybox can be called.
fn applets(busybox: &Path) -> Vec<String> {
    let listed = Command::new(busybox).arg("--list").stdin(Stdio::null()).output();
    let text = listed.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let is_name = |name: &&str| !name.is_empty() && !name.contains('/');
    text.lines().filter(is_name).map(str::to_owned).collect()
}
