//! Kernel memory, as far as a search looks at it.

use std::collections::BTreeMap;

/// Memory of the running kernel.
pub trait Memory {
    /// Fills `into` from `address`, which is a kernel address, without crossing a page; `false` if
    /// nothing can be read there.
    ///
    /// An implementation that can't read at all any more answers `false` from then on, and remembers why.
    fn read(&mut self, address: u64, into: &mut [u8]) -> bool;
}

/// Nothing that a search follows is mapped in smaller units: include/asm-generic/page.h.
const PAGE: u64 = 4096;

/// The last page of the address space holds error pointers, never objects: `MAX_ERRNO`,
/// include/linux/err.h.
const ERROR_POINTERS: u64 = 0xffff_ffff_ffff_f000;

/// Reads objects, each of them once, and never below the lowest kernel address.
pub(super) struct Reader<'a> {
    memory: &'a mut dyn Memory,
    kernel_address_min: u64,
    images: BTreeMap<(u64, usize), Image>,
}

/// The bytes of an object as they were when it was first looked at. It may be shorter than what was
/// asked for: where the mapping ends.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) address: u64,
    bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(memory: &'a mut dyn Memory, kernel_address_min: u64) -> Self {
        Reader { memory, kernel_address_min, images: BTreeMap::new() }
    }

    /// Can this be the address of something in the kernel?
    pub(super) fn is_kernel(&self, address: u64) -> bool {
        (self.kernel_address_min..ERROR_POINTERS).contains(&address)
    }

    /// Up to `len` bytes at `address`; none if it is no kernel address, or nothing is there.
    pub(super) fn image(&mut self, address: u64, len: usize) -> Option<Image> {
        if !self.is_kernel(address) {
            return None;
        }
        if let Some(image) = self.images.get(&(address, len)) {
            return Some(image.clone());
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = address + bytes.len() as u64;
            let in_page = (PAGE - at % PAGE) as usize;
            let start = bytes.len();
            bytes.resize(len.min(start + in_page), 0);
            if !self.is_kernel(at) || !self.memory.read(at, &mut bytes[start..]) {
                bytes.truncate(start);
                break;
            }
        }
        let image = Image { address, bytes };
        self.images.insert((address, len), image.clone());
        (!image.bytes.is_empty()).then_some(image)
    }

    /// The pointer at `offset` of `image`, if it is one to the kernel.
    pub(super) fn pointer(&self, image: &Image, offset: usize) -> Option<u64> {
        image.u64(offset).filter(|&word| self.is_kernel(word))
    }
}

impl Image {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Its first bytes only.
    pub(super) fn head(&self, len: usize) -> Image {
        Image { address: self.address, bytes: self.bytes[..len.min(self.len())].to_vec() }
    }

    pub(super) fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    pub(super) fn u8(&self, offset: usize) -> Option<u8> {
        self.bytes.get(offset).copied()
    }

    pub(super) fn u16(&self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&self, offset: usize) -> Option<u64> {
        self.array(offset).map(u64::from_ne_bytes)
    }

    /// Does it begin with these bytes?
    pub(super) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.bytes.starts_with(bytes)
    }

    /// The offsets of the words that are equal to `word`.
    pub(super) fn offsets_of(&self, word: u64) -> impl Iterator<Item = usize> {
        (0..self.len()).step_by(8).filter(move |&offset| self.u64(offset) == Some(word))
    }

    pub(super) fn contains(&self, word: u64) -> bool {
        self.offsets_of(word).next().is_some()
    }
}
