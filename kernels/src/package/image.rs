//! Bare kernel images.

use std::io::Read;

use super::{Kind, Member, PackageError};
use crate::{
    compression::read_bounded,
    image::{inspected::release_of, vmlinux::ImageError},
};

/// Far more than any image needs.
const MAX_IMAGE: u64 = 1 << 30;

/// Calls `visit` for the image, under the path that it has in packages: `boot/vmlinuz-RELEASE`.
pub(super) fn for_each_member<E: From<PackageError>>(
    image: &mut dyn Read,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let image = read_bounded(image, MAX_IMAGE).map_err(PackageError::from)?;
    let release = release(&image).map_err(PackageError::from)?;
    let path = format!("boot/vmlinuz-{release}");
    visit(&mut Member::new(&path, Kind::File, &mut &image[..])?)
}

/// The release, which becomes a part of paths.
fn release(image: &[u8]) -> Result<String, ImageError> {
    let is_plain = |release: &String| !release.contains('/') && !release.starts_with('.');
    release_of(image)?
        .filter(is_plain)
        .ok_or(ImageError::NotAKernel("it does not state its release"))
}
