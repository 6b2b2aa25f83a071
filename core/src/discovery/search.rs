//! What all relations share: objects with what must be true of them, and the verdict on candidates.

use std::collections::BTreeSet;

use super::{
    discovered::{Discovered, Finding},
    image::{Image, Memory, Reader},
    subjects::Subjects,
};

/// A search under way.
pub(super) struct Search<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) subjects: &'a Subjects,
    pub(super) found: Discovered,
}

impl<'a> Search<'a> {
    pub(super) fn new(memory: &'a mut dyn Memory, subjects: &'a Subjects) -> Self {
        let reader = Reader::new(memory, subjects.kernel_address_min);
        Search { reader, subjects, found: Discovered::default() }
    }

    /// Notes that `structure.field` is at the only candidate, or that it was not found. `relation`
    /// completes the sentence "the only offset ...".
    pub(super) fn settle(
        &mut self,
        structure: &str,
        field: &str,
        candidates: impl IntoIterator<Item = usize>,
        relation: &str,
    ) -> Option<usize> {
        let name = format!("{structure}.{field}");
        // Several ways to the same offset are one candidate.
        let candidates: BTreeSet<usize> = candidates.into_iter().collect();
        let mut offsets = candidates.iter();
        match (offsets.next(), offsets.next()) {
            (Some(&offset), None) => {
                let how = format!("the only offset {relation}");
                self.found.fields.insert(name, Finding { offset: offset as u32, how });
                Some(offset)
            }
            (None, _) => {
                self.fail(&name, format!("there is no offset {relation}"));
                None
            }
            (Some(_), Some(_)) => {
                let all: Vec<_> = candidates.iter().map(ToString::to_string).collect();
                self.fail(&name, format!("{} are all offsets {relation}", all.join(", ")));
                None
            }
        }
    }

    /// Notes a field whose place follows from that of others.
    pub(super) fn follow(&mut self, structure: &str, field: &str, offset: usize, how: &str) {
        let finding = Finding { offset: offset as u32, how: how.to_owned() };
        self.found.fields.insert(format!("{structure}.{field}"), finding);
    }

    pub(super) fn fail(&mut self, what: &str, why: impl Into<String>) {
        self.found.failures.insert(what.to_owned(), why.into());
    }

    /// The images of objects at `addresses`; of those that can't be read, none.
    pub(super) fn images<T>(
        &mut self,
        addresses: impl IntoIterator<Item = (u64, T)>,
        len: usize,
    ) -> Vec<(Image, T)> {
        addresses
            .into_iter()
            .filter_map(|(address, known)| Some((self.reader.image(address, len)?, known)))
            .collect()
    }

    /// Pairs of offsets: of a pointer in every object, and of something in what it points to.
    /// `find` is given an object, what is known of it, and the first `len` bytes of the target.
    pub(super) fn leading<T>(
        &mut self,
        objects: &[(Image, T)],
        len: usize,
        find: impl Fn(&Image, &T, &Image) -> Vec<usize>,
    ) -> Vec<(usize, usize)> {
        let end = objects.iter().map(|(image, _)| image.len()).min().unwrap_or(0);
        let mut pairs = Vec::new();
        for offset in (0..end).step_by(8) {
            let mut common: Option<Vec<usize>> = None;
            for (object, known) in objects {
                let target = self.reader.pointer(object, offset);
                let here = match target.and_then(|target| self.reader.image(target, len)) {
                    Some(target) => find(object, known, &target),
                    None => Vec::new(),
                };
                let both = match common {
                    None => here,
                    Some(common) => common.into_iter().filter(|at| here.contains(at)).collect(),
                };
                let hopeless = both.is_empty();
                common = Some(both);
                if hopeless {
                    break;
                }
            }
            pairs.extend(common.unwrap_or_default().into_iter().map(|inner| (offset, inner)));
        }
        pairs
    }
}

/// The offsets, multiples of `step`, at which `holds` for every object.
pub(super) fn agreeing<T>(
    objects: &[(Image, T)],
    step: usize,
    mut holds: impl FnMut(&Image, usize, &T) -> bool,
) -> Vec<usize> {
    let end = objects.iter().map(|(image, _)| image.len()).min().unwrap_or(0);
    (0..end)
        .step_by(step)
        .filter(|&offset| objects.iter().all(|(image, known)| holds(image, offset, known)))
        .collect()
}

/// The offsets, multiples of the value's size, at which every object has the value known of it. None
/// if all have the same: that would tell nothing.
pub(super) fn valued<T: PartialEq>(
    objects: &[(Image, T)],
    read: impl Fn(&Image, usize) -> Option<T>,
) -> Vec<usize> {
    let differ = objects.iter().any(|(_, known)| *known != objects[0].1);
    if !differ {
        return Vec::new();
    }
    agreeing(objects, size_of::<T>(), |image, offset, known| {
        read(image, offset).is_some_and(|value| value == *known)
    })
}

/// The offsets of words that are equal in two objects exactly if what is known of these is. None if
/// no two objects are to be equal, or all.
pub(super) fn partitioning<T: PartialEq, W: PartialEq>(
    objects: &[(Image, T)],
    read: impl Fn(&Image, usize) -> Option<W>,
) -> Vec<usize> {
    let pairs = || {
        objects.iter().enumerate().flat_map(|(index, first)| {
            objects[index + 1..].iter().map(move |second| (first, second))
        })
    };
    let alike = pairs().filter(|((_, first), (_, second))| first == second).count();
    if alike == 0 || alike == pairs().count() {
        return Vec::new();
    }
    let end = objects.iter().map(|(image, _)| image.len()).min().unwrap_or(0);
    (0..end)
        .step_by(size_of::<W>())
        .filter(|&offset| {
            pairs().all(|((first, known), (second, other))| {
                match (read(first, offset), read(second, offset)) {
                    (Some(one), Some(two)) => (one == two) == (known == other),
                    _ => false,
                }
            })
        })
        .collect()
}
