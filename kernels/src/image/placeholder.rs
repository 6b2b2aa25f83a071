//! Kernels that are never run.

/// A kernel for machines whose memory is restored from a snapshot that already contains a kernel.
/// It is never entered: an ELF file with a PVH entry point, as small as emulators and boot loaders
/// accept.
pub fn placeholder_kernel() -> Vec<u8> {
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    const LOADED: u32 = 1;
    const NOTES: u32 = 4;
    /// The physical address at which kernels are loaded.
    const ADDRESS: u64 = 0x100_0000;
    let code = [0xf4; 16]; // hlt
    let mut note = Vec::new();
    // XEN_ELFNOTE_PHYS32_ENTRY, include/xen/interface/elfnote.h: lengths of name and value, then
    // the type.
    for word in [4_u32, 4, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend((ADDRESS as u32).to_le_bytes());

    let mut kernel = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    kernel.extend(2_u16.to_le_bytes()); // executable
    kernel.extend(62_u16.to_le_bytes()); // x86-64
    kernel.extend(1_u32.to_le_bytes());
    for word in [ADDRESS, HEADER, 0] {
        kernel.extend(word.to_le_bytes()); // entry, segments, sections
    }
    kernel.extend(0_u32.to_le_bytes());
    for half in [HEADER, SEGMENT, 2, 0, 0, 0] {
        kernel.extend((half as u16).to_le_bytes());
    }
    let begin = HEADER + 2 * SEGMENT;
    let parts = [(LOADED, begin, code.len()), (NOTES, begin + code.len() as u64, note.len())];
    for (kind, offset, length) in parts {
        kernel.extend(kind.to_le_bytes());
        kernel.extend(4_u32.to_le_bytes()); // readable
        let length = length as u64;
        for word in [offset, ADDRESS, ADDRESS, length, length, 4] {
            kernel.extend(word.to_le_bytes());
        }
    }
    kernel.extend(code);
    kernel.extend(note);
    // Loaders read this many bytes to detect other formats.
    kernel.resize(8 << 10, 0);
    kernel
}

/// Like above, for arm64: no more than the header of an `Image`, Documentation/arch/arm64/booting.rst.
pub fn placeholder_arm64_kernel() -> Vec<u8> {
    /// `wfi`, and a branch to it.
    const CODE: [u32; 2] = [0xd503_207f, 0x17ff_ffff];
    /// Pages of 4 KiB, anywhere in memory.
    const FLAGS: u64 = 0b1010;
    let mut kernel = Vec::new();
    kernel.extend(CODE.into_iter().flat_map(u32::to_le_bytes));
    let size: u64 = 8 << 10;
    // Where it is loaded, from a multiple of 2 MiB; its size in memory; and three reserved words.
    for word in [0, size, FLAGS, 0, 0, 0] {
        kernel.extend(word.to_le_bytes());
    }
    kernel.extend(b"ARM\x64");
    kernel.resize(8 << 10, 0);
    kernel
}
