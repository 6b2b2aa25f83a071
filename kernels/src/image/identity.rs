//! Which kernel an image is: the digest of its content, and what it will say of itself.

use std::{fs::File, io, path::Path};

use crate::{
    catalog::kernel::Unpacked,
    compression::read_bounded,
    digest::Digest,
    image::vmlinux::{MAX_KERNEL, version_of},
    store::Store,
};

/// Notes the digest of the image that boots, and the version that it states.
pub(crate) fn identified(store: &Store, kernel: Unpacked) -> io::Result<Unpacked> {
    let image = kernel.image.fastest();
    let digest = store.content_digests().of(image)?;
    let version = version(store, image, digest)?;
    Ok(Unpacked { sha256: Some(digest), version, ..kernel })
}

/// The version in an image with this digest: remembered, since the file is large.
fn version(store: &Store, image: &Path, digest: Digest) -> io::Result<Option<String>> {
    let notes = store.content_digests();
    let name = Digest::of(format!("version of {digest}").as_bytes());
    if let Some(version) = notes.recall(name) {
        return Ok(version);
    }
    let version = version_of(&read_bounded(&mut File::open(image)?, MAX_KERNEL)?);
    notes.remember(name, &version);
    Ok(version)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use super::*;
    use crate::catalog::kernel::Image;

    #[test]
    fn a_kernel_that_is_built_again_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let image = dir.path().join("vmlinux");
        let time = SystemTime::now() - std::time::Duration::from_secs(1000);
        let build = |number: u32| {
            let text = format!("Linux version 6.1.0 (a@b) (gcc) #{number} SMP Thu Jan 1\n");
            fs::write(&image, text).unwrap();
            File::options().write(true).open(&image).unwrap().set_modified(time).unwrap();
            let files = Image { bzimage: None, vmlinux: Some(image.clone()) };
            identified(&store, Unpacked { image: files, ..Unpacked::sample("k", "6.1.0") }).unwrap()
        };
        let (first, second) = (build(1), build(2));
        assert_eq!(first.version.as_deref(), Some("#1 SMP Thu Jan 1"));
        assert_eq!(second.version.as_deref(), Some("#2 SMP Thu Jan 1"));
        assert_ne!(first.sha256, second.sha256, "although size, time and release are the same");
    }
}
