//! Logs whose lines are fields of records: `dmesg --json`, `journalctl --output=json`, `export` and
//! `verbose`, and what container engines write.

use std::fmt::Write as _;

use memchr::memchr3;

use crate::{
    clean::PIECE_END,
    message::{Position, lines},
};

/// How many lines at the beginning tell what form a log has.
const SAMPLE: usize = 40;

/// The messages of such a log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// A message on each line.
    pub(crate) text: String,
    /// For each of these lines, the line that its record has the message on.
    pub(crate) lines: Vec<usize>,
}

impl Log {
    /// The line of the recording that a line of the text, counted from 1, comes from.
    pub(crate) fn line(&self, line: usize) -> usize {
        self.lines.get(line.saturating_sub(1)).or(self.lines.last()).copied().unwrap_or(line)
    }
}

/// The messages of such a log; `None` if it has another form.
pub(crate) fn messages(log: &str) -> Option<Log> {
    let mut records = Records::default();
    match form(log)? {
        Form::Json => read_json(log, &mut records),
        Form::Fields => read_fields(log, &mut records),
    }
    (!records.found.is_empty()).then(|| records.into_log())
}

enum Form {
    Json,
    Fields,
}

fn form(log: &str) -> Option<Form> {
    let (mut json, mut fields, mut all) = (0, 0, 0);
    let (mut json_message, mut fields_message) = (false, false);
    for (_, line) in lines(log, Position::START).take(SAMPLE) {
        let line = line[..line.floor_char_boundary(4000)].trim();
        let plain = without_frame(line);
        all += usize::from(!line.is_empty());
        json += usize::from(plain.starts_with(['{', '}', '"', ']']) || plain == "[");
        json_message |= MESSAGES.iter().any(|key| plain.contains(key) && plain.contains("\":"))
            || plain.contains("\"MESSAGE\" :");
        fields += usize::from(field(line).is_some());
        fields_message |= line.starts_with("MESSAGE=") || line == "MESSAGE";
    }
    if json_message && json * 10 >= all * 9 {
        Some(Form::Json)
    } else {
        (fields_message && fields * 10 >= all * 7).then_some(Form::Fields)
    }
}

/// JSON without what --output=json-seq and json-sse put in front of it, and YAML in front of the
/// elements of a list, as in the logs of LAVA.
fn without_frame(line: &str) -> &str {
    let line = line.trim_start_matches(['\u{1e}', ' ']);
    line.strip_prefix("data: ").or_else(|| line.strip_prefix("- ")).unwrap_or(line)
}

/// The names of a field with the message.
const MESSAGES: [&str; 6] = ["MESSAGE", "msg", "message", "log", "textPayload", "line"];

/// What is known of the record that is being read.
#[derive(Debug, Default)]
struct Record {
    messages: Vec<(usize, String)>,
    facility: Option<bool>,
    kernel: bool,
    program: bool,
}

impl Record {
    fn take(&mut self, line: usize, key: &str, value: &str) {
        match key {
            _ if MESSAGES.contains(&key) => self.messages.push((line, message(value))),
            "SYSLOG_FACILITY" | "fac" => self.facility = Some(matches!(value, "0" | "kern")),
            "facility" => self.facility = of_kernel(value).or(self.facility),
            "pri" => {
                if let Ok(priority) = value.parse::<u32>() {
                    self.facility.get_or_insert(priority >> 3 == 0);
                }
            }
            "_TRANSPORT" | "SYSLOG_IDENTIFIER" | "appname" | "programname" | "syslog-tag"
            | "syslogtag" => {
                let kernel = value.trim_end_matches(':') == "kernel";
                self.kernel |= kernel;
                self.program |= !kernel;
            }
            // LAVA's words about a test, unless the target's console said them.
            "lvl" => self.program |= !matches!(value, "target" | "feedback"),
            "_PID" => self.program = true,
            _ => {}
        }
    }
}

/// Whether a facility of syslog, RFC 5424, 6.2.1, is the kernel's. Other texts name none.
fn of_kernel(facility: &str) -> Option<bool> {
    const PROGRAMS: [&str; 19] = [
        "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
        "ftp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
    ];
    match facility.parse::<u8>() {
        Ok(number) => Some(number == 0),
        Err(_) if facility == "kern" => Some(true),
        Err(_) => PROGRAMS.contains(&facility).then_some(false),
    }
}

