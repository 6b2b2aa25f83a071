//! The kernel inside a bzImage.
//!
//! A bzImage consists of real-mode setup code and a decompressor that carries the actual kernel, an
//! ELF file, as its payload. If that ELF file has a PVH entry point, QEMU starts it directly, which
//! saves the guest the decompression. The layout is that of `Documentation/arch/x86/boot.rst` and
//! `arch/x86/boot/header.S` in the kernel's source.

use std::io;

use kernlab_core::btf::Btf;
use object::{
    Object as _, ObjectSection as _, SectionFlags, elf,
    read::elf::{ElfFile64, ElfSection64, ProgramHeader as _},
};

use crate::compression::Compression;

/// Far more than any kernel needs.
pub(crate) const MAX_KERNEL: u64 = 1 << 30;

/// The type of the note that contains the PVH entry point: `XEN_ELFNOTE_PHYS32_ENTRY` of
/// `include/xen/interface/elfnote.h`.
const PHYS32_ENTRY: u32 = 18;

/// A file that is not a kernel, or is one that can't be booted here.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file is neither a bzImage nor an ELF file.
    #[error("not a kernel image: {0}")]
    NotAKernel(&'static str),
    /// The kernel is for a different architecture.
    #[error(
        "an uncompressed kernel of an architecture other than x86-64: of arm64, give its Image"
    )]
    OtherArchitecture,
    /// The file is an ELF kernel that QEMU can't start.
    #[error(
        "an uncompressed kernel without a PVH entry point, which QEMU can't start: give its \
         bzImage, or build it with CONFIG_PVH=y"
    )]
    NoPvh,
    /// The payload of a bzImage can't be decompressed.
    #[error("the payload of the kernel image is damaged")]
    Damaged(#[source] io::Error),
}

/// The fields of a bzImage's header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BzImage<'a> {
    /// The release, as `uname -r` prints it.
    pub(crate) release: Option<String>,
    payload: &'a [u8],
}

pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(&elf::ELFMAG)
}

impl<'a> BzImage<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if u16_at(bytes, 0x1fe) != Some(0xaa55) || bytes.get(0x202..0x206) != Some(b"HdrS") {
            return Err(ImageError::NotAKernel("it has no x86 boot header"));
        }
        // Since protocol 2.08 the header gives the offset of the payload.
        if u16_at(bytes, 0x206) < Some(0x208) {
            return Err(ImageError::NotAKernel("its boot protocol is older than 2.08"));
        }
        let setup_sectors = match bytes[0x1f1] {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let payload =
            u32_at(bytes, 0x248).zip(u32_at(bytes, 0x24c)).and_then(|(offset, length)| {
                let start = ((setup_sectors + 1) * 512).checked_add(offset as usize)?;
                bytes.get(start..start.checked_add(length as usize)?)
            });
        let Some(payload) = payload else {
            return Err(ImageError::NotAKernel("it is truncated"));
        };
        let release = u16_at(bytes, 0x20e)
            .filter(|pointer| *pointer != 0)
            .and_then(|pointer| bytes.get(0x200 + usize::from(pointer)..))
            .and_then(first_word);
        Ok(BzImage { release, payload })
    }

    /// How many bytes a compressed payload says that it has without its compression.
    ///
    /// The kernel's build appends the size (scripts/Makefile.lib, size_append). gzip's own trailer has it
    /// in the same place.
    pub(crate) fn size(&self) -> u64 {
        let size = self.payload.len().checked_sub(4).and_then(|at| u32_at(self.payload, at));
        u64::from(size.unwrap_or(0))
    }

    /// The ELF file; `None` if its compression is not supported.
    pub(crate) fn extract(&self) -> Result<Option<Vec<u8>>, ImageError> {
        let payload = self.payload;
        if is_elf(payload) {
            return Ok(Some(payload.to_vec()));
        }
        let size = self.size();
        if size > MAX_KERNEL {
            return Err(ImageError::NotAKernel("its payload claims an absurd size"));
        }
        let content = &payload[..payload.len().saturating_sub(4)];
        let kernel = match payload {
            [0x1f, 0x8b, ..] => exactly(size, Compression::Gzip, payload),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => exactly(size, Compression::Xz, content),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => exactly(size, Compression::Zstd, content),
            [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => lz4_legacy(blocks, size as usize),
            // bzip2, lzma, lzo: no distribution uses them, and the bzImage itself still boots.
            _ => return Ok(None),
        };
        let kernel = kernel.map_err(ImageError::Damaged)?;
        if !is_elf(&kernel) {
            return Err(ImageError::NotAKernel("its payload is not an ELF file"));
        }
        Ok(Some(kernel))
    }
}

