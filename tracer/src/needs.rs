//! What the compiled objects of both backends need of a kernel.

use anyhow::{Context as _, Result};
use kernlab_core::{
    cell::BackendKind,
    needs::{ObjectNeeds, of_object},
    plan::BufferKind,
    scenario::{Scenario, Tracer},
};

/// Of every object that is compiled into this program.
pub(crate) fn of_all_objects() -> Result<Vec<ObjectNeeds>> {
    let mut tracers: Vec<Tracer> = Scenario::ALL.iter().map(|scenario| scenario.tracer).collect();
    tracers.dedup();
    let mut all = Vec::new();
    let mut add = |backend: BackendKind, tracer: Tracer, variant: String, object: &[u8]| {
        let needs = of_object(object)
            .with_context(|| format!("reading the object {tracer}.{variant} of {backend}"))?;
        all.push(ObjectNeeds { backend, tracer, variant, needs });
        anyhow::Ok(())
    };
    for (name, object) in kernlab_libbpf::embedded_objects() {
        let (tracer, variant) = name.split_once('.').context("an object has no variant")?;
        let tracer = tracers.iter().find(|known| known.name() == tracer);
        let tracer = *tracer.with_context(|| format!("{name} belongs to no tracer"))?;
        add(BackendKind::Libbpf, tracer, variant.to_owned(), object)?;
    }
    for &tracer in &tracers {
        for buffer in [BufferKind::Ring, BufferKind::Perf] {
            let object = kernlab_aya::object(tracer, buffer);
            add(BackendKind::Aya, tracer, buffer.name().to_owned(), object)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use kernlab_core::facts::WANTED_FIELDS;

    use super::*;

    fn needs(backend: BackendKind, tracer: Tracer, variant: &str) -> kernlab_core::needs::Needs {
        let all = of_all_objects().unwrap();
        let found = all.into_iter().find(|object| {
            (object.backend, object.tracer, object.variant.as_str()) == (backend, tracer, variant)
        });
        found.unwrap().needs
    }

    #[test]
    fn objects_tell_their_helpers_maps_and_fields() {
        let core = needs(BackendKind::Libbpf, Tracer::SocketWrite, "ring.core");
        assert!(core.fields["file"].contains("private_data"), "{core:?}");
        assert!(core.fields["sock_common"].contains("skc_dport"), "{core:?}");
        assert!(core.maps.contains("ringbuf") && core.maps.contains("hash"), "{core:?}");
        assert!(core.helpers.contains("ringbuf_output"), "{core:?}");

        let layout = needs(BackendKind::Libbpf, Tracer::SocketWrite, "perf.layout");
        assert!(layout.fields.is_empty(), "{layout:?}");
        assert!(layout.maps.contains("perf_event_array"), "{layout:?}");
        assert!(!layout.helpers.contains("ringbuf_output"), "{layout:?}");

        let aya = needs(BackendKind::Aya, Tracer::SocketWrite, "perf");
        assert!(aya.helpers.contains("perf_event_output"), "{aya:?}");
        assert!(aya.maps.contains("perf_event_array"), "{aya:?}");
        assert!(aya.fields.is_empty(), "Rust programs have no CO-RE relocations: {aya:?}");
    }

    /// What CO-RE relocations look for, dossiers must look for as well.
    #[test]
    fn every_relocated_field_is_in_dossiers() {
        for object in of_all_objects().unwrap() {
            for (structure, fields) in &object.needs.fields {
                let wanted = WANTED_FIELDS.iter().find(|(wanted, _)| wanted == structure);
                let wanted = wanted.map_or(&[][..], |(_, wanted)| wanted);
                let lacking: Vec<_> =
                    fields.iter().filter(|field| !wanted.contains(&field.as_str())).collect();
                assert!(lacking.is_empty(), "add {structure}: {lacking:?} to core/src/facts.rs");
            }
        }
    }

    /// What has only a number here is not tried for dossiers.
    #[test]
    fn every_helper_and_map_type_has_a_name() {
        for object in of_all_objects().unwrap() {
            let names = object.needs.helpers.iter().chain(&object.needs.maps);
            let unknown: Vec<_> = names.filter(|name| name.starts_with('#')).collect();
            assert!(unknown.is_empty(), "add {unknown:?} to core/src/bpf.rs");
        }
    }
}
