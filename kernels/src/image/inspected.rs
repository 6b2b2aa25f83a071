//! What a kernel image is, whatever its form.

use std::borrow::Cow;

use kernlab_core::{arch::Arch, btf::Btf};

use super::{
    arm64::{self, Arm64Image, is_arm64},
    vmlinux::{self, BzImage, ElfKernel, ImageError, is_elf},
};

/// A kernel image, and what it says of itself. What is borrowed is the file as it was given.
#[derive(Debug)]
pub(crate) struct Inspected<'a> {
    pub(crate) arch: Arch,
    /// The release, as `uname -r` prints it.
    pub(crate) release: Option<String>,
    /// What boot loaders start: a bzImage, or the uncompressed `Image` of arm64. An ELF file has none.
    pub(crate) shipped: Option<Cow<'a, [u8]>>,
    /// The ELF kernel of x86-64; `None` if the compression of a bzImage is not supported.
    pub(crate) vmlinux: Option<Cow<'a, [u8]>>,
    /// Whether QEMU can start `vmlinux` by its PVH entry point. `None` if there is none to ask.
    pub(crate) has_pvh: Option<bool>,
    /// Whether it has BTF; `None` if that can't be determined.
    pub(crate) has_btf: Option<bool>,
}

impl<'a> Inspected<'a> {
    /// Inspects a bzImage, an ELF kernel, or an image of arm64, which may be compressed.
    ///
    /// # Errors
    ///
    /// It is none of these, is damaged, or is an ELF kernel that QEMU can't start.
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if is_elf(bytes) {
            return Inspected::of_elf(bytes);
        }
        if is_arm64(bytes) {
            let Arm64Image { content, release, has_btf } = Arm64Image::parse(bytes)?;
            return Ok(Inspected {
                arch: Arch::Aarch64,
                release,
                shipped: Some(content),
                vmlinux: None,
                has_pvh: None,
                has_btf: Some(has_btf),
            });
        }
        let image = BzImage::parse(bytes)?;
        let vmlinux = image.extract()?;
        let kernel = vmlinux.as_deref().map(ElfKernel::parse).transpose()?;
        Ok(Inspected {
            arch: Arch::X86_64,
            release: image.release,
            shipped: Some(Cow::Borrowed(bytes)),
            vmlinux: vmlinux.map(Cow::Owned),
            has_pvh: kernel.as_ref().map(|kernel| kernel.has_pvh),
            has_btf: kernel.as_ref().map(|kernel| kernel.has_btf),
        })
    }

    /// Inspects an ELF kernel.
    ///
    /// # Errors
    ///
    /// It is not one of x86-64, or QEMU can't start it.
    pub(crate) fn of_elf(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let ElfKernel { release, has_pvh, has_btf } = ElfKernel::parse(bytes)?;
        if !has_pvh {
            return Err(ImageError::NoPvh);
        }
        Ok(Inspected {
            arch: Arch::X86_64,
            release,
            shipped: None,
            vmlinux: Some(Cow::Borrowed(bytes)),
            has_pvh: Some(true),
            has_btf: Some(has_btf),
        })
    }

    /// The ELF kernel, if QEMU can start it.
    pub(crate) fn pvh_kernel(&self) -> Option<&Cow<'a, [u8]>> {
        self.vmlinux.as_ref().filter(|_| self.has_pvh == Some(true))
    }

    /// The kernel as it is in memory.
    pub(crate) fn uncompressed(&self) -> Option<&[u8]> {
        match self.arch {
            Arch::X86_64 => self.vmlinux.as_deref(),
            Arch::Aarch64 => self.shipped.as_deref(),
        }
    }

    /// The highest BTF kind in it.
    pub(crate) fn newest_btf_kind(&self) -> Option<u32> {
        let kernel = self.uncompressed()?;
        match self.arch {
            Arch::X86_64 => vmlinux::newest_btf_kind(kernel),
            Arch::Aarch64 => Some(Btf::parse(arm64::btf(kernel)?.to_vec()).ok()?.newest_kind()),
        }
    }
}

/// The release that an image states. Does not decompress a bzImage.
///
/// # Errors
///
/// It is not an image.
pub(crate) fn release_of(image: &[u8]) -> Result<Option<String>, ImageError> {
    Ok(match image {
        image if is_elf(image) => ElfKernel::parse(image)?.release,
        image if is_arm64(image) => Arm64Image::parse(image)?.release,
        image => BzImage::parse(image)?.release,
    })
}

/// The name of the image that boot loaders start, in the kernel's build and in artifacts.
pub(crate) fn file_name(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "bzImage",
        Arch::Aarch64 => "Image",
    }
}

/// The name of the ELF kernel in artifacts.
pub(crate) const VMLINUX: &str = "vmlinux";

/// The configuration that a kernel was built with, in artifacts.
pub(crate) const CONFIG: &str = "config";
