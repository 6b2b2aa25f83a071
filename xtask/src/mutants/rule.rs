//! What can be wrong with a BPF program: rules that break one place of a source file.

use std::{collections::BTreeMap, ops::Range};

use super::source::{self, Language};

/// A source file with one place broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// Which rule broke it.
    pub(super) rule: &'static str,
    /// Its line, counted from 1.
    pub(super) line: usize,
    /// What identifies it in its file: the line before and after, as `BEFORE => AFTER`. Where the file has
    /// that line several times, a number follows.
    pub(super) name: String,
    /// The bytes that are replaced.
    range: Range<usize>,
    replacement: String,
}

impl Mutant {
    /// The text of the file with that place broken.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        text.replace_range(self.range.clone(), &self.replacement);
        text
    }
}

/// A place in a line, what becomes of it, and by which rule.
type Site = (Range<usize>, String, &'static str);

/// Everything that the rules break in a file, in its order.
pub(super) fn mutants(text: &str, language: Language) -> Vec<Mutant> {
    let mut all = Vec::new();
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    let mut start = 0;
    let code = source::code(text, language);
    for (number, (whole, line)) in text.split_inclusive('\n').zip(&code).enumerate() {
        let original = whole.trim_end_matches('\n');
        let mut sites = sites(line, language);
        sites.sort_by(|one, other| (one.0.start, &one.1).cmp(&(other.0.start, &other.1)));
        let mut seen = Vec::new();
        for (range, replacement, rule) in sites {
            let mut after = original.to_owned();
            after.replace_range(range.clone(), &replacement);
            if after == original || seen.contains(&after) {
                continue;
            }
            seen.push(after.clone());
            let mut name = format!("{} => {}", original.trim(), after.trim());
            let count = named.entry(name.clone()).or_default();
            *count += 1;
            if *count > 1 {
                name = format!("{name} ({count})");
            }
            let range = start + range.start..start + range.end;
            all.push(Mutant { rule, line: number + 1, name, range, replacement });
        }
        start += whole.len();
    }
    all
}

fn sites(line: &str, language: Language) -> Vec<Site> {
    // Of a map, only its capacity is broken; a declaration of a type does nothing.
    let declares = ["__uint(", "with_max_entries", "with_byte_size", "typedef "];
    if line.trim().is_empty() || declares.iter().any(|word| line.contains(word)) {
        return capacity(line);
    }
    let mut sites = replaced(line, language);
    sites.extend(numbers(line, language));
    sites.extend(statement(line, language));
    sites.extend(condition(line, language));
    sites
}

/// Text that is replaced wherever it stands, by language.
const REPLACED: [(Option<Language>, &str, &str, &str); 31] = [
    (None, " == ", " != ", "comparison"),
    (None, " != ", " == ", "comparison"),
    (None, " < ", " <= ", "off-by-one"),
    (None, " <= ", " < ", "off-by-one"),
    (None, " > ", " >= ", "off-by-one"),
    (None, " >= ", " > ", "off-by-one"),
    (None, " < ", " > ", "sign"),
    (None, " >= ", " < ", "sign"),
    (None, " && ", " || ", "logic"),
    (None, " || ", " && ", "logic"),
    (None, " + ", " - ", "arithmetic"),
    (None, " - ", " + ", "arithmetic"),
    (None, " & ", " | ", "arithmetic"),
    (None, " >> 32", "", "key"),
    (Some(Language::C), "bpf_get_current_pid_tgid();", "bpf_get_current_pid_tgid() >> 32;", "key"),
    (Some(Language::C), "__s64", "__u64", "sign"),
    (Some(Language::C), "__s32", "__u32", "sign"),
    (Some(Language::C), "__s64", "__s32", "width"),
    (Some(Language::C), "__u64", "__u32", "width"),
    (Some(Language::C), "__u32", "__u16", "width"),
    (Some(Language::C), "__u16", "__u8", "width"),
    (Some(Language::C), "BPF_ANY", "BPF_NOEXIST", "flag"),
    (Some(Language::C), "read_user", "read_kernel", "memory"),
    (Some(Language::Rust), "thread.pid_tgid", "(thread.pid_tgid >> 32)", "key"),
    (Some(Language::Rust), "wrapping_add(", "wrapping_sub(", "arithmetic"),
    (Some(Language::Rust), " as u64", " as u32 as u64", "width"),
    (Some(Language::Rust), " as u32", " as u16 as u32", "width"),
    (Some(Language::Rust), " as i32", " as i16 as i32", "width"),
    (Some(Language::Rust), " as i64", " as i32 as i64", "width"),
    (Some(Language::Rust), " as i64", " as u32 as i64", "sign"),
    (Some(Language::Rust), "::<u64>(", "::<u32>(", "width"),
];

fn replaced(line: &str, language: Language) -> Vec<Site> {
    let mut sites = Vec::new();
    for (only, from, to, rule) in REPLACED {
        if only.is_some_and(|only| only != language) {
            continue;
        }
        for (at, _) in line.match_indices(from) {
            let end = at + from.len();
            // A whole word, where it ends as one.
            let goes_on = |c: char| c.is_alphanumeric() || c == '_';
            let is_word = from.ends_with(goes_on);
            if is_word && line[end..].starts_with(goes_on) {
                continue;
            }
            sites.push((at..end, to.to_owned(), rule));
        }
    }
    sites
}

/// Every number is one more.
fn numbers(line: &str, language: Language) -> Vec<Site> {
    // What a BPF program returns to a probe is not looked at.
    if line.trim_start().starts_with("return ") {
        return Vec::new();
    }
    let bytes = line.as_bytes();
    let is_word =
        |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let mut sites = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() || at > 0 && is_word(at - 1) {
            at += 1;
            continue;
        }
        let end = (at..bytes.len()).find(|&end| !is_word(end)).unwrap_or(bytes.len());
        // A field of a tuple.
        let is_field = language == Language::Rust && at > 0 && bytes[at - 1] == b'.';
        if let (false, Ok(number)) = (is_field, line[at..end].parse::<u32>()) {
            sites.push((at..end, (u64::from(number) + 1).to_string(), "off-by-one"));
        }
        at = end;
    }
    sites
}

