//! Both backends' compiled objects mean the same structures as `kernlab_abi`.
//!
//! The C programs' objects have BTF: every structure in it is compared, member by member. The Rust programs'
//! objects have none (bpf-linker writes it only if it is asked to, from debug information that they are
//! compiled without), and so the sizes of their maps' keys and values are compared with those of the C
//! programs. What is behind these sizes is checked when they are compiled: `core/abi/src/layout.rs`.

use std::collections::{BTreeMap, BTreeSet};

use aya_obj::Object;
use kernlab_abi::{LAYOUTS, MemberLayout, StructLayout};
use kernlab_core::{plan::BufferKind, tracer::Tracer};
use libbpf_rs::{
    HasSize as _, ObjectBuilder,
    btf::{Btf, BtfType, types},
};
use rstest::rstest;

/// The size of a type in bytes, behind typedefs and qualifiers.
fn size_of(found: BtfType<'_>) -> Option<usize> {
    let found = found.skip_mods_and_typedefs();
    if let Ok(array) = types::Array::try_from(found) {
        return Some(array.capacity() * size_of(array.contained_type())?);
    }
    let of_structure = types::Struct::try_from(found).map(|found| found.size());
    of_structure
        .or_else(|_| types::Int::try_from(found).map(|found| found.bits.div_ceil(8).into()))
        .ok()
}

/// The size of a structure, and each member's name, offset and size.
type Layout = (usize, Vec<(String, usize, usize)>);

/// A structure of an object, as [`LAYOUTS`] has it.
fn layout(btf: &Btf<'_>, name: &str) -> Option<Layout> {
    let found: types::Struct<'_> = btf.type_by_name(name)?;
    let members = found.iter().map(|member| {
        let types::MemberAttr::Normal { offset } = member.attr else {
            panic!("{name} has a bit field");
        };
        let of_type = btf.type_by_id(member.ty).and_then(size_of);
        let size = of_type.unwrap_or_else(|| panic!("a member of {name} is of no known size"));
        let member = member.name.unwrap_or_default().to_string_lossy().into_owned();
        (member, offset as usize / 8, size)
    });
    Some((found.size(), members.collect()))
}

fn expected(layout: &StructLayout) -> Layout {
    let member = |member: &MemberLayout| (member.name.to_owned(), member.offset, member.size);
    (layout.size, layout.members.iter().map(member).collect())
}

/// The structures that only variables of functions point to: clang writes no types of those. Their size is
/// that of the header that `kernlab_abi` makes for the C programs.
const WITHOUT_TYPE: [&str; 5] =
    ["ReadEvent", "SockAllocEvent", "SocketWriteEvent", "SyncEvent", "SysWriteEvent"];

#[test]
fn c_programs_have_the_structures_of_the_abi() {
    let mut seen = BTreeSet::new();
    for (name, object) in kernlab_libbpf::embedded_objects() {
        let btf = Btf::from_raw(&name, object).unwrap().expect("C objects have BTF");
        for structure in LAYOUTS {
            if let Some(found) = layout(&btf, structure.name) {
                assert_eq!(found, expected(structure), "{} in {name}", structure.name);
                seen.insert(structure.name);
            }
        }
    }
    let missing =
        LAYOUTS.iter().map(|structure| structure.name).filter(|name| !seen.contains(name));
    assert_eq!(missing.collect::<BTreeSet<_>>(), WITHOUT_TYPE.into(), "they can't be compared");
}

/// The sizes of a map's keys and values, and how many entries it has room for, by the map's name.
type Maps = BTreeMap<String, (u32, u32, u32)>;

fn maps_of_c(tracer: Tracer, buffer: BufferKind) -> Maps {
    let wanted = format!("{tracer}.{}.layout", buffer.name());
    let mut objects = kernlab_libbpf::embedded_objects();
    let (_, object) = objects.find(|(name, _)| *name == wanted).expect("every variant is there");
    let object = ObjectBuilder::default().open_memory(object).unwrap();
    let maps = object.maps().map(|map| {
        let sizes = (map.key_size(), map.value_size(), map.max_entries());
        (map.name().to_string_lossy().into_owned(), sizes)
    });
    maps.collect()
}

fn maps_of_rust(tracer: Tracer, buffer: BufferKind) -> Maps {
    let object = Object::parse(kernlab_aya::object(tracer, buffer)).unwrap();
    object
        .maps
        .iter()
        .map(|(name, map)| (name.clone(), (map.key_size(), map.value_size(), map.max_entries())))
        .collect()
}

#[rstest]
fn maps_of_both_backends_hold_the_same(
    #[values(BufferKind::Ring, BufferKind::Perf)] buffer: BufferKind,
) {
    /// Buffers have no values of their own.
    const EVENTS: &str = "events";
    let mut sizes = BTreeSet::new();
    for tracer in Tracer::all() {
        let (mut c, mut rust) = (maps_of_c(tracer, buffer), maps_of_rust(tracer, buffer));
        assert!(c.remove(EVENTS).is_some() == rust.remove(EVENTS).is_some(), "{tracer}");
        assert_eq!(rust, c, "{tracer}");
        sizes.extend(c.into_values().map(|(_, value, _)| value as usize));
    }
    let config = LAYOUTS.iter().find(|structure| structure.name == "ProgramConfig").unwrap();
    assert!(sizes.contains(&config.size), "{sizes:?}");
}
