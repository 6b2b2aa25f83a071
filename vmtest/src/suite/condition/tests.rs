use rstest::rstest;

use super::*;

const EVENT: &str = r#"{"comm": "victim", "ret": -2, "fd": 3, "big": 18446744073709551615,
 "ratio": 0.5, "ok": true, "none": null, "line": "its own", "args": {"path": "/tmp/a", "fds": [7, 8]}}"#;

#[rstest]
#[case(r#"comm == "victim""#, true)]
#[case("comm == 'victim'", true)]
#[case(r#"comm != "victim""#, false)]
#[case(r#"comm ~ "^vic""#, true)]
#[case(r#"comm ~ "^tim""#, false)]
#[case(r#"comm < "w""#, true)]
#[case("ret < 0", true)]
#[case("ret == -2", true)]
#[case("ret >= -2 and ret <= -2", true)]
#[case("ret > -2", false)]
#[case("fd == 0x3", true)]
#[case("fd == 3.0", true)]
#[case("fd < 3.5", true)]
#[case("big == 18446744073709551615", true)]
#[case("big == 18_446_744_073_709_551_614", false)]
#[case("ratio == 5e3", false)]
#[case("ratio == 0.5", true)]
#[case("ok == true", true)]
#[case("ok == 1", false)]
#[case("ok != 1", true)]
#[case("none == null", true)]
#[case("none == 0", false)]
#[case("none < null", false)]
#[case("args.path ~ '^/tmp/'", true)]
#[case("args.fds.1 == 8", true)]
#[case("args.fds.2 == 8", false)]
#[case("args ~ '7,8'", true)]
#[case("fd ~ '^3$'", true)]
#[case("absent == 1", false)]
#[case("absent != 1", false)]
#[case("not absent == 1", true)]
#[case("comm.x == 1", false)]
#[case("line ~ 'victim'", true)]
#[case("stdout ~ 'victim'", true)]
#[case(".line == 'its own'", true)]
#[case("fd == 4 or comm == 'victim' and ret < 0", true)]
#[case("(fd == 4 or comm == 'victim') and not ret < 0", false)]
fn a_condition_is_about_an_event(#[case] text: &str, #[case] expected: bool) {
    let line = EVENT.replace('\n', "");
    let condition = Condition::parse(text).unwrap();
    assert_eq!(condition.holds(&Line::new(line.as_bytes())), expected, "{condition:?}");
}

#[rstest]
#[case("line == 'victim 3'", true)]
#[case("line > 'victim'", true)]
#[case("line == 3", false)]
#[case("line != 3", true)]
#[case("comm == 'victim'", false)]
fn a_condition_is_about_a_line(#[case] text: &str, #[case] expected: bool) {
    assert_eq!(Condition::parse(text).unwrap().holds(&Line::new(b"victim 3")), expected);
}

#[test]
fn a_line_may_be_anything() {
    let condition = Condition::parse("line ~ '(?-u)\\xff' and not comm == 'x'").unwrap();
    assert!(condition.holds(&Line::new(b"{\xff")));
}

#[rstest]
#[case(
    "comm",
    "expected an operator such as `==` after `comm`, found the end, at character 5 of `comm`"
)]
#[case("comm = 'a'", "unexpected `=`: equality is written `==`, at character 6 of `comm = 'a'`")]
#[case(
    "comm == a",
    "expected a value, found `a`: text is written \"a\", at character 9 of `comm == a`"
)]
#[case("fd == 3x", "`3x` is not a number, at character 7 of `fd == 3x`")]
#[case("fd == -", "`-` is not a number, at character 7 of `fd == -`")]
#[case(
    "fd == ",
    "expected a text in quotes, a number, `true`, `false` or `null`, found the end, at character 7 of `fd == `"
)]
#[case(
    "a..b == 1",
    "`a..b` is not a field: expected names with single dots between them, at character 1 of `a..b == 1`"
)]
#[case(
    "comm ~ 3",
    "expected a regular expression in quotes after `~`, found `3`, at character 8 of `comm ~ 3`"
)]
#[case(
    "comm ~ '('",
    "`(` is not a regular expression: unclosed group, at character 8 of `comm ~ '('`"
)]
#[case("3 == fd", "expected a field, `line`, `not` or `(`, found `3`, at character 1 of `3 == fd`")]
#[case(
    "a == 1 and stderr ~ 'x'",
    "events are on stdout, so `stderr` can only be counted by `assert`; a field of this name is written `.stderr`, at character 12 of `a == 1 and stderr ~ 'x'`"
)]
#[case("a == 1 && b == 2", "unexpected `&`: write `and`, at character 8 of `a == 1 && b == 2`")]
fn errors_say_where(#[case] text: &str, #[case] message: &str) {
    assert_eq!(Condition::parse(text).unwrap_err().to_string(), message);
}

#[test]
fn lines_end_as_in_unix_or_in_windows() {
    let texts = |output| Line::all(output).map(|line| line.text).collect::<Vec<_>>();
    assert_eq!(texts(b""), [b""; 0]);
    assert_eq!(texts(b"a\n\nb\r\n"), [b"a".as_slice(), b"", b"b"]);
    assert_eq!(texts(b"a\nb"), [b"a", b"b"]);
}

proptest::proptest! {
    #[test]
    fn no_condition_makes_it_panic(text in "[a-c.]{0,3} ?(==|!=|<|~|=)? ?('|\"|-|0x)?[0-9a._]{0,4}('|\")?") {
        if let Ok(condition) = Condition::parse(&text) {
            condition.holds(&Line::new(br#"{"a": 1, "b": "c"}"#));
        }
    }
}
