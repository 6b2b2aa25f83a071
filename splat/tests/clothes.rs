//! A log has the same splats in whatever form it was recorded.
//!
//! Every case whose lines all have the kernel's time is dressed as tools print it.

use std::{fs, path::Path};

use kernlab_splat::scan;
use rstest::rstest;

/// The messages of a case, without their times.
fn messages(case: &str) -> Option<Vec<&str>> {
    let (_, log) = case.split_once("\n\n").or_else(|| Some(("", case.strip_prefix('\n')?)))?;
    let messages = log.lines().map(|line| {
        let (time, text) = line
            .strip_prefix('[')?
            .split_once("] ")
            .or_else(|| Some((line.strip_prefix('[')?.strip_suffix(']')?, "")))?;
        time.trim().parse::<f64>().ok().map(|_| text)
    });
    messages.collect::<Option<Vec<_>>>().filter(|messages| messages.len() >= 8)
}

/// The cases, each as its name and text.
fn cases() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let groups = fs::read_dir(dir).expect("the directory is there");
    let files = groups.flat_map(|group| {
        let group = group.expect("a directory can be listed").path();
        fs::read_dir(group).expect("cases are in directories")
    });
    let files = files.map(|file| file.expect("a directory can be listed").path());
    let mut cases: Vec<_> = files
        // These are dressed already.
        .filter(|file| !file.parent().is_some_and(|group| group.ends_with("recording")))
        .filter_map(|file| Some((file.display().to_string(), fs::read_to_string(&file).ok()?)))
        .collect();
    cases.sort();
    cases
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Checks all cases in the form that `dress` gives to the line of such a number, which is `lines`
/// lines then.
#[track_caller]
fn all_cases_have_the_same_splats(dress: impl Fn(usize, &str) -> String) {
    let mut tried = 0;
    let mut wrong = String::new();
    for (name, case) in cases() {
        let Some(messages) = messages(&case) else { continue };
        tried += 1;
        let number = |(nth, message): (usize, &&str)| {
            format!("[{:5}.{:06}] {message}\n", 100 + nth / 5, nth)
        };
        let plain: String = messages.iter().enumerate().map(number).collect();
        let dressed: String =
            messages.iter().enumerate().map(|(nth, message)| dress(nth, message)).collect();
        let told = |log: &str| -> Vec<_> {
            scan(log).into_iter().map(|splat| (splat.title, splat.kind, splat.frame)).collect()
        };
        let (plain, dressed_splats) = (told(&plain), told(&dressed));
        if plain != dressed_splats {
            wrong += &format!("\n{name}\n{plain:#?}\n{dressed_splats:#?}\n{dressed}");
        }
    }
    assert!(tried >= 100, "only {tried} cases have times");
    assert!(wrong.is_empty(), "{wrong}");
}

