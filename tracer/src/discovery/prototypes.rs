//! Has the kernel call functions with arguments that we know, to see which is which.

use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context as _, Result};
use kernlab_core::{
    btf::Prototype,
    discovery::{
        Discovered, FileAction, Notification, Question, entry_function, notifying_function,
    },
};
use nix::{
    sys::{
        inotify::{AddWatchFlags, InitFlags, Inotify},
        stat::{Mode, SFlag, mknod},
    },
    unistd::mkdtemp,
};

use super::{
    capture::{Capture, Reading},
    peek::Peek,
};

/// The names of what is created and unlinked.
const ENTRIES: [&str; 2] = ["kernlab-one", "kernlab-other"];

/// Adds the prototypes of these functions.
pub(super) fn search(
    questions: &[&Question],
    peek: &Mutex<Peek>,
    reading: Reading,
    discovered: &mut Discovered,
) -> Result<()> {
    let dir = Dir::create()?;
    for question in questions {
        let found = match question.action {
            FileAction::Rename => renames(question, &dir.0, reading),
            FileAction::Create | FileAction::Unlink => {
                entries(question, &dir.0, peek, reading, discovered)
            }
        };
        let found = found.unwrap_or_else(|error| Err(format!("{error:#}")));
        discovered.note_prototype(question.function, found);
    }
    Ok(())
}

/// Renames what an inotify descriptor watches, and compares calls of its handler with what it
/// delivers.
fn renames(question: &Question, dir: &Path, reading: Reading) -> Result<Result<Prototype, String>> {
    let path = |name: &str| dir.join(name);
    File::create(path("kernlab-before")).context("creating a file")?;
    fs::create_dir(path("kernlab-folder")).context("creating a directory")?;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(dir, AddWatchFlags::IN_MOVE).context("watching a directory")?;
    let capture = Capture::start(question.function, reading)?;
    fs::rename(path("kernlab-before"), path("kernlab-after-that")).context("renaming a file")?;
    fs::rename(path("kernlab-folder"), path("kernlab-moved")).context("renaming a directory")?;
    let calls = capture.finish()?;
    let seen: Vec<_> = inotify
        .read_events()
        .context("reading the inotify descriptor")?
        .into_iter()
        .map(|event| Notification {
            mask: event.mask.bits(),
            cookie: event.cookie,
            name: event.name.unwrap_or_default().to_string_lossy().into_owned(),
        })
        .collect();
    Ok(notifying_function(&calls, &seen, question.arguments))
}

/// Creates or unlinks directory entries, and looks for the addresses of these among the arguments.
fn entries(
    question: &Question,
    dir: &Path,
    peek: &Mutex<Peek>,
    reading: Reading,
    discovered: &Discovered,
) -> Result<Result<Prototype, String>> {
    let paths = ENTRIES.map(|name| dir.join(name));
    let create = || {
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        paths.iter().try_for_each(|path| mknod(path, SFlag::S_IFREG, mode, 0))
    };
    let open = || paths.iter().map(File::open).collect::<Result<Vec<_>, _>>();
    let unlink = || paths.iter().try_for_each(fs::remove_file);

    let capture = || Capture::start(question.function, reading);
    let (calls, opened) = if question.action == FileAction::Create {
        let capture = capture()?;
        create().context("creating files")?;
        let calls = capture.finish()?;
        (calls, open().context("opening what was created")?)
    } else {
        create().context("creating files")?;
        // An open file keeps its entry where it is.
        let opened = open().context("opening what was created")?;
        let capture = capture()?;
        unlink().context("unlinking files")?;
        (capture.finish()?, opened)
    };

    let mut peek = peek.lock().expect("no thread panics while it reads memory");
    let task = peek.current_task()?;
    let dentries = opened.iter().map(|file| {
        let descriptor = file.as_raw_fd().unsigned_abs();
        discovered.dentry_of(&mut *peek, task, descriptor).context("a file has no entry")
    });
    let dentries = dentries.collect::<Result<Vec<_>>>()?;
    drop(opened);
    if question.action == FileAction::Create {
        unlink().context("unlinking files")?;
    }
    Ok(entry_function(&calls, &dentries, question.arguments))
}

/// A directory that is removed with what is in it.
struct Dir(PathBuf);

impl Dir {
    fn create() -> Result<Self> {
        let template = std::env::temp_dir().join("kernlab-calls-XXXXXX");
        Ok(Dir(mkdtemp(&template).context("creating a directory")?))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}