fn exactly(size: u64, compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let kernel = compression.decompress(bytes, size)?;
    if kernel.len() as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(kernel)
}

/// Decompresses the legacy frame of `lz4 -l`: after the magic number, blocks of at most 8 MiB, each
/// preceded by its compressed size. There is no end mark.
fn lz4_legacy(mut blocks: &[u8], size: usize) -> io::Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let mut kernel = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let truncated = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (length, rest) = blocks.split_first_chunk().ok_or_else(truncated)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(truncated)?;
        let room = &mut kernel[filled..size.min(filled + BLOCK)];
        let written = lz4_flex::block::decompress_into(block, room).map_err(io::Error::other)?;
        if written == 0 {
            return Err(truncated());
        }
        filled += written;
        blocks = rest;
    }
    Ok(kernel)
}

/// The properties of an ELF kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ElfKernel {
    /// The release, as `uname -r` prints it.
    pub(crate) release: Option<String>,
    /// Whether QEMU can start it directly.
    pub(crate) has_pvh: bool,
    /// Whether it has BTF.
    pub(crate) has_btf: bool,
}

impl ElfKernel {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let elf = ElfFile64::<object::Endianness>::parse(bytes)
            .map_err(|_| ImageError::NotAKernel("it is not a 64-bit ELF file"))?;
        let header = elf.elf_header();
        let endian = elf.endian();
        if header.e_machine.get(endian) != elf::EM_X86_64 {
            return Err(ImageError::OtherArchitecture);
        }
        let has_pvh = elf.elf_program_headers().iter().any(|segment| {
            let notes = segment.notes(endian, bytes).ok().flatten();
            notes.is_some_and(|mut notes| {
                std::iter::from_fn(|| notes.next().ok().flatten())
                    .any(|note| note.n_type(endian) == PHYS32_ENTRY && note.name() == b"Xen")
            })
        });
        let has_btf = btf_section(&elf).is_some();
        Ok(ElfKernel { release: banner_release(bytes), has_pvh, has_btf })
    }
}

/// The BTF section that is loaded with the kernel. A section that `pahole -J` added to a finished
/// vmlinux is in the file but not in memory.
fn btf_section<'a>(
    elf: &'a ElfFile64<'a, object::Endianness>,
) -> Option<ElfSection64<'a, 'a, object::Endianness>> {
    let is_loaded = |section: &ElfSection64<'_, '_, _>| match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => sh_flags & u64::from(elf::SHF_ALLOC) != 0,
        _ => false,
    };
    elf.section_by_name(".BTF").filter(|section| section.size() > 0 && is_loaded(section))
}

/// The highest BTF kind in an ELF kernel.
pub(crate) fn newest_btf_kind(bytes: &[u8]) -> Option<u32> {
    let elf = ElfFile64::<object::Endianness>::parse(bytes).ok()?;
    let btf = btf_section(&elf)?.data().ok()?.to_vec();
    Some(Btf::parse(btf).ok()?.newest_kind())
}

/// The release in `Linux version 6.1.0-56-cloud-amd64 (builder@host) ...`, which every kernel
/// contains as `linux_banner` (init/version-timestamp.c). A format string with the same beginning
/// has `%s` there.
pub(crate) fn banner_release(bytes: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memchr::memmem::find_iter(bytes, BANNER)
        .filter_map(|at| first_word(&bytes[at + BANNER.len()..]))
        .find(|release| release.starts_with(|c: char| c.is_ascii_digit()))
}