/// A map with a limit of its own has half as much room.
fn capacity(line: &str) -> Vec<Site> {
    let places = ["max_entries, ", "with_max_entries(", "with_byte_size("];
    let limit = |place: &str| {
        let start = line.find(place)? + place.len();
        let rest = &line[start..];
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_')?;
        let limit = &rest[..end];
        (!limit.is_empty()).then(|| (start..start + end, format!("{limit} / 2"), "capacity"))
    };
    places.into_iter().filter_map(limit).collect()
}

/// A statement that has a line for itself, and does something, is left out.
fn statement(line: &str, language: Language) -> Option<Site> {
    let text = line.trim();
    let body = text.strip_suffix(';')?;
    let declares: &[&str] = match language {
        Language::C => &[
            "return", "const ", "struct ", "static ", "__u", "__s", "__type", "int ", "void ",
            "asm ", "}", "char ",
        ],
        Language::Rust => &[
            "return", "let ", "static ", "const ", "pub ", "type ", "mod ", "fn ", "}", ")", "in(",
            "options",
        ],
    };
    let balanced = body.matches('(').count() == body.matches(')').count();
    let assigns = [" = ", "+= ", "&= "].iter().any(|operator| body.contains(operator));
    let does = assigns || body.contains('(');
    if !balanced || !does || declares.iter().any(|word| text.starts_with(word)) {
        return None;
    }
    let rule = match body {
        _ if body.contains("delete_elem") || body.contains(".remove(") => "missing-delete",
        _ if body.contains("count_")
            || body.contains("increment(")
            || body.contains("fetch_and_add") =>
        {
            "dropped-count"
        }
        _ => "missing-statement",
    };
    let at = line.find(text)?;
    let nothing = if language == Language::C { ";" } else { "" };
    Some((at..at + text.len(), nothing.to_owned(), rule))
}

