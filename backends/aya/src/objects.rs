//! The compiled programs.

use aya::include_bytes_aligned;
use kernlab_abi::{CallEvent, InotifyEvent, SysWriteEvent};
use kernlab_core::{plan::BufferKind, scenario::Tracer};

macro_rules! built {
    ($name:literal) => {
        include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

/// The ELF object with the programs of `tracer` that write into `buffer`.
pub fn object(tracer: Tracer, buffer: BufferKind) -> &'static [u8] {
    match (tracer, buffer) {
        (Tracer::SysWrite, BufferKind::Ring) => built!("sys_write.ring.o"),
        (Tracer::SysWrite, BufferKind::Perf) => built!("sys_write.perf.o"),
        (Tracer::Inotify, BufferKind::Ring) => built!("inotify.ring.o"),
        (Tracer::Inotify, BufferKind::Perf) => built!("inotify.perf.o"),
        (Tracer::ManyArgs, BufferKind::Ring) => built!("many_args.ring.o"),
        (Tracer::ManyArgs, BufferKind::Perf) => built!("many_args.perf.o"),
    }
}

/// Bytes of an event of `tracer`.
pub(crate) fn event_size(tracer: Tracer) -> usize {
    match tracer {
        Tracer::SysWrite => size_of::<SysWriteEvent>(),
        Tracer::Inotify => size_of::<InotifyEvent>(),
        Tracer::ManyArgs => size_of::<CallEvent>(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aya_obj::{Object, generated::bpf_map_type};
    use rstest::rstest;

    use super::*;
    use crate::check;

    #[rstest]
    #[case(Tracer::SysWrite, &["sys_enter_write", "sys_exit_write"], Some("pending"))]
    #[case(Tracer::Inotify, &["inotify_rename"], Some("scratch"))]
    #[case(Tracer::ManyArgs, &["function_call"], Some("scratch"))]
    fn objects_hold_what_plans_name(
        #[case] tracer: Tracer,
        #[case] programs: &[&str],
        #[case] own_map: Option<&str>,
        #[values(BufferKind::Ring, BufferKind::Perf)] buffer: BufferKind,
    ) {
        let object = Object::parse(object(tracer, buffer)).unwrap();
        assert_eq!(object.license.to_str(), Ok("Dual MIT/GPL"));
        let found: BTreeSet<_> = object.programs.keys().map(String::as_str).collect();
        assert_eq!(found, programs.iter().copied().collect());
        let found: BTreeSet<_> = object.maps.keys().map(String::as_str).collect();
        assert_eq!(found, ["config", "emitted", "events"].into_iter().chain(own_map).collect());
        let kind = match buffer {
            BufferKind::Ring => bpf_map_type::BPF_MAP_TYPE_RINGBUF,
            BufferKind::Perf => bpf_map_type::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        };
        assert_eq!(object.maps["events"].map_type(), kind as u32);
    }

    #[rstest]
    fn objects_suit_old_verifiers(
        #[values(Tracer::SysWrite, Tracer::Inotify, Tracer::ManyArgs)] tracer: Tracer,
        #[values(BufferKind::Ring, BufferKind::Perf)] buffer: BufferKind,
    ) {
        let programs = check::check(object(tracer, buffer)).unwrap();
        for program in programs {
            // None of them is complicated: growth by a factor would be an accident.
            assert!(program.instructions < 512, "{program:?}");
        }
    }
}