/// What `uname -v` will print in this kernel, such as `#1 SMP Debian 6.1.182-1 (2026-09-01)`. A vmlinux
/// has it at the end of `linux_banner`, a bzImage at the end of the text that its header points to.
pub(crate) fn version_of(bytes: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let line = |text: &[u8]| {
        let end = text.iter().take(1024).position(|byte| matches!(byte, 0 | b'\n'))?;
        let text = std::str::from_utf8(&text[..end]).ok()?;
        let (_, version) = text.rsplit_once(") #")?;
        // Since 6.1, a vmlinux also has a banner without a number, which is linked but never shown:
        // the weak one of init/version.c.
        if version.starts_with(' ') {
            return None;
        }
        // The field of uname(2) has 64 characters: __NEW_UTS_LEN of include/uapi/linux/utsname.h.
        Some(format!("#{version}").chars().take(64).collect())
    };
    if is_elf(bytes) || bytes.get(0x202..0x206) != Some(b"HdrS") {
        return memchr::memmem::find_iter(bytes, BANNER)
            .filter(|at| bytes.get(at + BANNER.len()).is_some_and(u8::is_ascii_digit))
            .find_map(|at| line(&bytes[at..]));
    }
    let pointer = u16_at(bytes, 0x20e).filter(|pointer| *pointer != 0)?;
    line(bytes.get(0x200 + usize::from(pointer)..)?)
}

