//! Names of what BPF programs need of a kernel: include/uapi/linux/bpf.h.

mod names;

use self::names::{ALL_HELPERS, ALL_MAP_TYPES};

/// Helpers by number and name, without `bpf_`: those that tracers may want, and that dossiers tell of.
pub const HELPERS: &[(u32, &str)] = &[
    (1, "map_lookup_elem"),
    (2, "map_update_elem"),
    (3, "map_delete_elem"),
    (4, "probe_read"),
    (5, "ktime_get_ns"),
    (6, "trace_printk"),
    (8, "get_smp_processor_id"),
    (12, "tail_call"),
    (14, "get_current_pid_tgid"),
    (15, "get_current_uid_gid"),
    (16, "get_current_comm"),
    (25, "perf_event_output"),
    (27, "get_stackid"),
    (35, "get_current_task"),
    (45, "probe_read_str"),
    (80, "get_current_cgroup_id"),
    (112, "probe_read_user"),
    (113, "probe_read_kernel"),
    (114, "probe_read_user_str"),
    (115, "probe_read_kernel_str"),
    (125, "ktime_get_boot_ns"),
    (130, "ringbuf_output"),
    (131, "ringbuf_reserve"),
    (132, "ringbuf_submit"),
    (133, "ringbuf_discard"),
    (134, "ringbuf_query"),
    (158, "get_current_task_btf"),
    (164, "for_each_map_elem"),
    (173, "get_func_ip"),
    (174, "get_attach_cookie"),
    (175, "task_pt_regs"),
    (181, "loop"),
];

/// Map types by number and name: those that dossiers tell of.
pub const MAP_TYPES: &[(u32, &str)] = &[
    (1, "hash"),
    (2, "array"),
    (3, "prog_array"),
    (4, "perf_event_array"),
    (5, "percpu_hash"),
    (6, "percpu_array"),
    (7, "stack_trace"),
    (9, "lru_hash"),
    (10, "lru_percpu_hash"),
    (27, "ringbuf"),
    (30, "bloom_filter"),
];

/// Program types by number and name.
pub const PROGRAM_TYPES: &[(u32, &str)] = &[
    (1, "socket_filter"),
    (2, "kprobe"),
    (3, "sched_cls"),
    (4, "sched_act"),
    (5, "tracepoint"),
    (6, "xdp"),
    (7, "perf_event"),
    (8, "cgroup_skb"),
    (9, "cgroup_sock"),
    (10, "lwt_in"),
    (11, "lwt_out"),
    (12, "lwt_xmit"),
    (13, "sock_ops"),
    (14, "sk_skb"),
    (15, "cgroup_device"),
    (16, "sk_msg"),
    (17, "raw_tracepoint"),
    (18, "cgroup_sock_addr"),
    (19, "lwt_seg6local"),
    (20, "lirc_mode2"),
    (21, "sk_reuseport"),
    (22, "flow_dissector"),
    (23, "cgroup_sysctl"),
    (24, "raw_tracepoint_writable"),
    (25, "cgroup_sockopt"),
    (26, "tracing"),
    (27, "struct_ops"),
    (28, "ext"),
    (29, "lsm"),
    (30, "sk_lookup"),
    (31, "syscall"),
    (32, "netfilter"),
];

/// The name of a helper, without `bpf_`: of one that is newer than the list, its number.
pub fn helper_name(number: u32) -> String {
    name_at(ALL_HELPERS, number)
}

/// The name of a map type: of one that is newer than the list, its number.
pub fn map_type_name(number: u32) -> String {
    name_at(ALL_MAP_TYPES, number)
}

/// The name of a program type: of one that is newer than the list, its number.
pub fn program_type_name(number: u32) -> String {
    let known = PROGRAM_TYPES.iter().find(|&&(known, _)| known == number);
    known.map_or_else(|| format!("#{number}"), |&(_, name)| name.to_owned())
}

/// One more than the number of the newest helper that has a name here.
pub fn helper_count() -> u32 {
    ALL_HELPERS.len() as u32
}

/// One more than the number of the newest map type that has a name here.
pub fn map_type_count() -> u32 {
    ALL_MAP_TYPES.len() as u32
}

/// The number of a helper that is named without `bpf_`.
pub fn helper_number(name: &str) -> Option<u32> {
    number_of(ALL_HELPERS, name)
}

/// The number of a map type.
pub fn map_type_number(name: &str) -> Option<u32> {
    number_of(ALL_MAP_TYPES, name)
}

fn name_at(names: &[&str], number: u32) -> String {
    let known = names.get(number as usize);
    known.map_or_else(|| format!("#{number}"), |&name| name.to_owned())
}

fn number_of(names: &[&str], name: &str) -> Option<u32> {
    names.iter().position(|known| *known == name).map(|number| number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_here_has_a_number() {
        assert_eq!(helper_name(113), "probe_read_kernel");
        assert_eq!(helper_name(9999), "#9999");
        assert_eq!(map_type_name(27), "ringbuf");
        assert_eq!(program_type_name(26), "tracing");
        assert_eq!(program_type_name(9999), "#9999");
    }

    #[test]
    fn what_dossiers_tell_of_has_the_same_name_everywhere() {
        for &(number, name) in HELPERS {
            assert_eq!((helper_name(number).as_str(), helper_number(name)), (name, Some(number)));
        }
        for &(number, name) in MAP_TYPES {
            assert_eq!(
                (map_type_name(number).as_str(), map_type_number(name)),
                (name, Some(number))
            );
        }
    }
}
