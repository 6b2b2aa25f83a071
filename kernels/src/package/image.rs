//! Bare kernel images.

use std::io::Read;

use super::{Kind, Member, PackageError};
use crate::{
    compression::read_bounded,
    image::{
        Arm64Image, is_arm64,
        vmlinux::{BzImage, ElfKernel, ImageError, is_elf},
    },
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

fn release(image: &[u8]) -> Result<String, ImageError> {
    let release = match image {
        image if is_elf(image) => ElfKernel::parse(image)?.release,
        image if is_arm64(image) => Arm64Image::parse(image)?.release,
        image => BzImage::parse(image)?.release,
    };
    let is_plain = |release: &String| !release.contains('/') && !release.starts_with('.');
    release.filter(is_plain).ok_or(ImageError::NotAKernel("it does not state its release"))
}
