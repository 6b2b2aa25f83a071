//! The compiled programs.

use kernlab_core::{plan::BufferKind, scenario::Tracer};

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
    use std::collections::BTreeSet;

    use aya_obj::{Object, generated::bpf_map_type};
    use rstest::rstest;

    use super::*;
    use crate::check;

    #[rstest]
    #[case(Tracer::SockAlloc, &["sock_alloc"], &[])]
    #[case(Tracer::SocketWrite, &["socket_write_enter", "socket_write_exit", "socket_write_entry", "socket_write_return"], &["pending"])]
    #[case(
        Tracer::SysWrite,
        &["sys_enter_write", "sys_exit_write", "write_entry", "write_return"],
        &["pending"]
    )]
    #[case(Tracer::Inotify, &["inotify_rename"], &["scratch"])]
    #[case(Tracer::ManyArgs, &["function_call"], &["scratch"])]
    #[case(
        Tracer::Filetop,
        &["transfer_enter", "read_exit", "write_exit", "read_return", "write_return"],
        &["pending", "scratch", "totals"]
    )]
    #[case(
        Tracer::Filelife,
        &["create_allowed", "open_created", "create_enter", "unlink_enter", "unlink_exit"],
        &["births", "pending", "scratch"]
    )]
    #[case(
        Tracer::Syncsnoop,
        &["sys_enter_sync", "sys_enter_syncfs", "sys_enter_fsync", "sys_enter_fdatasync",
          "sys_enter_msync", "sys_enter_sync_file_range"],
        &[]
    )]
    #[case(Tracer::UserArgs, &["user_call", "user_return"], &["pending"])]
    #[case(Tracer::GuardedRead, &["guarded_read", "unguarded_read"], &[])]
    fn objects_hold_what_plans_name(
        #[case] tracer: Tracer,
        #[case] programs: &[&str],
        #[case] own_maps: &[&str],
        #[values(BufferKind::Ring, BufferKind::Perf)] buffer: BufferKind,
    ) {
        let object = Object::parse(object(tracer, buffer)).unwrap();
        assert_eq!(object.license.to_str(), Ok("Dual MIT/GPL"));
        let found: BTreeSet<_> = object.programs.keys().map(String::as_str).collect();
        assert_eq!(found, programs.iter().copied().collect());
        let found: BTreeSet<_> = object.maps.keys().map(String::as_str).collect();
        assert_eq!(
            found,
            ["config", "emitted", "events"].into_iter().chain(own_maps.iter().copied()).collect()
        );
        let kind = match buffer {
            BufferKind::Ring => bpf_map_type::BPF_MAP_TYPE_RINGBUF,
            BufferKind::Perf => bpf_map_type::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        };
        assert_eq!(object.maps["events"].map_type(), kind as u32);
    }

    #[rstest]
    fn objects_suit_old_verifiers(
        #[values(
            Tracer::SysWrite,
            Tracer::SockAlloc,
            Tracer::SocketWrite,
            Tracer::Inotify,
            Tracer::ManyArgs,
            Tracer::Filetop,
            Tracer::Filelife,
            Tracer::Syncsnoop,
            Tracer::UserArgs,
            Tracer::GuardedRead
        )]
        tracer: Tracer,
        #[values(BufferKind::Ring, BufferKind::Perf)] buffer: BufferKind,
    ) {
        let programs = check::check(object(tracer, buffer)).unwrap();
        for program in programs {
            // None of them is complicated: growth by a factor would be an accident.
            assert!(program.instructions < 512, "{program:?}");
        }
    }
}
