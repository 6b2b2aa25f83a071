//! What a hostile program of a guest does to the host: the rows of `vmtest/tests/all/hostile.rs` and
//! `vmtest/tests/all/broken.rs`.
//!
//! A program of a guest is root there, so it can do whatever the agent can. It does not need to ask:
//! it stops the agent and speaks in its place.

use std::{
    fs::{self, File},
    io::{self, Write},
    thread,
    time::Duration,
};

use kernlab_proto::{Exit, GuestMessage, Hello, HostMessage, Piece, RunReport, Stream, checksum};

use crate::{
    arch,
    takeover::{Takeover, ended_well, frame, sleep_for_ever},
};

/// Text that does something to a terminal, if it gets there: it clears the screen, sets the title, and
/// reverses what follows.
const ACTS: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r";
/// The largest payload of a frame.
const LIMIT: u32 = 128 << 10;

/// Misbehaves in this way as a program of a guest.
pub(crate) fn program(way: &str) -> io::Result<()> {
    // What needs no port.
    match way {
        "console-flood" => return flood(File::options().write(true).open(arch::CONSOLE)?, 1 << 20),
        "console-text" => return fs::write(arch::CONSOLE, format!("{ACTS}\r\nowned\r\n")),
        "frames-on-the-console" => {
            return fs::write(arch::CONSOLE, frame(&GuestMessage::Exited(ended_well()))?);
        }
        "kernel-log-flood" => return kernel_log_flood(),
        "resets" => return fs::write("/proc/sysrq-trigger", "b"),
        _ => {}
    }
    let mut host = Takeover::seize()?;
    match way {
        // No frames.
        "text" => host.send_raw(b"[    1.000000] Linux version 6.1\n")?,
        "endless-bytes" => loop {
            host.send_raw(&[b'A'; 4096])?;
        },
        "half-a-frame" => host.send_raw(&frame(&GuestMessage::Exited(ended_well()))?[..17])?,
        "frame-of-the-limit" => host.send_raw(&framed(LIMIT, &[0; LIMIT as usize]))?,
        "frame-above-the-limit" => host.send_raw(&framed(LIMIT + 1, &[]))?,
        "frame-of-4-gib" => host.send_raw(&framed(u32::MAX, &[]))?,
        "damaged-frame" => {
            let mut bytes = frame(&GuestMessage::Exited(ended_well()))?;
            *bytes.last_mut().unwrap_or(&mut 0) ^= 1;
            host.send_raw(&bytes)?;
        }
        "other-version" => {
            let mut bytes = frame(&GuestMessage::Done)?;
            bytes[4] ^= 0x40;
            host.send_raw(&bytes)?;
        }
        // Variant 4 is `Output`, stream 0 standard output; the chunk claims to unpack to 4 GiB.
        "chunk-of-4-gib" => {
            host.send_raw(&framed(8, &[4, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]))?;
        }
        // Messages out of turn.
        "hello-again" => host.send(&hello("6.1.0"))?,
        "answer-of-before" => host.send(&GuestMessage::Done)?,
        "ends-twice" => {
            host.send(&GuestMessage::Exited(ended_well()))?;
            host.end(ended_well())?;
        }
        "refuses" => host.send(&GuestMessage::Refused { what: format!("execute {ACTS}owned") })?,
        // Silence, and almost silence.
        "says-nothing" => {}
        "dribbles" => loop {
            host.send(&GuestMessage::Output { stream: Stream::Stdout, bytes: Vec::new() })?;
            thread::sleep(Duration::from_millis(50));
        },
        "answers-too-late" => {
            thread::sleep(Duration::from_secs(12));
            host.end(ended_well())?;
        }
        // Memory.
        "memory-elsewhere" => memory_elsewhere(&mut host)?,
        // Numbers.
        "largest-numbers" => largest_numbers(&mut host)?,
        "dropped-all" => {
            reports(&mut host, &[STARTED, ENDED, DONE])?;
            host.end(RunReport { dropped: u64::MAX, killed: u32::MAX, ..ended_well() })?;
        }
        "smallest-code" => host.end(RunReport { exit: Exit::Code(i32::MIN), ..ended_well() })?,
        "largest-signal" => {
            host.end(RunReport { exit: Exit::Signal(i32::MAX), stuck: true, ..ended_well() })?;
        }
        "numbers-that-are-none" => {
            const NONE: [&str; 4] = [
                r#"{"event":"ready","after_ms":-1}"#,
                r#"{"event":"tracer-ended","end":{"code":1e400},"cause":"itself","duration_ms":1}"#,
                r#"{"event":"tracer-ended","end":{"code":0.5},"cause":"itself","duration_ms":1}"#,
                r#"{"event":"loaded","programs":[{"id":-1}],"maps":[]}"#,
            ];
            reports(&mut host, &[STARTED])?;
            reports(&mut host, &NONE)?;
            reports(&mut host, &[DONE])?;
            host.end(ended_well())?;
        }
        // Files and names.
        "odd-files" => odd_files(&mut host)?,
        "many-files" => many_files(&mut host)?,
        "odd-texts" => odd_texts(&mut host)?,
        // The kernel's log.
        "log-without-mark" => {
            reports(&mut host, &[STARTED, ENDED, DONE])?;
            host.send(&GuestMessage::Exited(ended_well()))?;
            host.receive()?;
            host.write(Stream::KernelLog, b"<4>[    1.000000] all is well\n")?;
            host.send(&GuestMessage::Done)?;
        }
        "endless-log" => {
            host.send(&GuestMessage::Exited(ended_well()))?;
            host.receive()?;
            loop {
                host.write(Stream::KernelLog, &[b'x'; 16 << 10])?;
            }
        }
        // Records of other cells.
        "record-of-another-scenario" => record(&mut host, "sys_write/threads", "6.1", 0)?,
        "record-of-another-plan" => {
            let refusal = r#"{"unsupported":{"reason":"missing-symbol","message":"none"}}"#;
            let fields = "\"backend\":\"aya\",\"scenario\":\"sys_write/files_and_pipes\"";
            let release = release()?;
            let text = format!(
                "{{{fields},\"release\":\"{release}\",\"decision\":{refusal},\"observation\":null}}"
            );
            host.write(Stream::Result, text.as_bytes())?;
            host.end(ended_well())?;
        }
        "record-of-another-kernel" => {
            record(&mut host, "sys_write/files_and_pipes", "5.10.0-owned", 0)?;
        }
        "record-of-largest-numbers" => {
            record(&mut host, "sys_write/files_and_pipes", &release()?, u64::MAX)?;
        }
        "endless-record" => loop {
            host.write(Stream::Result, &[b'['; 16 << 10])?;
        },
        other => panic!("unknown way to be hostile {other:?}"),
    }
    // The agent would go on if this program ended.
    sleep_for_ever()
}

