//! Sends files back, within a time and a size: a file may be endless, or wait for ever.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernlab_proto::suite::{COLLECT_BYTES, COLLECT_CHUNK, SuiteJob, SuiteReport};

use crate::report::Reports;

/// What the thread that reads tells.
enum Step {
    /// It begins with this file or directory.
    Reads(String),
    Report(SuiteReport),
}

/// Reports every file that the job asks for, and those below directories that it asks for.
pub(crate) fn collect(job: &SuiteJob, reports: &Reports) -> Result<(), String> {
    let roots: Vec<PathBuf> =
        job.collect.iter().map(|path| Path::new(&job.directory).join(path)).collect();
    // The thread waits for the reports to be sent, and ends with this program if it hangs in a read.
    let (steps, received) = sync_channel(2);
    thread::spawn(move || Reader { room: COLLECT_BYTES, steps }.read_all(roots));
    pass_on(&received, Duration::from_millis(job.collect_within_ms), reports)
}

/// Sends what the thread has read until that ends, or the time is over.
fn pass_on(steps: &Receiver<Step>, within: Duration, reports: &Reports) -> Result<(), String> {
    let deadline = Instant::now() + within;
    let mut reading = String::new();
    loop {
        match steps.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Step::Reads(path)) => reading = path,
            Ok(Step::Report(report)) => reports.send(&report)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = within.as_secs();
                let why = format!(
                    "files are brought back for {seconds} s, which ended here; none after it was"
                );
                return reports.send(&SuiteReport::NotCollected { path: reading, why });
            }
        }
    }
}

/// Reads files one after the other.
struct Reader {
    /// How many bytes may still be sent.
    room: u64,
    steps: SyncSender<Step>,
}

/// Why a file is not sent.
enum Failed {
    Read(io::Error),
    /// Nobody listens any more.
    Ended,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Read(error)
    }
}

impl Reader {
    fn read_all(&mut self, roots: Vec<PathBuf>) {
        for root in roots {
            let mut left = vec![root];
            while let Some(place) = left.pop() {
                let path = place.display().to_string();
                let report = match self.read(&place, &path, &mut left) {
                    Ok(()) => continue,
                    Err(Failed::Ended) => return,
                    Err(Failed::Read(error)) => {
                        SuiteReport::NotCollected { path, why: error.to_string() }
                    }
                };
                if self.steps.send(Step::Report(report)).is_err() {
                    return;
                }
            }
        }
    }

    fn read(&mut self, place: &Path, path: &str, left: &mut Vec<PathBuf>) -> Result<(), Failed> {
        let tell = |step| self.steps.send(step).map_err(|_| Failed::Ended);
        tell(Step::Reads(path.to_owned()))?;
        let kind = fs::metadata(place)?;
        if kind.is_dir() {
            for entry in fs::read_dir(place)? {
                let entry = entry?;
                // A link may lead anywhere, and in a circle.
                if !entry.file_type()?.is_symlink() {
                    left.push(entry.path());
                }
            }
            return Ok(());
        }
        if !kind.is_file() {
            return Err(io::Error::other("it is neither a file nor a directory").into());
        }
        if kind.len() > self.room {
            return Err(too_large(self.room).into());
        }
        // Some files of the kernel would wait for content for ever.
        let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(place)?;
        let mut room = self.room;
        let mut first = true;
        loop {
            let mut bytes = Vec::with_capacity(COLLECT_CHUNK);
            match (&mut file).take(COLLECT_CHUNK as u64).read_to_end(&mut bytes) {
                // Such a file has no end; what is in it now is its content.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => drop(read?),
            }
            if bytes.is_empty() && !first {
                break;
            }
            first = false;
            // The size of some files is only known when they were read.
            room = room.checked_sub(bytes.len() as u64).ok_or_else(|| too_large(self.room))?;
            let encoded = STANDARD.encode(&bytes);
            tell(Step::Report(SuiteReport::Collected { path: path.to_owned(), bytes: encoded }))?;
            if bytes.len() < COLLECT_CHUNK {
                break;
            }
        }
        self.room = room;
        Ok(())
    }
}

fn too_large(room: u64) -> io::Error {
    let (room, all) = (room >> 20, COLLECT_BYTES >> 20);
    io::Error::other(format!(
        "it is larger than the {room} MiB that are left of the {all} MiB that a suite may bring back"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reports on these paths.
    fn collected(paths: &[&Path], room: u64) -> Vec<SuiteReport> {
        let (steps, received) = sync_channel(2);
        let roots = paths.iter().map(|path| path.to_path_buf()).collect();
        let reader = thread::spawn(move || Reader { room, steps }.read_all(roots));
        let reports = received.iter().filter_map(|step| match step {
            Step::Reads(_) => None,
            Step::Report(report) => Some(report),
        });
        let reports = reports.collect();
        reader.join().unwrap();
        reports
    }

    fn reason(paths: &[&Path]) -> String {
        match &collected(paths, 100)[..] {
            [SuiteReport::NotCollected { why, .. }] => why.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_and_directories_are_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        fs::write(dir.path().join("text"), vec![b'x'; 50]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        let reports = collected(&[dir.path()], 50);
        assert_eq!(reports.len(), 2, "{reports:?}");
        assert!(reports.iter().all(|report| matches!(report, SuiteReport::Collected { .. })));
    }

    #[test]
    fn what_is_no_file_or_is_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let sparse = dir.path().join("sparse");
        File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
        assert!(reason(&[&pipe]).contains("neither a file nor a directory"));
        assert!(reason(&[Path::new("/dev/zero")]).contains("neither a file nor a directory"));
        assert!(reason(&[&sparse]).contains("is larger than"));
        // Its size is only known once it was read.
        assert!(reason(&[Path::new("/proc/self/maps")]).contains("is larger than"));
        assert!(reason(&[Path::new("/nowhere")]).contains("No such file"));
    }
}
