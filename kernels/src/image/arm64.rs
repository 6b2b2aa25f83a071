//! Kernel images of arm64.
//!
//! A boot loader starts an `Image`, which begins with the header of
//! `Documentation/arch/arm64/booting.rst`. It contains the whole kernel as it will be in memory.
//! Distributions ship it as it is, compressed with gzip, or in a program for EFI that decompresses it
//! (`include/linux/efi.h` and `drivers/firmware/efi/libstub/zboot-header.S` in the kernel's source).

use std::borrow::Cow;

use kernlab_core::btf::Btf;

use crate::{
    compression::Compression,
    image::vmlinux::{ImageError, MAX_KERNEL, banner_release},
};

/// The magic number of the header, and its place.
const MAGIC: &[u8] = b"ARM\x64";
const MAGIC_AT: usize = 0x38;

/// The file that the kernel is in: a program for EFI, compressed with gzip, or as it is.
enum Wrapping {
    Efi,
    Gzip,
    None,
}

impl Wrapping {
    fn of(bytes: &[u8]) -> Option<Self> {
        let at = |place: usize, text: &[u8]| bytes.get(place..place + text.len()) == Some(text);
        if at(0, b"MZ") && at(4, b"zimg") {
            return Some(Wrapping::Efi);
        }
        if at(0, &[0x1f, 0x8b]) {
            return Some(Wrapping::Gzip);
        }
        at(MAGIC_AT, MAGIC).then_some(Wrapping::None)
    }
}

/// Whether a file that begins like this may have an arm64 kernel in it. Only its content tells what is in
/// one that is compressed.
pub(crate) fn is_arm64(bytes: &[u8]) -> bool {
    Wrapping::of(bytes).is_some()
}

/// An `Image`, and what it says of itself.
#[derive(Debug)]
pub(crate) struct Arm64Image<'a> {
    /// What boots.
    pub(crate) content: Cow<'a, [u8]>,
    /// The release, as `uname -r` prints it.
    pub(crate) release: Option<String>,
    /// Whether it has BTF.
    pub(crate) has_btf: bool,
}

impl<'a> Arm64Image<'a> {
    /// The image in a file.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let not_a_kernel = || ImageError::NotAKernel("it has no header of an arm64 kernel");
        let content = match Wrapping::of(bytes).ok_or_else(not_a_kernel)? {
            Wrapping::None => Cow::Borrowed(bytes),
            Wrapping::Gzip => Cow::Owned(decompress(Compression::Gzip, bytes)?),
            Wrapping::Efi => Cow::Owned(payload(bytes)?),
        };
        if content.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) != Some(MAGIC) {
            return Err(not_a_kernel());
        }
        let (release, has_btf) = (banner_release(&content), btf(&content).is_some());
        Ok(Arm64Image { content, release, has_btf })
    }
}

