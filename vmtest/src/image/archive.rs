//! Archives in the format `newc`, which the kernel unpacks: Documentation/driver-api/early-userspace/buffer-format.rst.

use std::{collections::BTreeSet, io::Write};

use cpio::newc::{Builder, ModeFileType, trailer};

use super::ImageError;

/// Builds an archive. All entries belong to root and have time zero, so that the same content gives
/// the same bytes.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    dirs: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a regular file, and the directories above it.
    pub(super) fn file(
        &mut self,
        path: &str,
        permissions: u32,
        content: &[u8],
    ) -> Result<(), ImageError> {
        if u32::try_from(content.len()).is_err() {
            let length = content.len() as u64;
            return Err(ImageError::TooLong { path: path.to_owned(), length });
        }
        self.dirs_above(path);
        let entry = self.entry(path).mode(permissions).set_mode_file_type(ModeFileType::Regular);
        self.append(entry, content);
        Ok(())
    }

    /// Adds a character device, and the directories above it.
    pub(super) fn character_device(
        &mut self,
        path: &str,
        permissions: u32,
        major: u32,
        minor: u32,
    ) {
        self.dirs_above(path);
        let entry = self.entry(path).mode(permissions).set_mode_file_type(ModeFileType::Char);
        self.append(entry.rdev_major(major).rdev_minor(minor), &[]);
    }

    /// The whole archive.
    pub(super) fn finish(self) -> Vec<u8> {
        trailer(self.bytes).unwrap_or_else(|error| unreachable!("a vector takes all: {error}"))
    }

    fn dirs_above(&mut self, path: &str) {
        let ends: Vec<usize> =
            path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).collect();
        for end in ends {
            let dir = &path[..end];
            if self.dirs.insert(dir.to_owned()) {
                let entry = self.entry(dir).mode(0o755).nlink(2);
                self.append(entry.set_mode_file_type(ModeFileType::Directory), &[]);
            }
        }
    }

    fn entry(&mut self, path: &str) -> Builder {
        self.entries += 1;
        // Names are relative to the root of the resulting file system.
        Builder::new(path.trim_start_matches('/')).ino(self.entries)
    }

    fn append(&mut self, entry: Builder, content: &[u8]) {
        let length = u32::try_from(content.len())
            .unwrap_or_else(|error| unreachable!("callers check the length: {error}"));
        let mut writer = entry.write(&mut self.bytes, length);
        let written = writer.write_all(content).and_then(|()| writer.finish().map(drop));
        written.unwrap_or_else(|error| unreachable!("a vector takes all: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.character_device("/dev/console", 0o600, 5, 1);
        archive.file("/a", 0o755, b"five!").unwrap();
        let bytes = archive.finish();

        let text = |from: usize, length: usize| {
            std::str::from_utf8(&bytes[from..from + length]).unwrap().to_owned()
        };
        // "dev": magic, inode, mode, owner, group, links, time, size, devices, name, checksum.
        let dir = "070701000000010000\
                      41ed000000000000000000000002000000000000000000000000000000000000000000000000\
                      0000000400000000";
        assert_eq!(text(0, 110), dir);
        assert_eq!(&bytes[110..116], b"dev\0\0\0", "padded to four bytes");
        assert_eq!(text(116, 6), "070701");
        assert_eq!(text(116 + 14, 8), "00002180", "a character device of mode 600");
        assert_eq!(text(116 + 78, 16), "0000000500000001", "5:1");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_reader_of_the_format_gets_everything_back() {
        let mut archive = Archive::default();
        archive.file("/bin/deep/x", 0o640, b"content").unwrap();
        archive.file("/bin/deep/y", 0o755, b"").unwrap();
        let bytes = archive.finish();

        let mut found = Vec::new();
        let mut rest = &bytes[..];
        loop {
            let mut entry = cpio::newc::Reader::new(rest).unwrap();
            let mut content = String::new();
            std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            let header = entry.entry();
            found.push((header.name().to_owned(), header.mode(), content));
            rest = entry.finish().unwrap();
        }
        let expected = [
            ("bin", 0o040_755, ""),
            ("bin/deep", 0o040_755, ""),
            ("bin/deep/x", 0o100_640, "content"),
            ("bin/deep/y", 0o100_755, ""),
        ];
        let expected =
            expected.map(|(name, mode, content)| (name.to_owned(), mode, content.to_owned()));
        assert_eq!(found, expected);
    }
}
