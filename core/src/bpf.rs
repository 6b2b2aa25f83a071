//! Names of what BPF programs need of a kernel: include/uapi/linux/bpf.h.

/// Helpers by number and name, without `bpf_`: those that tracers may want.
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

/// Map types by number and name.
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

/// The name of a helper: of one that is not in the list, its number.
pub fn helper_name(number: u32) -> String {
    name_in(HELPERS, number)
}

/// The name of a map type: of one that is not in the list, its number.
pub fn map_type_name(number: u32) -> String {
    name_in(MAP_TYPES, number)
}

fn name_in(names: &[(u32, &str)], number: u32) -> String {
    let known = names.iter().find(|&&(known, _)| known == number);
    known.map_or_else(|| format!("#{number}"), |&(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_here_has_a_number() {
        assert_eq!(helper_name(113), "probe_read_kernel");
        assert_eq!(helper_name(9999), "#9999");
        assert_eq!(map_type_name(27), "ringbuf");
    }
}
