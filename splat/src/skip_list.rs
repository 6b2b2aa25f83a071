//! Functions that are in many traces and to blame in none.

use std::sync::LazyLock;

/// Whether a function serves others too much to name a splat.
///
/// `also` are the patterns of one sort of splat; a pattern is a part of a name, its beginning after
/// `^`, its end before `$`.
pub(crate) fn is_plumbing(function: &str, also: &[&str]) -> bool {
    PLUMBING.iter().chain(also).any(|pattern| matches(pattern, function))
}

/// Whether a function's name fits a pattern.
pub(crate) fn matches(pattern: &str, function: &str) -> bool {
    match (pattern.strip_prefix('^'), pattern.strip_suffix('$')) {
        (Some(_), Some(_)) => &pattern[1..pattern.len() - 1] == function,
        (Some(beginning), None) => function.starts_with(beginning),
        (None, Some(end)) => function.ends_with(end),
        (None, None) => function.contains(pattern),
    }
}

/// Patterns, taken apart once.
type Patterns = LazyLock<Vec<&'static str>>;

fn patterns(groups: &[&'static str]) -> Vec<&'static str> {
    groups.iter().flat_map(|group| group.split_whitespace()).collect()
}

static PLUMBING: Patterns = LazyLock::new(|| patterns(&GROUPS));

const GROUPS: [&str; 10] =
    [REPORTERS, TRAPS, LOCKS, ALLOCATORS, MEMORY, ATOMICS, PRINTING, STRUCTURES, DEVICES, DEFERRED];

/// What looks for trouble, and what reports it.
const REPORTERS: &str = "\
    __asan hwasan kasan __msan kmsan kcsan_setup_watchpoint __sanitizer __tsan kfence_ ubsan \
    check_memory_region check_heap_object check_object check_region_inline read_word_at_a_time \
    read_once_word_nocheck read_once_size_nocheck write_once_size_nocheck \
    print_address_description print_report print_usage_bug print_circular_bug should_fail \
    print_unlock print_tainted ^get_taint$ panic dump_stack show_stack walk_stack dump_backtrace \
    stack_trace_save stack_trace_consume_entry arch_stack_walk warn_slowpath __warn warn_alloc \
    warn_bogus report_bug fixup_bug assertfail __fortify_report fortify_panic debug_object \
    debug_check_no ref_tracker imbalance_bug seqprop_assert __might_resched __might_sleep \
    might_sleep ^cond_resched ^_cond_resched ^__cond_resched ^dynamic_cond_resched \
    ^__SCT__cond_resched might_fault perf_trace trace_event_raw trace_hardirq trace_softirq \
    lockdep_hardirq lockdep_softirq timer_is_static_object work_is_static_object __phys_addr \
    __virt_to_phys cleanup_srcu_struct cfi_failure cfi_slowpath cfi_check";

/// How the processor gets from the trouble to its report.
const TRAPS: &str = "\
    invalid_op do_error _trap$ do_trap program_check_exception program_check_common \
    do_kernel_fault do_translation_fault do_mem_abort el1_abort ^el1h_64_sync ^el1_dbg$ \
    ^el1_sync ^die$ ^__die$ ^oops_end$ ^oops_begin$ ^no_context$ ^bad_area ^__bad_area \
    ^__switch_to$ ^page_fault_oops$ ^exc_invalid_op ^handle_bug$ ^asm_exc_ ^exc_";

/// Locks, and lockdep: kernel/locking/lockdep.c.
const LOCKS: &str = "\
    ^check_noncircular$ ^check_prev_add$ ^check_prevs_add$ ^check_irq_usage$ ^check_deadlock$ \
    ^validate_chain$ ^valid_state$ ^mark_usage$ ^print_deadlock_bug$ ^print_bad_irq_dependency$ \
    ^print_irq_inversion_bug$ ^rtlock_slowlock ^schedule_rtlock$ ^__rt_mutex_ ^rt_slowlock ^rwbase_ \
    lockdep lock_acquire lock_release lock_class mark_lock mark_held_locks reacquire_held_locks \
    spin_lock spin_trylock spin_unlock read_lock read_trylock read_unlock write_lock \
    write_trylock write_unlock raw_spin_rq ^down$ down_read down_write down_trylock up_read \
    up_write ^mutex_ ^__mutex_ ^rt_mutex_ owner_on_cpu osq_lock osq_unlock bh_enable bh_disable \
    ^lock_page ^unlock_page ^__lock_page lock_timer_base";

/// What hands out memory.
const ALLOCATORS: &str = "\
    malloc kzalloc vzalloc kcalloc alloc_page krealloc kmem_cache allocate_slab \
    __alloc_frozen_pages slab_ ^kfree$ ^kvfree$ kfree_skb folio_alloc folio_unlock \
    filemap_alloc_folio __filemap_get_folio find_or_create_page do_read_cache_folio \
    read_cache_page pagecache_get_page grab_cache_page_write_begin find_lock_entries \
    truncate_inode_pages_range ^ida_free$";

/// What copies and compares memory for others.
const MEMORY: &str = "\
    memcpy memcmp memset memchr memmove memdup strcmp strncmp strcpy strlcpy strncpy strscpy \
    strlen strstr strnstr strnlen strchr strdup strndup copy_to_user copy_from_user copy_to_iter \
    copy_from_iter copy_page_to_iter copy_page_from_iter copy_folio_to_iter ^copyin$ ^copyout$ \
    put_user get_user extract_user_to_sg extract_iter_to_sg ^readb$ ^readw$ ^readl$ ^readq$ \
    ^__raw_read ^__raw_write writeb$ writew$ writel$ writeq$ logic_in logic_out ^crc16 ^crc32 \
    ^crc64 ^crc_ crc_itu_t _indirect_thunk_";

/// Operations on a word.
const ATOMICS: &str = "\
    ^atomic_read ^atomic_set ^atomic_add ^atomic_sub ^atomic_inc ^atomic_dec ^atomic_and ^atomic_or \
    ^atomic_xor ^atomic_fetch ^atomic_xchg ^atomic_cmpxchg ^atomic_try_cmpxchg ^atomic_cond_read \
    ^_atomic_dec_and_ ^atomic_long_ ^atomic64_ ^arch_atomic ^raw_atomic ^instrument_atomic ^__atomic ^___atomic \
    ^__lse_atomic ^__ll_sc_atomic _bit$ ^refcount_ ^kref_ ^drop_nlink$";

/// What makes and prints text.
const PRINTING: &str = "\
    string pointer snprintf scnprintf kasprintf kvasprintf printk va_format dev_info dev_notice \
    dev_warn dev_err dev_alert dev_crit dev_emerg hex_dump_to_buffer print_hex_dump";

/// Lists, trees, and objects that are counted for others.
const STRUCTURES: &str = "\
    list_add list_del list_replace list_move list_splice ^klist_ ^rb_ ^__rb_ xas_start xas_load \
    xas_find rhashtable_lookup ^iput$ ^iput_final$ ^ihold$ dput ^put_device$ mark_buffer_dirty";

/// The driver core, on behalf of drivers.
const DEVICES: &str = "\
    kobject_ add_uevent_var get_device_parent device_add device_del device_unregister \
    device_destroy device_release devres_release_all device_for_each_child device_remove_file \
    hwrng_unregister i2c_del_adapter __unregister_client rollback_registered unregister_netdev \
    sysfs_remove tty_unregister_device dummy_urb_enqueue usb_kill_urb usb_kill_anchored_urbs \
    usb_control_msg usb_hcd_submit_urb usb_submit_urb";

/// Timers, work and waiting.
const DEFERRED: &str = "\
    del_timer flush_work __cancel_work cancel_work_sync try_to_grab_pending drain_workqueue \
    destroy_workqueue queue_work insert_work queue_delayed_work finish_wait kthread_stop \
    ^complete$ wait_for_completion __wake_up __timer_delete_sync sk_stop_timer_sync __mod_timer";

/// Where the kernel is entered, and the loops that call others' functions: the function above one of
/// these is what ran for too long.
pub(crate) fn is_entry(function: &str) -> bool {
    static PATTERNS: Patterns = LazyLock::new(|| patterns(&[ENTRIES, SYSTEM_CALLS]));
    PATTERNS.iter().any(|pattern| matches(pattern, function))
}

/// Where the kernel is entered, and its loops over work, timers and packets.
const ENTRIES: &str = "\
    process_one_work do_syscall_ do_fast_syscall_ do_int80_syscall sysenter_dispatch \
    tracesys_phase2 do_trap_ecall_u el0_svc_handler el0_svc_common invoke_syscall ret_fast_syscall \
    system_call_exception netif_receive_skb do_softirq handle_softirqs call_timer_fn _run_timers \
    run_timer_softirq hrtimer_run run_ksoftirqd smpboot_thread_fn ^kthread$ start_secondary \
    cpu_startup_entry ret_from_fork tasklet_action tasklet_hi_action task_work_run \
    exit_to_usermode exit_to_user_mode smp_call_function";

/// What many system calls have in common, so that the function they call says more.
const SYSTEM_CALLS: &str = "\
    vfs_write vfs_read vfs_iter_read vfs_iter_write do_iter_read do_iter_write call_read_iter \
    call_write_iter new_sync_read new_sync_write vfs_ioctl ksys_ioctl compat_ioctl \
    compat_sys_ioctl blkdev_driver_ioctl blkdev_ioctl ^call_mmap mmap_region do_mmap \
    do_dentry_open vfs_open __fput ^sock_sendmsg ^sock_recvmsg ^sock_release ^__sock_release \
    ^setsockopt$ kernel_setsockopt sock_common_setsockopt ^listen$ kernel_listen \
    sk_common_release ^sock_mmap ^accept$ kernel_accept ^sock_do_ioctl ^sock_ioctl \
    ^compat_sock_ioctl ^nfnetlink_rcv_msg ^rtnetlink_rcv_msg ^netlink_dump ^socketpair \
    ^sys_socketpair ^connect ^sys_connect ^ioctl ^sys_ioctl __do_fault do_page_fault ^page_fault$";

/// What a task waits in, whatever for.
pub(crate) fn waits(function: &str) -> bool {
    const WAITING: &[&str] = &[
        "sched",
        "_lock",
        "_slowlock",
        "down",
        "rwsem",
        "completion",
        "kthread",
        "wait",
        "synchronize",
        "context_switch",
        "__switch_to",
        "cancel_delayed_work",
        "rcu_barrier",
    ];
    WAITING.iter().any(|pattern| matches(pattern, function))
}

/// A system call's function without what the architecture puts in front of it: `__x64_sys_bpf` is
/// `sys_bpf`.
pub(crate) fn without_call_prefix(function: &str) -> &str {
    const MARKS: [&str; 15] = [
        "SYSC_",
        "SyS_",
        "sys_",
        "__x64_",
        "__ia32_",
        "__arm64_",
        "____sys_",
        "___sys_",
        "__sys_",
        "__se_sys_",
        "__se_",
        "__do_sys_",
        "compat_SYSC_",
        "compat_SyS_",
        "ksys_",
    ];
    let name = MARKS.iter().find_map(|mark| function.strip_prefix(mark));
    name.filter(|name| !name.is_empty()).unwrap_or(function)
}
