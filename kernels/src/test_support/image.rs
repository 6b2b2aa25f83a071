//! Kernel images and modules that contain only what is parsed.

use object::{SectionKind, write::Object};

use crate::{compression::Compression, image::placeholder_kernel, test_support::archive::compress};

/// The payload of a bzImage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload {
    Plain,
    Compressed(Compression),
    /// The legacy frame of lz4, with blocks that contain only literals.
    Lz4,
    /// A compression that is not supported.
    Bzip2,
}

/// An uncompressed kernel of this release.
pub(crate) fn vmlinux(release: &str, has_pvh: bool) -> Vec<u8> {
    let mut kernel = placeholder_kernel();
    if !has_pvh {
        let note = kernel.windows(4).position(|name| name == b"Xen\0").unwrap();
        kernel[note..note + 3].copy_from_slice(b"GNU");
    }
    kernel.extend(b"Linux version %s (made up)\0");
    kernel.extend(format!("Linux version {release} (made up) #1\0").as_bytes());
    // Compressible content that is larger than any decompressor's smallest buffer.
    kernel.extend((0..40_000_u32).flat_map(|number| (number / 7).to_le_bytes()));
    kernel
}

/// BTF of one type of this kind.
pub(crate) fn raw_btf(kind: u32) -> Vec<u8> {
    let mut btf = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, 12, 12, 1, 0, kind << 24, 4_u32] {
        btf.extend(word.to_le_bytes());
    }
    btf.push(0);
    btf
}

/// An uncompressed kernel with BTF of one type of this kind. The BTF is either loaded or was only
/// added to the file. The kernel can't be started.
pub(crate) fn vmlinux_with_btf(release: &str, kind: u32, is_loaded: bool) -> Vec<u8> {
    let (format, architecture) = (object::BinaryFormat::Elf, object::Architecture::X86_64);
    let mut object = Object::new(format, architecture, object::Endianness::Little);
    let btf = raw_btf(kind);
    let banner = format!("Linux version {release} (made up) #1\0").into_bytes();
    let btf_kind = match is_loaded {
        true => SectionKind::ReadOnlyData,
        false => SectionKind::Metadata,
    };
    for (name, kind, content) in
        [(".rodata", SectionKind::ReadOnlyData, banner), (".BTF", btf_kind, btf)]
    {
        let section = object.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        object.append_section_data(section, &content, 1);
    }
    object.write().unwrap()
}

/// A bzImage of this release.
pub(crate) fn bzimage(release: &str, payload: Payload, kernel: &[u8]) -> Vec<u8> {
    let size = (kernel.len() as u32).to_le_bytes();
    let payload = match payload {
        Payload::Plain => kernel.to_vec(),
        Payload::Compressed(Compression::Gzip) => compress(Compression::Gzip, kernel),
        Payload::Compressed(compression) => [&compress(compression, kernel)[..], &size].concat(),
        Payload::Lz4 => [&lz4(kernel)[..], &size].concat(),
        Payload::Bzip2 => [b"BZh9", &size[..]].concat(),
    };
    let mut image = vec![0; 2 * 512];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let text = format!("{release} (builder@host) #1");
    image[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
    image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend([0x90; 16]);
    image.extend(payload);
    image
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0x21, 0x4c, 0x18];
    for chunk in bytes.chunks(8 << 20) {
        // One sequence of literals: its length is 15, plus 255 as many times as that fits, plus the
        // rest.
        let mut block = vec![0xf0];
        let mut left = chunk.len() - 15;
        while left >= 255 {
            block.push(255);
            left -= 255;
        }
        block.push(left as u8);
        block.extend(chunk);
        frame.extend((block.len() as u32).to_le_bytes());
        frame.extend(block);
    }
    frame
}

/// A module that depends on others.
pub(crate) fn module(name: &str, depends: &str) -> Vec<u8> {
    let mut object = Object::new(
        object::BinaryFormat::Elf,
        object::Architecture::X86_64,
        object::Endianness::Little,
    );
    let section =
        object.add_section(Vec::new(), b".modinfo".to_vec(), object::SectionKind::ReadOnlyData);
    let info = format!("license=GPL\0depends={depends}\0name={name}\0");
    object.append_section_data(section, info.as_bytes(), 1);
    object.write().unwrap()
}