#[rstest]
#[case::human("[Nov28 04:13] ", "[  +0.000021] ")]
#[case::human_in_dutch("[nov28 04:13] ", "[  +0,000021] ")]
#[case::human_in_japanese("[11月28 04:13] ", "[  +0.000021] ")]
#[case::ctime("[Sat Nov 28 04:13:33 2026] ", "")]
#[case::ctime_in_french("[sam. nov. 28 04:13:33 2026] ", "")]
#[case::ctime_in_greek("[Σάβ Νοέ 28 04:13:33 2026] ", "")]
#[case::ctime_in_hindi("[शनि नव. 28 04:13:33 2026] ", "")]
#[case::ctime_and_delta("[Sat Nov 28 04:13:33 2026 <    0.000021>] ", "")]
#[case::decoded_ctime("kern  :warn  : [Sat Nov 28 04:13:33 2026] ", "")]
#[case::decoded_human("kern  :warn  : [  +0,000021] ", "")]
#[case::decoded("kern  :emerg : [   12.345678] ", "")]
#[case::delta("[<    0.000000>] ", "[<    0,000021>] ")]
#[case::time_and_delta("[   12.345678 <    0.000021>] ", "")]
#[case::iso("2026-11-28T04:13:33,123456+00:00 ", "")]
#[case::decoded_iso("kern  :warn  : 2026-11-28T04:13:33,123456+00:00 ", "")]
#[case::raw("<4>[   12.345678] ", "")]
#[case::caller("[   12.345678] [   T314] ", "")]
#[case::ctime_and_caller("[Sat Nov 28 04:13:33 2026] [   T314] ", "")]
#[case::journal("Nov 28 04:13:33 hostx kernel: ", "")]
#[case::journal_in_chinese("11月 28 04:13:33 hostx kernel: ", "")]
#[case::journal_in_vietnamese("Thg 11 28 04:13:33 hostx kernel: ", "")]
#[case::journal_in_arabic("نوفمبر 28 04:13:33 hostx kernel: ", "")]
#[case::journal_without_host("Nov 28 04:13:33 kernel: ", "")]
#[case::journal_precise("Nov 28 04:13:33.123456 hostx kernel: ", "")]
#[case::journal_iso("2026-11-28T04:13:33+00:00 hostx kernel: ", "")]
#[case::journal_iso_precise("2026-11-28T04:13:33.123456+0100 hostx kernel: ", "")]
#[case::journal_full("sam. 2026-11-28 04:13:33 CET hostx kernel: ", "")]
#[case::journal_unix("1741000000.123456 hostx kernel: ", "")]
#[case::journal_monotonic("[   12.345678] hostx kernel: ", "")]
#[case::journal_delta("[   12.345678 <    0.000021 >] hostx kernel: ", "")]
#[case::cat("", "")]
#[case::talosctl("192.0.2.21: kern: warning: [2024-11-08T06:22:31.123456789Z]: ", "")]
#[case::talosctl_of_one_node("kern:     err: [2024-11-08T06:22:31.123456789Z]: ", "")]
#[case::rfc3164("<4>Nov 28 04:13:33 hostx kernel: ", "")]
#[case::rfc5424("<4>1 2025-03-03T12:34:56.123456+01:00 hostx kernel - - - ", "")]
#[case::rfc5424_with_data(
    "<4>1 2025-03-03T12:34:56Z hostx kernel - - [meta sequenceId=\"1\"] ",
    ""
)]
#[case::busybox("Jan  1 00:00:00 hostx kern.warn kernel: ", "")]
#[case::openwrt("Sat Nov 28 04:13:33 2026 kern.warn kernel: ", "")]
#[case::terminal("[12:34:56] ", "")]
#[case::logger_of_a_container("2025-03-03T12:34:56.789Z stderr F [   12.345678] ", "")]
#[case::ctime_in_a_job("2025-03-03T12:34:56.1234567Z [Sat Nov 28 04:13:33 2026] ", "")]
#[case::human_in_a_job(
    "2025-03-03T12:34:56.1234567Z [Nov28 04:13] ",
    "2025-03-03T12:34:56.1234567Z [  +0.000021] "
)]
#[case::iso_in_a_job("2025-03-03T12:34:56.1234567Z 2026-11-28T04:13:33,123456+00:00 ", "")]
#[case::ctime_in_brackets_of_a_job("[2025-03-03T12:34:56.123Z] [Sat Nov 28 04:13:33 2026] ", "")]
#[case::ctime_of_a_step("build\tDump dmesg\t2025-03-03T12:34:56Z [Sat Nov 28 04:13:33 2026] ", "")]
#[case::ctime_in_a_container("2025-03-03T12:34:56.789Z stdout F [Sat Nov 28 04:13:33 2026] ", "")]
#[case::container("2025-03-03T12:34:56.789Z stdout F ", "")]
#[case::ctime_of_a_composed_container("vm-1  | [Sat Nov 28 04:13:33 2026] ", "")]
#[case::python("2025-03-03 12:34:56,123 - console - INFO - [   12.345678] ", "")]
#[case::python_without_times("2025-03-03 12:34:56,123 - qemu.console - DEBUG - ", "")]
#[case::grep("messages:Nov 28 04:13:33 hostx kernel: ", "")]
#[case::grep_with_lines("messages.1:12:Nov 28 04:13:33 hostx kernel: ", "")]
#[case::ctime_with_lines("12:[Sat Nov 28 04:13:33 2026] ", "")]
#[case::remote_syslog("Nov 28 04:13:34 192.0.2.21 Nov 28 04:13:33 hostx kernel: ", "")]
fn prefixes_change_nothing(#[case] first: &str, #[case] others: &str) {
    all_cases_have_the_same_splats(|nth, message| {
        let prefix = if nth % 6 == 0 || others.is_empty() { first } else { others };
        format!(
            "{}{message}\n",
            prefix.replace("12.345678", &format!("{}.{nth:06}", 100 + nth / 5))
        )
    });
}

#[test]
fn dmesg_json_changes_nothing() {
    all_cases_have_the_same_splats(|nth, message| {
        let begin = if nth == 0 { "{\n   \"dmesg\": [\n      {\n" } else { "      },{\n" };
        format!(
            "{begin}         \"pri\": 4,\n         \"time\":    12.345699,\n         \"msg\": {}\n",
            json(message)
        )
    });
}