/// The text up to the first space or end of string, if it is plausible.
fn first_word(text: &[u8]) -> Option<String> {
    let end = text.iter().take(128).position(|byte| matches!(byte, 0 | b' '))?;
    let word = std::str::from_utf8(&text[..end]).ok()?;
    (!word.is_empty() && word.chars().all(|c| c.is_ascii_graphic())).then(|| word.to_owned())
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::test_support::image::{Payload, bzimage, vmlinux, vmlinux_with_btf};

    const RELEASE: &str = "6.1.0-56-cloud-amd64";

    #[rstest]
    #[case(Payload::Plain)]
    #[case(Payload::Compressed(Compression::Gzip))]
    #[case(Payload::Compressed(Compression::Xz))]
    #[case(Payload::Compressed(Compression::Zstd))]
    #[case(Payload::Lz4)]
    fn the_kernel_comes_out_as_it_went_in(#[case] payload: Payload) {
        let kernel = vmlinux(RELEASE, true);
        let image = bzimage(RELEASE, payload, &kernel);
        let image = BzImage::parse(&image).unwrap();
        assert_eq!(image.release.as_deref(), Some(RELEASE));
        assert!(image.extract().unwrap().as_deref() == Some(&kernel));
    }

    #[test]
    fn a_kernel_of_several_lz4_blocks() {
        let mut kernel = vmlinux(RELEASE, true);
        kernel.resize((8 << 20) + 100, 7);
        let image = bzimage(RELEASE, Payload::Lz4, &kernel);
        assert!(BzImage::parse(&image).unwrap().extract().unwrap().as_deref() == Some(&kernel));
    }

    #[test]
    fn an_unsupported_compression_is_no_error() {
        let image = bzimage(RELEASE, Payload::Bzip2, b"");
        assert!(BzImage::parse(&image).unwrap().extract().unwrap().is_none());
    }

    #[rstest]
    #[case(true)]
    #[case(false)]
    fn an_elf_kernel_tells_its_release_and_entry(#[case] has_pvh: bool) {
        let kernel = ElfKernel::parse(&vmlinux(RELEASE, has_pvh)).unwrap();
        let release = Some(RELEASE.to_owned());
        assert_eq!(kernel, ElfKernel { release, has_pvh, has_btf: false });
    }

    #[rstest]
    #[case::as_the_kernel_s_build_adds_it(true)]
    #[case::as_it_is_added_to_a_finished_kernel(false)]
    fn only_btf_that_is_loaded_counts(#[case] is_loaded: bool) {
        let kernel = vmlinux_with_btf(RELEASE, 16, is_loaded);
        assert_eq!(ElfKernel::parse(&kernel).unwrap().has_btf, is_loaded);
        assert_eq!(newest_btf_kind(&kernel), is_loaded.then_some(16));
        assert_eq!(newest_btf_kind(&vmlinux(RELEASE, true)), None);
    }

    #[rstest]
    #[case::vmlinux(
        b"\x7fELF Linux version %s\0Linux version 6.1.0-56 (deb@x) (gcc (Debian) 12 #7, ld) #1 SMP PREEMPT Debian\n\0",
        Some("#1 SMP PREEMPT Debian")
    )]
    #[case::as_of_6_1(
        b"\x7fELFLinux version 6.1.0 (d@x) (gcc) # SMP Debian\n\0Linux version 6.1.0 (d@x) (gcc) #1 SMP Debian\n\0",
        Some("#1 SMP Debian")
    )]
    #[case::without(b"\x7fELF Linux version 6.1.0 (deb@x)\0", None)]
    #[case::other(b"no kernel", None)]
    fn a_kernel_tells_its_version(#[case] bytes: &[u8], #[case] expected: Option<&str>) {
        assert_eq!(version_of(bytes).as_deref(), expected);
    }

    #[test]
    fn a_bzimage_tells_its_version_in_its_header() {
        let mut image = edited(|_| {});
        let text = b"6.1.0-56 (deb@x) #3 SMP PREEMPT_DYNAMIC Debian 6.1.182-1 (2026-09-01) and a long rest\0";
        let place = image.len();
        image[0x20e..0x210].copy_from_slice(&u16::try_from(place - 0x200).unwrap().to_le_bytes());
        image.extend(text);
        let version = version_of(&image).unwrap();
        assert!(version.starts_with("#3 SMP PREEMPT_DYNAMIC Debian 6.1.182-1"), "{version}");
        assert_eq!(version.len(), 64);
    }

    #[test]
    fn an_elf_kernel_for_another_architecture() {
        let mut kernel = vmlinux(RELEASE, true);
        kernel[18] = 183; // EM_AARCH64
        assert!(matches!(ElfKernel::parse(&kernel), Err(ImageError::OtherArchitecture)));
    }

    fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let kernel = vmlinux(RELEASE, true);
        let mut image = bzimage(RELEASE, Payload::Compressed(Compression::Gzip), &kernel);
        edit(&mut image);
        image
    }

    #[rstest]
    #[case::text(b"#!/bin/sh\necho not a kernel\n".to_vec(), "it has no x86 boot header")]
    #[case::empty(Vec::new(), "it has no x86 boot header")]
    #[case::boot_sector(edited(|image| image[0x202] = 0), "it has no x86 boot header")]
    #[case::old(edited(|image| image[0x206] = 7), "older than 2.08")]
    #[case::truncated(edited(|image| image.truncate(5000)), "it is truncated")]
    fn other_files_are_refused(#[case] image: Vec<u8>, #[case] expected: &str) {
        let error = BzImage::parse(&image).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(error, ImageError::NotAKernel(_)));
    }

    #[test]
    fn a_payload_that_is_no_kernel_is_refused() {
        let image = bzimage(RELEASE, Payload::Compressed(Compression::Xz), b"a text");
        let error = BzImage::parse(&image).unwrap().extract().unwrap_err();
        assert!(error.to_string().contains("its payload is not an ELF file"), "{error}");
    }

    #[test]
    fn a_damaged_payload_is_an_error() {
        for payload in [Payload::Compressed(Compression::Xz), Payload::Lz4] {
            let mut image = bzimage(RELEASE, payload, &vmlinux(RELEASE, true));
            let end = image.len();
            image[1040 + 8..end - 4].fill(0x55);
            let error = BzImage::parse(&image).unwrap().extract().unwrap_err();
            assert!(matches!(error, ImageError::Damaged(_)), "{payload:?}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            magic in 0_usize..6,
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let magics: [&[u8]; 6] = [
                &[0x1f, 0x8b],
                b"\xfd7zXZ\0",
                &[0x28, 0xb5, 0x2f, 0xfd],
                &[2, 0x21, 0x4c, 0x18],
                &elf::ELFMAG,
                b"",
            ];
            let mut payload = [magics[magic], &payload].concat();
            // A small size, so that the test does not spend its time on clearing memory.
            payload.extend([0xff, 0xff, 0, 0]);
            if let Ok(Some(kernel)) = (BzImage { release: None, payload: &payload }).extract() {
                drop(ElfKernel::parse(&kernel));
            }
            drop(BzImage::parse(&payload));
            drop(ElfKernel::parse(&payload));
        }
    }
}
