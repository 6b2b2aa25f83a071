//! What the programs of both backends consist of, where a guest can't tell: one that reads another clock gives
//! the same events in a guest that never sleeps, and one that counts without atomic instructions in a guest
//! where no other program interrupts it.

use std::collections::BTreeMap;

use kernlab_core::{needs, plan::BufferKind, tracer::Tracer};
use object::{Object as _, ObjectSection as _, SectionKind};

/// An object of each tracer and buffer by both backends: C, and then Rust.
fn objects() -> impl Iterator<Item = (String, [&'static [u8]; 2])> {
    let c: BTreeMap<String, &[u8]> = kernlab_libbpf::embedded_objects().collect();
    Tracer::all()
        .flat_map(|tracer| [BufferKind::Ring, BufferKind::Perf].map(|it| (tracer, it)))
        .map(move |(tracer, buffer)| {
            let name = format!("{tracer}.{}", buffer.name());
            let of_c = c[&format!("{name}.layout")];
            (name, [of_c, kernlab_aya::object(tracer, buffer)])
        })
}

fn helpers(object: &[u8]) -> String {
    let helpers = needs::of_object(object).expect("our objects can be read").helpers;
    helpers.into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn programs_call_what_they_should() {
    let mut listing = String::new();
    for (name, [c, rust]) in objects() {
        assert_eq!(helpers(rust), helpers(c), "{name}");
        listing += &format!("{name}: {}\n", helpers(c));
    }
    insta::assert_snapshot!(listing);
}

/// How many instructions add to 64 bits of memory at once: Documentation/bpf/standardization.
fn atomic_additions(object: &[u8]) -> usize {
    const ATOMIC_64_BITS: u8 = 0xdb;
    const LOAD_64_BITS: u8 = 0x18;
    let file = object::File::parse(object).expect("our objects can be read");
    let mut count = 0;
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let mut instructions = section.data().expect("a section has data").chunks_exact(8);
        while let Some(&[code, ..]) = instructions.next() {
            count += usize::from(code == ATOMIC_64_BITS);
            // Its second half is no instruction.
            if code == LOAD_64_BITS {
                instructions.next();
            }
        }
    }
    count
}

#[test]
fn programs_count_atomically() {
    for (name, [c, rust]) in objects() {
        assert!(atomic_additions(c) > 0, "{name} in C");
        assert!(atomic_additions(rust) > 0, "{name} in Rust");
    }
}
