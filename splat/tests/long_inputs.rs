//! No text takes long, however it was made: guests write it.

use std::time::{Duration, Instant};

use kernlab_splat::scan;
use rstest::rstest;

/// How long each input is.
const BYTES: usize = 4 << 20;

/// How long one may take. A test's build takes some seconds at most for what is linear; what is
/// quadratic takes minutes.
const DEADLINE: Duration = Duration::from_secs(40);

fn repeated(part: &str) -> String {
    part.repeat(BYTES / part.len() + 1)
}

#[rstest]
#[case::carriage_returns("\r")]
#[case::zeroes("\0")]
#[case::carriage_returns_and_zeroes("\r\0")]
#[case::carriage_returns_behind_text("a\r")]
#[case::escapes("\u{1b}")]
#[case::open_sequences("\u{1b}[")]
#[case::open_commands("\u{1b}]")]
#[case::colours("\u{1b}[0m")]
#[case::one_long_line("a")]
#[case::one_long_line_of_brackets("[")]
#[case::one_long_line_of_digits("[1")]
#[case::one_long_line_of_times("[    1.000000] ")]
#[case::empty_lines("\n")]
#[case::prefixes("[    1.000000]\n")]
#[case::prefixes_with_levels("<4>[    1.000000] x\n")]
#[case::callers("[    1.000000][   T1] x\n")]
#[case::dates("Nov 28 04:13:33 hostx kernel: \n")]
#[case::bracketed_dates("[Sat Nov 28 04:13:33 2026] x\n")]
#[case::words("a b c d e f\n")]
#[case::half_prefixes("[    1.00\n")]
#[case::half_headlines("BUG: \n")]
#[case::headlines("BUG: x\n")]
#[case::headlines_on_one_line("[    1.000000] BUG: x")]
#[case::warnings("WARNING: x\n")]
#[case::panics("Kernel panic - not syncing: x\n")]
#[case::waits("unregister_netdevice: waiting for lo to become free.\n")]
#[case::stalls("rcu: rcu_sched kthread starved for 1 jiffies!\n")]
#[case::announcements("unchecked MSR access error: x\n")]
#[case::memory("x invoked oom-killer: gfp_mask=\n")]
#[case::faults("Oops: 0000 [#1]\n")]
#[case::counters("[#1")]
#[case::locks(" at: ")]
#[case::frames("a+0x1/0x2\n")]
#[case::arrows(" from ")]
#[case::known_lines("1 x Call Trace:\n")]
#[case::known_words("Call Trace:")]
#[case::json("{\"MESSAGE\":\"BUG: x\"}\n")]
#[case::json_on_one_line("{\"MESSAGE\":\"x\"}")]
#[case::open_json("{\"MESSAGE\":\n")]
#[case::quotes("{\"\":\"")]
#[case::backslashes("{\"MESSAGE\":\"\\\\\n")]
#[case::fields("MESSAGE=x\n")]
#[case::not_ascii("é")]
fn no_repeated_text_takes_long(#[case] part: &str) {
    ends_in_time(repeated(part).as_bytes());
}

/// A headline of another task each time, so that none ends the one before.
#[rstest]
#[case::unconfirmed("BUG: x")]
#[case::confirmed("BUG: KASAN: use-after-free in a+0x1/0x2")]
#[case::announced("unchecked MSR access error: x")]
#[case::following("Oops: 0000 [#1] SMP")]
fn no_headlines_of_many_tasks_take_long(#[case] text: &str) {
    let lines =
        (0..BYTES / (text.len() + 30)).map(|task| format!("[    1.000000][T{task}] {text}\n"));
    ends_in_time(lines.collect::<String>().as_bytes());
}

#[test]
fn no_record_with_the_rest_of_the_buffer_takes_long() {
    let line = "\\n<4>[    1.000000] x";
    let record = format!("{{\"msg\":\"a{}\"}}\n", line.repeat(1000));
    ends_in_time(record.repeat(BYTES / record.len() + 1).as_bytes());
}

fn ends_in_time(log: &[u8]) {
    let began = Instant::now();
    let _ = scan(log);
    let took = began.elapsed();
    assert!(took < DEADLINE, "{took:?}");
}