/// Misbehaves in this way as PID 1.
pub(crate) fn init(way: &str) -> io::Result<()> {
    let mut host = Takeover::open_as_init()?;
    match way {
        "other-kernel" => host.send(&hello("5.10.0-owned"))?,
        "other-kernel-with-a-long-name" => host.send(&hello(&ACTS.repeat(4000)))?,
        "module-refused" => {
            let (module, error) = (format!("{ACTS}.ko"), ACTS.to_owned());
            host.send(&GuestMessage::ModuleRefused { module, error })?;
        }
        "done-instead-of-hello" => host.send(&GuestMessage::Done)?,
        other => panic!("unknown way to be hostile as PID 1 {other:?}"),
    }
    host.obey()
}

fn hello(release: &str) -> GuestMessage {
    GuestMessage::Hello(Hello {
        release: release.to_owned(),
        version: ACTS.to_owned(),
        processors: u32::MAX,
        user_space_ms: u64::MAX,
        ready_ms: 0,
        notes: vec![ACTS.to_owned(); 100],
    })
}

/// A frame with any length in its header.
fn framed(length: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = b"klab".to_vec();
    frame.extend([kernlab_proto::VERSION, 0].map(u16::to_le_bytes).concat());
    frame.extend([length, checksum(payload)].map(u32::to_le_bytes).concat());
    frame.extend(payload);
    frame
}

