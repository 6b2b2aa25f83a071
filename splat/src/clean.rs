//! Makes a recorded console readable: what a serial line adds to a text is taken out of it.

use std::borrow::Cow;

use memchr::memchr3_iter;

/// Stands where a carriage return sent the cursor back: what follows is another piece of text on
/// the same line. No console prints it.
pub(crate) const PIECE_END: char = '\u{b}';

/// The text of a recording: no carriage returns, NULs or escape sequences, and replacement
/// characters for what isn't UTF-8. Lines stay where they are.
pub(crate) fn clean(log: &[u8]) -> Cow<'_, str> {
    if memchr3_iter(b'\r', 0, 0x1b, log).next().is_none() {
        return match str::from_utf8(log) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(log),
        };
    }
    let mut clean = Vec::with_capacity(log.len());
    let mut from = 0;
    let mut sent_back = false;
    for at in memchr3_iter(b'\r', 0, 0x1b, log) {
        if at < from {
            continue;
        }
        copy(&mut clean, &log[from..at], &mut sent_back);
        from = at + 1;
        match log[at] {
            b'\r' => sent_back = true,
            0x1b => from += escape_length(&log[from..]),
            _ => {}
        }
    }
    copy(&mut clean, &log[from..], &mut sent_back);
    Cow::Owned(
        String::from_utf8(clean)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Appends a text, behind the mark of a carriage return if one was in front of it on its line.
fn copy(clean: &mut Vec<u8>, text: &[u8], sent_back: &mut bool) {
    let Some(first) = text.first() else { return };
    if std::mem::take(sent_back) && *first != b'\n' && !matches!(clean.last(), None | Some(b'\n')) {
        clean.push(PIECE_END as u8);
    }
    clean.extend_from_slice(text);
}

/// How long an escape sequence is behind its first byte: ECMA-48, 5.4, and the operating system
/// commands of terminals. One that the line cuts short is as long as the line.
fn escape_length(rest: &[u8]) -> usize {
    // Never looks further than what it then skips, so that no text takes long.
    let until = |ends: fn(&u8) -> bool| {
        let end = rest[1..].iter().position(|byte| *byte == b'\n' || ends(byte));
        end.map_or(rest.len(), |end| end + if rest[end + 1] == b'\n' { 1 } else { 2 })
    };
    match rest.first() {
        Some(b'[') => until(|byte| (0x40..=0x7e).contains(byte)),
        Some(b']') => until(|byte| matches!(byte, 7 | b'\\')),
        Some(b'(' | b')' | b'#') => {
            if matches!(rest.get(1), None | Some(b'\n')) {
                1
            } else {
                2
            }
        }
        Some(b'\n') | None => 0,
        Some(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::serial_line(b"one\r\ntwo\r\r\n", "one\ntwo\n")]
    #[case::cursor_sent_back(b"one\rtwo\n\rthree\n", "one\u{b}two\nthree\n")]
    #[case::colours(b"\x1b[1;31mred\x1b[0m\x1b(B\n", "red\n")]
    #[case::title_of_a_terminal(b"\x1b]0;root@host\x07# \n", "# \n")]
    #[case::escape_cut_short(b"a\x1b[12\nb\x1b", "a\nb")]
    #[case::zeroes(b"a\0\0b\n", "ab\n")]
    #[case::not_utf8(b"a\xffb", "a\u{fffd}b")]
    #[case::neither(b"a\xff\r\n", "a\u{fffd}\n")]
    #[case::nothing_to_do("grüße\n".as_bytes(), "grüße\n")]
    fn what_a_serial_line_adds_is_gone(#[case] log: &[u8], #[case] expected: &str) {
        assert_eq!(clean(log), expected);
    }
}
