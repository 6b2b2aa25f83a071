//! What the compiled objects of both backends need of a kernel.

use anyhow::{Context as _, Result};
use kernlab_core::{
    cell::BackendKind,
    needs::{ObjectNeeds, of_object},
    plan::BufferKind,
    tracer::Tracer,
};

/// Of every object that is compiled into this program.
pub(crate) fn of_all_objects() -> Result<Vec<ObjectNeeds>> {
    let mut all = Vec::new();
    let mut add = |backend: BackendKind, tracer: Tracer, variant: String, object: &[u8]| {
        let needs = of_object(object)
            .with_context(|| format!("reading the object {tracer}.{variant} of {backend}"))?;
        all.push(ObjectNeeds { backend, tracer, variant, needs });
        anyhow::Ok(())
    };
    for (name, object) in kernlab_libbpf::embedded_objects() {
        let (tracer, variant) = name.split_once('.').context("an object has no variant")?;
        let tracer =
            Tracer::by_name(tracer).with_context(|| format!("{name} belongs to no tracer"))?;
        add(BackendKind::Libbpf, tracer, variant.to_owned(), object)?;
    }
    for tracer in Tracer::all() {
        for buffer in [BufferKind::Ring, BufferKind::Perf] {
            let object = kernlab_aya::object(tracer, buffer);
            add(BackendKind::Aya, tracer, buffer.name().to_owned(), object)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::Path,
    };

    use kernlab_core::{
        bpf::{HELPERS, MAP_TYPES, helper_number},
        dossier::{Dossier, GivenTypes},
        needs::Needs,
        tracer::wanted_fields,
    };
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};

    use super::*;

    /// The programs in an object, or its maps, by name.
    fn symbols(object: &[u8], kind: SymbolKind) -> BTreeSet<String> {
        let object = object::File::parse(object).unwrap();
        // The compiler's own functions are in .text.
        let is_ours = |symbol: &object::Symbol<'_, '_>| {
            let section = symbol.section_index().and_then(|i| object.section_by_index(i).ok());
            section.is_some_and(|section| !matches!(section.name(), Ok(".text" | "license")))
        };
        let symbols = object.symbols().filter(|symbol| symbol.is_global() && symbol.kind() == kind);
        symbols.filter(is_ours).map(|symbol| symbol.name().unwrap().to_owned()).collect()
    }

    /// The programs that plans name on the kernels of the test data.
    fn planned() -> BTreeMap<Tracer, BTreeSet<String>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/dossiers");
        let mut planned: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for file in fs::read_dir(dir).unwrap() {
            let dossier = Dossier::from_json(&fs::read(file.unwrap().path()).unwrap()).unwrap();
            for scenario in Tracer::all().flat_map(Tracer::scenarios) {
                for types in [GivenTypes::Own, GivenTypes::None] {
                    let points = dossier.plan(scenario, types).0.map(|plan| plan.attach);
                    let programs = points.into_iter().flatten().map(|point| point.program);
                    planned.entry(scenario.tracer).or_default().extend(programs);
                }
            }
        }
        planned
    }

    #[test]
    fn objects_of_both_backends_hold_the_programs_that_plans_name() {
        let planned = planned();
        let objects: BTreeMap<_, _> = kernlab_libbpf::embedded_objects().collect();
        for tracer in Tracer::all() {
            for buffer in [BufferKind::Ring, BufferKind::Perf] {
                let core = objects[&format!("{tracer}.{}.core", buffer.name())];
                let layout = objects[&format!("{tracer}.{}.layout", buffer.name())];
                let aya = kernlab_aya::object(tracer, buffer);
                for object in [core, layout, aya] {
                    assert_eq!(symbols(object, SymbolKind::Text), planned[&tracer], "{tracer}");
                    let maps = symbols(object, SymbolKind::Data);
                    assert_eq!(maps, symbols(core, SymbolKind::Data), "{tracer}");
                }
            }
        }
    }

    fn needs(backend: BackendKind, tracer: &str, variant: &str) -> Needs {
        let all = of_all_objects().unwrap();
        let found = all.into_iter().find(|object| {
            (object.backend, object.tracer.name(), object.variant.as_str())
                == (backend, tracer, variant)
        });
        found.unwrap().needs
    }

    #[test]
    fn objects_tell_their_helpers_maps_and_fields() {
        let core = needs(BackendKind::Libbpf, "socket_write", "ring.core");
        assert!(core.fields["file"].contains("private_data"), "{core:?}");
        assert!(core.fields["sock_common"].contains("skc_dport"), "{core:?}");
        assert!(core.maps.contains("ringbuf") && core.maps.contains("hash"), "{core:?}");
        assert!(core.helpers.contains("ringbuf_output"), "{core:?}");

        let layout = needs(BackendKind::Libbpf, "socket_write", "perf.layout");
        assert!(layout.fields.is_empty(), "{layout:?}");
        assert!(layout.maps.contains("perf_event_array"), "{layout:?}");
        assert!(!layout.helpers.contains("ringbuf_output"), "{layout:?}");

        let aya = needs(BackendKind::Aya, "socket_write", "perf");
        assert!(aya.helpers.contains("perf_event_output"), "{aya:?}");
        assert!(aya.maps.contains("perf_event_array"), "{aya:?}");
        assert!(aya.fields.is_empty(), "Rust programs have no CO-RE relocations: {aya:?}");
    }

    /// What processors must not share is in a map of theirs, and what a thread takes along to another processor
    /// is not.
    #[test]
    fn maps_are_shared_by_processors_or_not() {
        const HASH: u32 = 1;
        const PERCPU_ARRAY: u32 = 6;
        let expected = |map: &str| match map {
            "scratch" => Some(PERCPU_ARRAY),
            "pending" | "births" | "totals" => Some(HASH),
            _ => None,
        };
        let mut known = BTreeSet::new();
        for tracer in Tracer::all() {
            let object = kernlab_aya::object(tracer, BufferKind::Ring);
            let file = object::File::parse(object).unwrap();
            let maps = file.section_by_name("maps").unwrap();
            for symbol in file.symbols().filter(|it| it.section_index() == Some(maps.index())) {
                let (name, at) = (symbol.name().unwrap(), symbol.address() as usize);
                let kind = u32::from_le_bytes(maps.data().unwrap()[at..at + 4].try_into().unwrap());
                if let Some(expected) = expected(name) {
                    assert_eq!(kind, expected, "{name} of {tracer}");
                    known.insert((tracer.name(), name.to_owned()));
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        kernlab_libbpf::source::copy(dir.path()).unwrap();
        for (tracer, name) in &known {
            let text = fs::read_to_string(dir.path().join(format!("{tracer}.bpf.c"))).unwrap();
            let (before, _) = text.split_once(&format!("}} {name} SEC(\".maps\");")).unwrap();
            let (_, map) = before.rsplit_once("struct {").unwrap();
            let kind = if name == "scratch" { "PERCPU_ARRAY" } else { "HASH" };
            let kind = format!("__uint(type, BPF_MAP_TYPE_{kind});");
            assert!(map.contains(&kind), "{name} of {tracer} is not {kind}");
        }
        assert!(known.contains(&("opensnoop", "scratch".to_owned())), "{known:?}");
    }

    /// A program that is preempted while it counts, from 7.2 on, must not lose what another one counts there.
    #[test]
    fn events_are_counted_atomically() {
        const CALL: u8 = 0x85;
        /// `BPF_STX | BPF_ATOMIC | BPF_DW`; the operation `BPF_ADD` is 0.
        const ATOMIC: u8 = 0xdb;
        let of_libbpf = kernlab_libbpf::embedded_objects().map(|(_, object)| object);
        let of_aya = Tracer::all().flat_map(|tracer| {
            [BufferKind::Ring, BufferKind::Perf].map(|buffer| kernlab_aya::object(tracer, buffer))
        });
        let sends =
            ["ringbuf_output", "perf_event_output"].map(|name| helper_number(name).unwrap());
        let mut senders = 0;
        for object in of_libbpf.chain(of_aya) {
            let file = object::File::parse(object).unwrap();
            for section in file.sections() {
                let instructions = || section.data().unwrap_or_default().chunks_exact(8);
                let operand = |it: &[u8]| u32::from_le_bytes(it[4..].try_into().unwrap());
                let is_sender = instructions()
                    .any(|it| it[0] == CALL && it[1] < 16 && sends.contains(&operand(it)));
                if section.kind() == SectionKind::Text && is_sender {
                    let counts = instructions().any(|it| it[0] == ATOMIC && operand(it) == 0);
                    assert!(counts, "{}", section.name().unwrap());
                    senders += 1;
                }
            }
        }
        assert!(senders > 0);
    }

    /// What CO-RE relocations look for, dossiers must look for as well.
    #[test]
    fn every_relocated_field_is_in_dossiers() {
        let all_wanted = wanted_fields();
        for object in of_all_objects().unwrap() {
            for (structure, fields) in &object.needs.fields {
                let wanted = all_wanted.get(structure.as_str());
                let is_wanted = |field: &str| wanted.is_some_and(|wanted| wanted.contains(field));
                let lacking: Vec<_> = fields.iter().filter(|field| !is_wanted(field)).collect();
                let tracer = object.tracer;
                assert!(
                    lacking.is_empty(),
                    "add {structure}: {lacking:?} to core/src/tracer/{tracer}.rs"
                );
            }
        }
    }

    #[test]
    fn objects_are_found_in_what_embeds_them() {
        let objects: Vec<_> =
            kernlab_libbpf::embedded_objects().map(|(_, object)| object).collect();
        let file: Vec<u8> =
            [b"\x7fELF\x02\x01\x01 other", objects[0], b"\x7fELF", objects[1]].concat();
        let found = kernlab_core::needs::embedded_objects(&file);
        assert_eq!(
            found,
            [(13, objects[0].to_vec()), (17 + objects[0].len(), objects[1].to_vec())]
        );
        assert_eq!(kernlab_core::needs::embedded_objects(objects[0]), [(0, objects[0].to_vec())]);
    }

    #[test]
    fn dossiers_tell_of_every_helper_and_map_type() {
        let tried =
            |list: &[(u32, &str)], name: &String| list.iter().any(|(_, known)| known == name);
        for object in of_all_objects().unwrap() {
            let Needs { helpers, maps, .. } = object.needs;
            let helpers = helpers.into_iter().filter(|name| !tried(HELPERS, name));
            let maps = maps.into_iter().filter(|name| !tried(MAP_TYPES, name));
            let unknown: Vec<_> = helpers.chain(maps).collect();
            assert!(unknown.is_empty(), "add {unknown:?} to core/src/bpf.rs");
        }
    }
}
