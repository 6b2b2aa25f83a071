//! Sends files back.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernlab_proto::suite::{COLLECT_CHUNK, SuiteJob, SuiteReport};

use crate::report::Reports;

/// Reports every file that the job asks for, and those below directories that it asks for.
pub(crate) fn collect(job: &SuiteJob, reports: &Reports) -> Result<(), String> {
    for path in &job.collect {
        let mut left = vec![Path::new(&job.directory).join(path)];
        while let Some(place) = left.pop() {
            let path = place.display().to_string();
            if let Err(error) = send(&place, &path, &mut left, reports) {
                reports.send(&SuiteReport::NotCollected { path, why: error.to_string() })?;
            }
        }
    }
    Ok(())
}

fn send(place: &Path, path: &str, left: &mut Vec<PathBuf>, reports: &Reports) -> io::Result<()> {
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
        return Err(io::Error::other("neither a file nor a directory"));
    }
    // Some files of the kernel would wait for content for ever.
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(place)?;
    let mut first = true;
    loop {
        let mut bytes = Vec::with_capacity(COLLECT_CHUNK);
        (&mut file).take(COLLECT_CHUNK as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() && !first {
            return Ok(());
        }
        first = false;
        let part = SuiteReport::Collected { path: path.to_owned(), bytes: STANDARD.encode(&bytes) };
        reports.send(&part).map_err(io::Error::other)?;
        if bytes.len() < COLLECT_CHUNK {
            return Ok(());
        }
    }
}