const STARTED: &str = r#"{"event":"started"}"#;
const ENDED: &str = r#"{"event":"tracer-ended","end":{"code":0},"cause":"itself","duration_ms":1}"#;
const DONE: &str = r#"{"event":"done"}"#;

/// Sends what a conductor reports.
fn reports<T: AsRef<str>>(host: &mut Takeover, reports: &[T]) -> io::Result<()> {
    let lines: String = reports.iter().map(|report| report.as_ref().to_owned() + "\n").collect();
    host.write(Stream::Result, lines.as_bytes())
}

/// Output that waits where no memory is. The host must not take any of it.
fn memory_elsewhere(host: &mut Takeover) -> io::Result<()> {
    let piece = |address, length| Piece { address, length };
    let [one, other] = arch::DEVICES;
    let kinds = [
        vec![piece(one, 4096)],
        vec![piece(other, 32), piece(0, 0)],
        vec![piece(1 << 46, 4096)],
        vec![piece(u64::MAX, u32::MAX)],
        vec![piece(0, u32::MAX)],
        vec![piece(0, 200 << 10), piece(0, 200 << 10)],
        vec![piece(0, 0); 4000],
    ];
    let mut code = 0;
    for (pieces, number) in kinds.into_iter().zip(1..) {
        // What QEMU reads there may well be zeros.
        let length: usize = pieces.iter().map(|piece| piece.length as usize).sum();
        let checksum = checksum(&vec![0; length.min(1 << 20)]);
        host.send(&GuestMessage::Waiting { stream: Stream::Stdout, pieces, checksum })?;
        if host.receive()? != HostMessage::NotTaken {
            code = number;
        }
    }
    let ended = format!(
        r#"{{"event":"tracer-ended","end":{{"code":{code}}},"cause":"itself","duration_ms":1}}"#
    );
    reports(host, &[STARTED, &ended, DONE])?;
    host.end(ended_well())
}