#[derive(Debug, Default)]
struct Records {
    record: Record,
    found: Vec<(usize, String)>,
}

impl Records {
    /// Ends a record: who printed its message can be told behind it.
    fn end(&mut self) {
        let Record { messages, facility, kernel, program } = std::mem::take(&mut self.record);
        let mark = match facility {
            Some(true) => "kernel: ",
            Some(false) => "<14>",
            None if program => "<14>",
            None if kernel => "kernel: ",
            None => "",
        };
        for (line, message) in messages {
            let mut marked = String::with_capacity(message.len() + mark.len());
            for (nth, piece) in message.split(PIECE_END).enumerate() {
                if nth > 0 {
                    marked.push(PIECE_END);
                }
                let _ = write!(marked, "{mark}{piece}");
            }
            self.found.push((line, marked));
        }
    }

    fn into_log(self) -> Log {
        let mut log = Log::default();
        for (line, message) in self.found {
            for piece in message.split(PIECE_END) {
                log.text.push_str(piece);
                log.text.push('\n');
                log.lines.push(line);
            }
        }
        log
    }
}

/// The text of a JSON string. Its further lines become pieces of one; some versions of dmesg put all
/// that is behind a message into it, each part with its level and time: that is cut off.
fn message(raw: &str) -> String {
    let mut text = String::new();
    let mut chars = raw.char_indices();
    while let Some((at, char)) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        match chars.next().map(|(_, char)| char) {
            Some('n') => {
                let rest = &raw[at + 2..];
                if rest.starts_with('<') && rest.get(..6).is_some_and(|rest| rest.contains(">[")) {
                    break;
                }
                text.push(PIECE_END);
            }
            Some('t') => text.push('\t'),
            Some('r' | 'b' | 'f') | None => {}
            Some('u') => {
                let code =
                    raw.get(at + 2..at + 6).and_then(|code| u32::from_str_radix(code, 16).ok());
                if code.is_some() {
                    chars.nth(3);
                }
                let char =
                    code.map_or('\u{fffd}', |code| char::from_u32(code).unwrap_or('\u{fffd}'));
                text.extend(Some(char).filter(|char| !char.is_control()));
            }
            Some(char) => text.push(char),
        }
    }
    text.truncate(text.trim_end_matches(PIECE_END).len());
    text
}

fn read_json(log: &str, records: &mut Records) {
    let bytes = log.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut key: Option<&str> = None;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'\n' => line += 1,
            b'}' => {
                records.end();
                key = None;
            }
            b'"' => {
                let end = string_end(bytes, at);
                let string = &log[at..end];
                at = end + usize::from(bytes.get(end) == Some(&b'"'));
                let colon = bytes[at..].iter().take(4).position(|byte| *byte != b' ');
                if let Some(colon) = colon.filter(|colon| bytes[at + colon] == b':') {
                    at += colon + 1;
                    key = Some(string);
                } else if let Some(key) = key.take() {
                    records.record.take(line, key, string);
                }
            }
            b'[' => {
                // What isn't UTF-8, or has control characters, is an array of bytes.
                let of_bytes = |byte: &&u8| byte.is_ascii_digit() || b" ,\t".contains(byte);
                let length = bytes[at..].iter().take_while(of_bytes).count();
                if let Some(key) = key.take()
                    && length > 0
                {
                    let codes = log[at..at + length].split(',');
                    let values = codes.filter_map(|code| code.trim().parse::<u8>().ok());
                    let values = values.filter(|byte| *byte >= b' ').collect::<Vec<_>>();
                    records.record.take(line, key, &String::from_utf8_lossy(&values));
                }
                at += length;
            }
            b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if let Some(key) = key.take() {
                    records.record.take(line, key, &log[at - 1..at + length]);
                }
                at += length;
            }
            _ => {}
        }
    }
    records.end();
}

/// Where the string ends whose first byte is at `from`.
fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr3(b'"', b'\\', b'\n', rest)) {
        at += found;
        if bytes[at] != b'\\' {
            return at;
        }
        at += if bytes.get(at + 1) == Some(&b'\n') { 1 } else { 2 };
    }
    // A character can be behind the backslash that ends a log.
    bytes.len()
}

/// A field of the journal: `MESSAGE=text`.
fn field(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start().split_once('=')?;
    let name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (!key.is_empty() && key.len() <= 64 && key.bytes().all(name)).then_some((key, value))
}