fn decompress(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, ImageError> {
    compression.decompress(bytes, MAX_KERNEL).map_err(ImageError::Damaged)
}

/// What a program for EFI carries: `struct linux_efi_zboot_header`.
fn payload(bytes: &[u8]) -> Result<Vec<u8>, ImageError> {
    const OFFSET: usize = 8;
    const SIZE: usize = 12;
    const COMPRESSION: std::ops::Range<usize> = 24..56;
    let truncated = || ImageError::NotAKernel("it is truncated");
    let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let (start, size) = number(OFFSET).zip(number(SIZE)).ok_or_else(truncated)?;
    let payload = start.checked_add(size).and_then(|end| bytes.get(start..end));
    let payload = payload.ok_or_else(truncated)?;
    let name = bytes.get(COMPRESSION).ok_or_else(truncated)?;
    // zstd's frame is followed by the size, which the kernel's build appends.
    let compression = match name.split(|byte| *byte == 0).next() {
        Some(b"gzip") => Compression::Gzip,
        Some(b"zstd" | b"zstd22") => {
            let frame = &payload[..payload.len().saturating_sub(4)];
            return decompress(Compression::Zstd, frame);
        }
        Some(b"xzkern" | b"xz") => Compression::Xz,
        _ => return Err(ImageError::NotAKernel("its compression is not supported")),
    };
    decompress(compression, payload)
}

/// The type information in an uncompressed image, which has no sections: what begins with BTF's header
/// (`Documentation/bpf/btf.rst`) and is valid. The kernel's own is the longest.
pub fn btf(image: &[u8]) -> Option<&[u8]> {
    /// Magic number, version 1, no flags, and the header's length.
    const START: [u8; 8] = [0x9f, 0xeb, 1, 0, HEADER as u8, 0, 0, 0];
    const HEADER: usize = 24;
    let length = |at: usize| {
        let number = |field: usize| {
            let bytes = image.get(at + field..)?.first_chunk()?;
            usize::try_from(u32::from_le_bytes(*bytes)).ok()
        };
        let types = number(8)?.checked_add(number(12)?)?;
        let strings = number(16)?.checked_add(number(20)?)?;
        HEADER.checked_add(types.max(strings))
    };
    let found = memchr::memmem::find_iter(image, &START)
        .filter_map(|at| image.get(at..at.checked_add(length(at)?)?));
    let longest = found.max_by_key(|btf| btf.len())?;
    Btf::parse(longest.to_vec()).ok().map(|_| longest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::test_support::{archive::compress, image::raw_btf};

    const RELEASE: &str = "6.1.0-56-cloud-arm64";

    fn image(with_btf: bool) -> Vec<u8> {
        let mut image = vec![0; 0x1000];
        image[..2].copy_from_slice(b"MZ");
        image[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        image.extend(format!("Linux version {RELEASE} (a@b) (gcc) #1 SMP Debian\n\0").bytes());
        if with_btf {
            image.extend(raw_btf(16));
        }
        image.extend([0; 64]);
        image
    }

    fn for_efi(compression: Compression, name: &str, image: &[u8]) -> Vec<u8> {
        let mut payload = compress(compression, image);
        if compression == Compression::Zstd {
            payload.extend((image.len() as u32).to_le_bytes());
        }
        let mut file = vec![0; 0x200];
        file[..2].copy_from_slice(b"MZ");
        file[4..8].copy_from_slice(b"zimg");
        file[8..12].copy_from_slice(&0x200_u32.to_le_bytes());
        file[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file[24..24 + name.len()].copy_from_slice(name.as_bytes());
        file[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        file.extend(payload);
        file
    }

    #[rstest]
    #[case::as_it_is(image(true))]
    #[case::gzip(compress(Compression::Gzip, &image(true)))]
    #[case::efi_gzip(for_efi(Compression::Gzip, "gzip", &image(true)))]
    #[case::efi_zstd(for_efi(Compression::Zstd, "zstd22", &image(true)))]
    fn the_kernel_comes_out_as_it_went_in(#[case] file: Vec<u8>) {
        assert!(is_arm64(&file));
        let found = Arm64Image::parse(&file).unwrap();
        assert_eq!(found.release.as_deref(), Some(RELEASE));
        assert!(found.has_btf && found.content == image(true));
    }

    #[test]
    fn an_image_may_have_no_type_information() {
        let mut other = image(false);
        // Something that only begins like it.
        other.extend([0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
        assert!(!Arm64Image::parse(&other).unwrap().has_btf);
        assert_eq!(btf(&image(true)), Some(&*raw_btf(16)));
    }

    #[rstest]
    #[case::empty(Vec::new(), "no header of an arm64 kernel")]
    #[case::text_in_gzip(compress(Compression::Gzip, b"hello"), "no header of an arm64 kernel")]
    #[case::truncated(for_efi(Compression::Gzip, "gzip", &image(true))[..0x210].to_vec(), "truncated")]
    #[case::lzma(for_efi(Compression::Gzip, "lzma", &image(true)), "not supported")]
    fn other_files_are_refused(#[case] file: Vec<u8>, #[case] expected: &str) {
        let error = Arm64Image::parse(&file).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, magic in 0..3_usize) {
            let mut file = bytes;
            file.resize(file.len().max(0x40), 0);
            match magic {
                0 => file[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC),
                1 => file[..8].copy_from_slice(b"MZ\0\0zimg"),
                _ => file[..2].copy_from_slice(&[0x1f, 0x8b]),
            }
            let _ = Arm64Image::parse(&file);
            let _ = btf(&file);
        }
    }
}
