//! The compiled programs.

use kernlab_core::{plan::BufferKind, tracer::Tracer};

/// Tracer, buffer, object.
static OBJECTS: &[(&str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/objects.rs"));

/// The ELF object with the programs of `tracer` that write into `buffer`.
pub fn object(tracer: Tracer, buffer: BufferKind) -> &'static [u8] {
    let wanted = (tracer.name(), buffer.name());
    OBJECTS
        .iter()
        .find(|&&(tracer, buffer, _)| (tracer, buffer) == wanted)
        .map(|&(.., object)| object)
        .unwrap_or_else(|| panic!("build.rs compiles every variant, {wanted:?} included"))
}

#[cfg(test)]
mod tests {
    use aya_obj::{Object, generated::bpf_map_type};
    use rstest::rstest;

    use super::*;
    use crate::check;

    #[rstest]
    #[case(BufferKind::Ring, bpf_map_type::BPF_MAP_TYPE_RINGBUF)]
    #[case(BufferKind::Perf, bpf_map_type::BPF_MAP_TYPE_PERF_EVENT_ARRAY)]
    fn objects_write_into_their_buffer(#[case] buffer: BufferKind, #[case] events: bpf_map_type) {
        for tracer in Tracer::all() {
            let object = Object::parse(object(tracer, buffer)).unwrap();
            assert_eq!(object.license.to_str(), Ok("Dual MIT/GPL"), "{tracer}");
            assert_eq!(object.maps["events"].map_type(), events as u32, "{tracer}");
        }
    }

    #[rstest]
    fn objects_suit_old_verifiers(
        #[values(BufferKind::Ring, BufferKind::Perf)] buffer: BufferKind,
    ) {
        for tracer in Tracer::all() {
            for program in check::check(object(tracer, buffer)).unwrap() {
                // None of them is complicated: growth by a factor would be an accident.
                assert!(program.instructions < 512, "{tracer}: {program:?}");
            }
        }
    }
}