fn read_fields(log: &str, records: &mut Records) {
    let mut in_message = false;
    let mut binary = false;
    for (position, line) in lines(log, Position::START) {
        let number = position.line;
        if std::mem::take(&mut binary) {
            // In front of the text is its length, of which only one byte isn't zero.
            let mut chars = line.chars();
            chars.next();
            records.record.messages.push((number, chars.as_str().to_owned()));
            continue;
        }
        if line == "MESSAGE" {
            binary = true;
        } else if let Some((key, value)) = field(line) {
            if key == "__CURSOR" {
                records.end();
            }
            in_message = key == "MESSAGE";
            if in_message {
                records.record.messages.push((number, value.to_owned()));
            } else {
                records.record.take(number, key, value);
            }
        } else if in_message && line.starts_with(' ') {
            records.record.messages.push((number, line.trim_start().to_owned()));
        } else {
            records.end();
            in_message = false;
        }
    }
    records.end();
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::journal(r#"{"SYSLOG_FACILITY":"0","MESSAGE":"a\tb"}"#, "kernel: a\tb\n", 1)]
    #[case::program(r#"{"MESSAGE":"a","_PID":"411"}"#, "<14>a\n", 1)]
    #[case::bytes(r#"{"_TRANSPORT":"kernel","MESSAGE":[97,255,98]}"#, "kernel: a\u{fffd}b\n", 1)]
    #[case::engine(r#"{"log":"[    1.000000] x\n","stream":"stdout"}"#, "[    1.000000] x\n", 1)]
    #[case::sequence("\u{1e}{\"MESSAGE\":\"a\"}", "a\n", 1)]
    #[case::events("data: {\"MESSAGE\":\"a\"}", "a\n", 1)]
    #[case::pretty(
        "{\n\t\"MESSAGE\" : \"a\",\n\t\"_TRANSPORT\" : \"kernel\"\n}\n",
        "kernel: a\n",
        2
    )]
    #[case::more_lines(r#"{"_TRANSPORT":"kernel","MESSAGE":"a\nb"}"#, "kernel: a\nkernel: b\n", 1)]
    #[case::rest_of_the_buffer(r#"{"pri": 4, "msg": "a\n<4>[ 1.0] b\n"}"#, "kernel: a\n", 1)]
    #[case::cut_off(r#"{"pri": 4, "msg": "a\"#, "kernel: a\n", 1)]
    #[case::facility(r#"{"facility":"kern","message":"a"}"#, "kernel: a\n", 1)]
    #[case::facility_of_programs(r#"{"facility":"user","message":"a"}"#, "<14>a\n", 1)]
    #[case::another_word(r#"{"facility":"acme","message":"a"}"#, "a\n", 1)]
    #[case::tag(r#"{"syslog-tag":"kernel:","message":"a"}"#, "kernel: a\n", 1)]
    #[case::name_of_a_program(r#"{"appname":"acmed","message":"a"}"#, "<14>a\n", 1)]
    #[case::lava(r#"- {"dt":"2025","lvl":"target","msg":"a"}"#, "a\n", 1)]
    #[case::lavas_words(r#"- {"dt":"2025","lvl":"debug","msg":"a"}"#, "<14>a\n", 1)]
    #[case::export("__CURSOR=x\nSYSLOG_FACILITY=0\nMESSAGE=a\n", "kernel: a\n", 3)]
    #[case::binary(
        "__CURSOR=x\nPRIORITY=4\n_BOOT_ID=1\n_TRANSPORT=kernel\nSYSLOG_FACILITY=0\nMESSAGE\n\u{3}a\tb\n",
        "kernel: a\tb\n",
        7
    )]
    #[case::verbose(
        "Mon 2025 [s=1]\n    _TRANSPORT=kernel\n    PRIORITY=4\n    MESSAGE=a\n",
        "kernel: a\n",
        4
    )]
    fn messages_of_records(#[case] log: &str, #[case] expected: &str, #[case] line: usize) {
        let found = messages(log).expect("the form is recognised");
        assert_eq!((found.text.as_str(), found.line(1)), (expected, line));
    }

    #[rstest]
    #[case::text("[    1.000000] a\n")]
    #[case::environment("[    1.000000] a\nPATH=/bin\nMESSAGE=a\n[    1.000000] b\n")]
    fn other_logs_have_none(#[case] log: &str) {
        assert!(messages(log).is_none());
    }
}