#[rstest]
#[case::journal(
    "{\"_TRANSPORT\":\"kernel\",\"SYSLOG_FACILITY\":\"0\",\"MESSAGE\":TEXT,\"PRIORITY\":\"4\"}\n"
)]
#[case::pretty(
    "{\n\t\"SYSLOG_IDENTIFIER\" : \"kernel\",\n\t\"MESSAGE\" : TEXT,\n\t\"_TRANSPORT\" : \"kernel\"\n}\n"
)]
#[case::sequence("\u{1e}{\"_TRANSPORT\":\"kernel\",\"MESSAGE\":TEXT}\n")]
#[case::events("data: {\"_TRANSPORT\":\"kernel\",\"MESSAGE\":TEXT}\n\n")]
#[case::docker("{\"log\":TEXT,\"stream\":\"stdout\",\"time\":\"2025-03-03T12:34:56Z\"}\n")]
#[case::syslog("{\"facility\":\"kern\",\"syslog-tag\":\"kernel:\",\"message\":TEXT}\n")]
#[case::lava("- {\"dt\": \"2025-03-03T12:34:56.000000\", \"lvl\": \"target\", \"msg\": TEXT}\n")]
fn json_changes_nothing(#[case] record: &str) {
    all_cases_have_the_same_splats(|_, message| record.replace("TEXT", &json(message)));
}

#[rstest]
#[case::export("__CURSOR=x\n_TRANSPORT=kernel\nSYSLOG_FACILITY=0\nMESSAGE=TEXT\n\n")]
#[case::verbose(
    "Sat 2026-11-28 04:13:33.123456 UTC [s=x]\n    _TRANSPORT=kernel\n    SYSLOG_FACILITY=0\n    PRIORITY=4\n    MESSAGE=TEXT\n"
)]
fn fields_of_the_journal_change_nothing(#[case] record: &str) {
    all_cases_have_the_same_splats(|_, message| record.replace("TEXT", message));
}

/// What programs print in the same forms is not the kernel's word.
#[rstest]
#[case::decoded("user  :warn  : [Sat Nov 28 04:13:33 2026] TEXT\n")]
#[case::journal("11月 28 04:13:33 hostx acmed[411]: TEXT\n")]
#[case::journal_unix("1741000000.123456 hostx acmed[411]: TEXT\n")]
#[case::talosctl("user: warning: [2024-11-08T06:22:31.123456789Z]: TEXT\n")]
#[case::rfc3164("<12>Nov 28 04:13:33 hostx acmed[411]: TEXT\n")]
#[case::rfc5424("<12>1 2025-03-03T12:34:56Z hostx acmed 411 - - TEXT\n")]
#[case::rfc5424_without_a_number("<12>1 2025-03-03T12:34:56Z hostx acmed - - - TEXT\n")]
#[case::remote_syslog("Nov 28 04:13:34 192.0.2.21 Nov 28 04:13:33 hostx acmed[411]: TEXT\n")]
#[case::grep("messages:12:Nov 28 04:13:33 hostx acmed[411]: TEXT\n")]
#[case::journal_json("{\"_TRANSPORT\":\"stdout\",\"_PID\":\"411\",\"MESSAGE\":\"TEXT\"}\n")]
#[case::syslog_json(
    "{\"facility\":\"user\",\"syslog-tag\":\"acmed[411]:\",\"message\":\"TEXT\"}\n"
)]
#[case::vector("{\"appname\":\"acmed\",\"facility\":\"daemon\",\"message\":\"TEXT\"}\n")]
#[case::lava("- {\"dt\": \"2025-03-03T12:34:56.000000\", \"lvl\": \"info\", \"msg\": \"TEXT\"}\n")]
#[case::written_to_kmsg(
    "{\"_TRANSPORT\":\"kernel\",\"SYSLOG_FACILITY\":\"1\",\"MESSAGE\":\"TEXT\"}\n"
)]
#[case::dmesg_json("{\n   \"pri\": 12,\n   \"msg\": \"TEXT\"\n}\n")]
#[case::export("__CURSOR=x\n_PID=411\nSYSLOG_FACILITY=3\nMESSAGE=TEXT\n\n")]
fn programs_never_splat(#[case] form: &str) {
    let log = include_str!("cases/recording/dmesg_human_months.txt");
    let log = log.split_once("\n\n").expect("a case has a head").1;
    let text = |line: &'static str| line.split_once("] ").map_or(line, |(_, text)| text);
    let dressed: String = log.lines().map(|line| form.replace("TEXT", text(line))).collect();
    assert_eq!(scan(dressed), []);
}