fn largest_numbers(host: &mut Takeover) -> io::Result<()> {
    let program = r#"{"id":4294967295,"kind":4294967295,"name":"p","verified_instructions":4294967295,"missed_runs":18446744073709551615}"#;
    let map = r#"{"kind":4294967295,"name":"m","max_entries":4294967295}"#;
    reports(
        host,
        &[
            STARTED.to_owned(),
            r#"{"event":"ready","after_ms":18446744073709551615}"#.to_owned(),
            format!(r#"{{"event":"loaded","programs":[{program},{program}],"maps":[{map}]}}"#),
            r#"{"event":"tracer-ended","end":{"signal":2147483647},"cause":"itself","duration_ms":18446744073709551615}"#
                .to_owned(),
            DONE.to_owned(),
        ],
    )?;
    host.end(RunReport { duration_us: u64::MAX, killed: u32::MAX, ..ended_well() })
}

/// A file of one byte, under its name as JSON has it.
fn collected(path: &str) -> String {
    format!(r#"{{"event":"collected","path":"{path}","bytes":"eA=="}}"#)
}

fn odd_files(host: &mut Takeover) -> io::Result<()> {
    let long = format!("/{}", "n".repeat(4090));
    let deep = "/d".repeat(2000);
    let paths = [
        "/tmp/well",
        "../../../../../../kernlab-owned",
        "/kernlab-owned",
        "/tmp/kernlab-owned",
        "..",
        "",
        "/",
        "/./../.",
        "/tmp/nul\\u0000byte",
        "/tmp/esc\\u001b[2J",
        "/tmp/line\\nfeed",
        "/tmp/\\u202eright",
        "/tmp/well/below-a-file",
        "cell.json",
        "../cell.json",
        "../report.json",
        &long,
        &deep,
    ];
    let mut lines = vec![STARTED.to_owned(), ENDED.to_owned()];
    lines.extend(paths.map(collected));
    // Not base64, and a link, which there is no report for.
    lines.push(r#"{"event":"collected","path":"/tmp/no-base64","bytes":"\u001b["}"#.to_owned());
    lines.push(r#"{"event":"collected","path":"/tmp/link","link":"/etc/passwd"}"#.to_owned());
    lines.push(DONE.to_owned());
    reports(host, &lines)?;
    host.end(ended_well())
}

fn many_files(host: &mut Takeover) -> io::Result<()> {
    let mut lines = vec![STARTED.to_owned(), ENDED.to_owned()];
    lines.extend((0..10_010).map(|number| collected(&format!("/tmp/f{number}"))));
    lines.push(DONE.to_owned());
    reports(host, &lines)?;
    host.end(ended_well())
}

fn odd_texts(host: &mut Takeover) -> io::Result<()> {
    let acts = "\\u001b[2J\\u001b]0;owned\\u0007\\u009b31m\\u202e\\r";
    host.write(Stream::Stdout, format!("{ACTS}\n{{\"name\": \"{acts}\"}}\n").as_bytes())?;
    host.write(Stream::Stderr, format!("{ACTS}error\n").as_bytes())?;
    reports(
        host,
        &[
            STARTED.to_owned(),
            format!(
                r#"{{"event":"loaded","programs":[],"maps":[{{"kind":1,"name":"{acts}","max_entries":1}}]}}"#
            ),
            ENDED.to_owned(),
            format!(r#"{{"event":"left-running","processes":["{acts}owned","{acts}"]}}"#),
            format!(r#"{{"event":"not-collected","path":"/{acts}","why":"{acts}"}}"#),
            DONE.to_owned(),
        ],
    )?;
    host.end(ended_well())
}

/// A record with one event, and this number wherever one may stand.
fn record(host: &mut Takeover, scenario: &str, release: &str, number: u64) -> io::Result<()> {
    let signed = i32::from_ne_bytes((number as u32 ^ 0x8000_0000).to_ne_bytes());
    let event = format!(
        r#"{{"pid":{},"tid":{},"comm":"workload","action":{{"write":{{"fd":{signed},"count":{number},"ret":-9223372036854775808}}}}}}"#,
        number as u32, number as u32
    );
    let plan = r#"{"plan":{"attach":[{"program":"sys_enter_write","target":{"tracepoint":{"category":"syscalls","name":"sys_enter_write"}}},{"program":"sys_exit_write","target":{"tracepoint":{"category":"syscalls","name":"sys_exit_write"}}}],"buffer":"ring","read":"split","types":"layout","layout":"btf","ring_buffer":"yes"}}"#;
    let traced = format!(
        r#"{{"traced":{{"events":[{event}],"lost":{number},"skipped":{number},"left_behind":{{"pending":{{"entries":{number},"expected":0}}}},"still_loaded":{number},"account":{{"names":{{}},"did":[]}}}}}}"#
    );
    let text = format!(
        r#"{{"backend":"aya","scenario":"{scenario}","release":"{release}","decision":{plan},"observation":{traced},"stages_us":{{"a":{number},"b":{number}}}}}"#
    );
    host.write(Stream::Result, text.as_bytes())?;
    host.end(RunReport { duration_us: number, ..ended_well() })
}

fn release() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

fn flood(mut file: File, bytes: usize) -> io::Result<()> {
    let line = format!("{ACTS}{}\r\n", "flood ".repeat(20));
    (0..bytes.div_ceil(line.len())).try_for_each(|_| file.write_all(line.as_bytes()))
}

/// More records than the kernel's buffer has room for.
fn kernel_log_flood() -> io::Result<()> {
    fs::write("/proc/sys/kernel/printk_devkmsg", "on\n")?;
    let mut log = File::options().write(true).open("/dev/kmsg")?;
    let line = format!("<6>{ACTS}{}", "flood ".repeat(100));
    (0..5_000).try_for_each(|_| log.write_all(line.as_bytes()))
}
