//! The compiled objects.

use kernlab_abi::ProgramConfig;
use kernlab_core::{
    backend::BackendError,
    outcome::Reason,
    plan::{BufferKind, TypeSource},
    tracer::Tracer,
};
use libbpf_rs::{MapCore as _, MapImpl, Object};

/// Tracer, buffer, type source, object.
static OBJECTS: &[(&str, &str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/objects.rs"));

/// Every object with a name such as `inotify.ring.core`.
pub fn embedded_objects() -> impl Iterator<Item = (String, &'static [u8])> {
    OBJECTS
        .iter()
        .map(|(tracer, buffer, types, object)| (format!("{tracer}.{buffer}.{types}"), *object))
}

pub(crate) fn embedded(tracer: Tracer, buffer: BufferKind, types: TypeSource) -> &'static [u8] {
    let types = match types {
        TypeSource::Core => "core",
        TypeSource::Layout => "layout",
    };
    let wanted = (tracer.name(), buffer.name(), types);
    OBJECTS
        .iter()
        .find(|&&(tracer, buffer, types, _)| (tracer, buffer, types) == wanted)
        .map(|&(.., object)| object)
        .unwrap_or_else(|| panic!("build.rs compiles every variant, {wanted:?} included"))
}

pub(crate) fn map<'obj>(object: &'obj Object, name: &str) -> Result<MapImpl<'obj>, BackendError> {
    object.maps().find(|map| map.name() == name).ok_or_else(|| BackendError {
        stage: format!("finding the map {name}"),
        reason: Reason::LoadFailed,
        verifier_log: None,
        source: None,
    })
}

pub(crate) fn bytes_of_config(config: &ProgramConfig) -> &[u8] {
    // SAFETY: ProgramConfig is repr(C) without padding (`layout.rs` of kernlab-abi refuses it), so
    // all of them are initialised, and the slice borrows it.
    unsafe {
        std::slice::from_raw_parts(
            std::ptr::from_ref(config).cast(),
            std::mem::size_of::<ProgramConfig>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_the_one_that_is_asked_for() {
        for (buffer, types, name) in [
            (BufferKind::Ring, TypeSource::Core, "inotify.ring.core"),
            (BufferKind::Ring, TypeSource::Layout, "inotify.ring.layout"),
            (BufferKind::Perf, TypeSource::Layout, "inotify.perf.layout"),
        ] {
            let object = embedded(Tracer::by_name("inotify").unwrap(), buffer, types);
            let named = embedded_objects().filter(|(_, other)| *other == object);
            assert_eq!(named.map(|(name, _)| name).collect::<Vec<_>>(), [name]);
        }
    }
}