/// A condition holds always, or never.
fn condition(line: &str, language: Language) -> Vec<Site> {
    let (range, values) = match language {
        Language::C => {
            let Some(at) = line.find("if (") else { return Vec::new() };
            let open = at + "if ".len();
            let mut depth = 0;
            let close = line[open..].char_indices().find_map(|(at, character)| {
                depth += i32::from(character == '(') - i32::from(character == ')');
                (depth == 0).then_some(open + at)
            });
            let Some(close) = close else { return Vec::new() };
            (open + 1..close, ["1", "0"])
        }
        Language::Rust => {
            let Some(at) = line.find("if ") else { return Vec::new() };
            let start = at + "if ".len();
            let Some(end) = line.rfind(" {") else { return Vec::new() };
            if end <= start || line[start..].starts_with("let ") {
                return Vec::new();
            }
            (start..end, ["true", "false"])
        }
    };
    values.map(|value| (range.clone(), value.to_owned(), "missing-filter")).to_vec()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::filter("\tif (!found || found->tgid != x)", "missing-filter", "if (1)")]
    #[case::filter_that_holds("\tif (!config)", "missing-filter", "if (0)")]
    #[case::delete("\tbpf_map_delete_elem(&pending, &thread);", "missing-delete", "=> ;")]
    #[case::count("\t\tcount_lost(LOST_UNSEEN);", "dropped-count", "=> ;")]
    #[case::key(
        "\t__u64 thread = bpf_get_current_pid_tgid();",
        "key",
        "bpf_get_current_pid_tgid() >> 32;"
    )]
    #[case::width("\t__u64 thread = x;", "width", "__u32 thread")]
    #[case::sign("\tif (event.ret < 0)", "sign", "event.ret > 0")]
    #[case::edge("\tif (event.ret < 0)", "off-by-one", "event.ret <= 0")]
    #[case::index("\tborn(argument(config, ctx, 2));", "off-by-one", "argument(config, ctx, 3)")]
    #[case::missing("\tevent.fd = write->fd;", "missing-statement", "=> ;")]
    #[case::room("\t__uint(max_entries, MAX_PENDING);", "capacity", "MAX_PENDING / 2)")]
    fn c_is_broken(#[case] line: &str, #[case] rule: &str, #[case] shows: &str) {
        let all = mutants(line, Language::C);
        let found = all.iter().any(|mutant| mutant.rule == rule && mutant.name.contains(shows));
        assert!(found, "{all:#?}");
    }

    #[rstest]
    #[case::filter("    if ret < 0 {", "missing-filter", "if true {")]
    #[case::delete("    _ = PENDING.remove(thread);", "missing-delete", "=> ")]
    #[case::key(
        "    PENDING.get_ptr(thread.pid_tgid)?;",
        "key",
        "get_ptr((thread.pid_tgid >> 32))"
    )]
    #[case::width("    fd as i32", "width", "fd as i16 as i32")]
    #[case::index("    arguments.get(2)", "off-by-one", "get(3)")]
    #[case::missing("        (*event).fd = fd;", "missing-statement", "=> ")]
    #[case::room("= HashMap::with_max_entries(MAX_PENDING, 0);", "capacity", "MAX_PENDING / 2, 0")]
    fn rust_is_broken(#[case] line: &str, #[case] rule: &str, #[case] shows: &str) {
        let all = mutants(line, Language::Rust);
        let found = all.iter().any(|mutant| mutant.rule == rule && mutant.name.contains(shows));
        assert!(found, "{all:#?}");
    }

    #[rstest]
    #[case::capacity("\t__uint(max_entries, 1);")]
    #[case::comment("\t/* if (1 < 2) */")]
    #[case::result("\treturn 0;")]
    #[case::declaration("\tstruct InotifyEvent *event;")]
    #[case::definition("typedef unsigned int __u32;")]
    fn what_no_verdict_can_depend_on_stays(#[case] line: &str) {
        assert_eq!(mutants(line, Language::C), []);
    }

    #[test]
    fn a_mutant_is_one_place_and_equal_lines_have_numbers() {
        let text = "a = 1;\nb(2);\na = 1;\n";
        let all = mutants(text, Language::C);
        let of = |name: &str| all.iter().find(|mutant| mutant.name == name).unwrap();
        assert_eq!(of("a = 1; => a = 2;").apply(text), "a = 2;\nb(2);\na = 1;\n");
        assert_eq!(of("a = 1; => a = 2; (2)").apply(text), "a = 1;\nb(2);\na = 2;\n");
        let mut names: Vec<_> = all.iter().map(|mutant| &mutant.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len(), "{all:#?}");
    }
}
