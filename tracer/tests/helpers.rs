//! Which helpers the programs of both backends call. One that reads another clock, or another name, gives the
//! same events in a guest that never sleeps, where a process has one name.

use std::collections::BTreeMap;

use kernlab_core::{needs, plan::BufferKind, tracer::Tracer};

fn helpers(object: &[u8]) -> String {
    let helpers = needs::of_object(object).expect("our objects can be read").helpers;
    helpers.into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn programs_call_what_they_should() {
    let c: BTreeMap<String, &[u8]> = kernlab_libbpf::embedded_objects().collect();
    let mut listing = String::new();
    for tracer in Tracer::all() {
        for buffer in [BufferKind::Ring, BufferKind::Perf] {
            let name = format!("{tracer}.{}", buffer.name());
            let of_c = helpers(c[&format!("{name}.layout")]);
            assert_eq!(helpers(kernlab_aya::object(tracer, buffer)), of_c, "{name}");
            listing += &format!("{name}: {of_c}\n");
        }
    }
    insta::assert_snapshot!(listing);
}
