//! Rules of `kernlab.toml` that match nothing of what a tracer printed. They have no effect, and
//! mostly that is a typo: an assertion on a field that no event has may never fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use regex::bytes::Regex;
use serde_json::Value;

use super::{
    condition::{Condition, Line, Stream},
    manifest::{Lost, Suite},
    spelling::{nearest, one_of},
};
use crate::console::shorten;

/// How many fields of events are named where none is similar.
const NAMED: usize = 8;
/// How many fields of events are looked at: a tracer may print a map by its keys.
const FIELDS: usize = 2000;

/// What a suite's rules leave unmatched in one output, one sentence each.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Unmatched {
    /// Remarks on rules of the suite itself.
    pub(crate) own: Vec<String>,
    /// Each rule of the whole project that concerns the suite, as `normalise.FIELD`; with a remark if
    /// it matched nothing.
    pub(crate) shared: Rules,
}

/// Rules of which it is enough if they match in some cell: those of the whole project, as `normalise.FIELD`,
/// and the functions that expectations name. Each with what to remark if it matched in none.
pub(crate) type Rules = BTreeMap<String, Option<String>>;

impl Unmatched {
    /// Compares the rules of a suite with what its tracer printed.
    pub(crate) fn of(suite: &Suite, stdout: &[u8], stderr: &[u8]) -> Self {
        let rules = &suite.normalise;
        let is_idle = rules.fields.is_empty() && rules.replace.is_empty() && suite.events.is_none();
        if is_idle && suite.assertions.is_empty() && suite.lost.is_none() {
            return Unmatched::default();
        }
        let lines: Vec<Line<'_>> = Line::all(stdout).collect();
        let events = Events::of(&lines);
        let mut unmatched = Unmatched::default();
        let mut without_events = Vec::new();
        for (field, rule) in
            suite.normalise.fields.keys().map(|field| (field, format!("`normalise.{field}`")))
        {
            let remark = match events.fields.contains(field) {
                true => None,
                false => {
                    let hint = events.hint(field);
                    Some(format!("{rule} is about a field that no event has{hint}"))
                }
            };
            if suite.normalise.shared.contains(field) {
                let remark = remark.map(|remark| format!("all suites: {remark}"));
                unmatched.shared.insert(format!("{OF_ALL}{field}"), remark);
            } else if events.count == 0 {
                without_events.push(rule);
            } else {
                unmatched.own.extend(remark);
            }
        }
        let mut fields_of = |rule: String, condition: &Condition| {
            let fields: BTreeSet<_> = condition.fields().into_iter().collect();
            if events.count == 0 && !fields.is_empty() {
                without_events.push(rule);
                return;
            }
            for field in fields {
                if !lines.iter().any(|line| line.field(field).is_some()) {
                    let field = field.join(".");
                    let hint = events.hint(&field);
                    let remark =
                        format!("{rule} compares the field `{field}`, which no event has{hint}");
                    unmatched.own.push(remark);
                }
            }
        };
        if let Some(condition) = &suite.events {
            fields_of("`events`".to_owned(), condition);
        }
        for assertion in &suite.assertions {
            let rule = format!("the assertion `{}`", assertion.text());
            assertion.conditions().into_iter().for_each(|one| fields_of(rule.clone(), one));
        }
        if let Some(condition) = suite.events.as_ref().filter(|_| !lines.is_empty())
            && !lines.iter().any(|line| condition.holds(line))
        {
            let count = lines.len();
            let remark = format!("`events` selects none of {count} lines: `{condition}`");
            unmatched.own.push(remark);
        }
        for replacement in &suite.normalise.replace {
            let pattern = &replacement.pattern;
            let mut others = lines.iter().filter(|line| line.event.is_none());
            if !others.any(|line| pattern.is_match(line.text)) {
                let remark =
                    format!("the pattern `{pattern}` of `replace` matches no line of text");
                unmatched.own.push(remark);
            }
        }
        let mut conditions =
            suite.events.iter().chain(suite.assertions.iter().flat_map(|one| one.conditions()));
        if !rules.fields.is_empty() || conditions.any(Condition::has_fields) {
            unmatched.own.extend(of_broken(&lines));
        }
        if !without_events.is_empty() {
            without_events.dedup();
            unmatched.own.push(format!(
                "{} concern fields of events, but no line of standard output is a JSON object",
                without_events.join(", ")
            ));
        }
        unmatched.own.extend(suite.lost.as_ref().and_then(|lost| of_lost(lost, stdout, stderr)));
        unmatched
    }
}

/// Lines that seem to be events, and that no condition on a field can match.
fn of_broken(lines: &[Line<'_>]) -> Option<String> {
    let (number, first) = (1..).zip(lines).find(|(_, line)| line.is_broken_event())?;
    let error = serde_json::from_slice::<Value>(first.text).err()?.to_string();
    let why = error.split(" at line ").next().unwrap_or_default();
    Some(format!(
        "standard output has lines that begin with `{{` and are not valid JSON, so they are no events: the \
         first is line {number} ({why})"
    ))
}

/// A pattern for losses that does not match is right as long as nothing is lost. It is not if the
/// tracer speaks of losses in other words, or elsewhere.
fn of_lost(lost: &Lost, stdout: &[u8], stderr: &[u8]) -> Option<String> {
    let (here, other, elsewhere) = match lost.stream {
        Stream::Stdout => (stdout, stderr, Stream::Stderr),
        Stream::Stderr => (stderr, stdout, Stream::Stdout),
    };
    if lost.pattern.is_match(here) {
        return None;
    }
    let (pattern, stream) = (&lost.pattern, lost.stream);
    if lost.pattern.is_match(other) {
        return Some(format!(
            "the pattern `{pattern}` of `lost` matches nothing on {stream}, but does on {elsewhere}"
        ));
    }
    let said = words_of_loss(here)?;
    Some(format!(
        "the pattern `{pattern}` of `lost` matches nothing on {stream}, where the tracer printed `{said}`"
    ))
}

/// The first line that seems to tell how much was lost.
fn words_of_loss(output: &[u8]) -> Option<String> {
    // A number and such a word, in either order, with little between them.
    let number = r"[1-9][0-9]*";
    let word = r"(lost|dropped|drops|missed|discarded)";
    let pattern =
        format!(r"(?im)^.*\b({word}\b.{{0,20}}\b{number}|{number}\b.{{0,20}}\b{word})\b.*$");
    let found = Regex::new(&pattern).ok()?.find(output)?;
    Some(shorten(String::from_utf8_lossy(found.as_bytes()).trim_end()))
}

/// The events of an output, and the names of all their fields: with dots for nested ones. Elements of
/// a list have the name of the list, and for conditions also their number.
#[derive(Debug, Default)]
struct Events {
    count: usize,
    fields: BTreeSet<String>,
}

impl Events {
    fn of(lines: &[Line<'_>]) -> Self {
        let mut events = Events::default();
        for event in lines.iter().filter_map(|line| line.event.as_ref()) {
            events.count += 1;
            events.add(event, "");
        }
        events
    }

    fn add(&mut self, value: &Value, path: &str) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    let path = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    if self.fields.len() < FIELDS {
                        self.fields.insert(path.clone());
                    }
                    self.add(value, &path);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item, path)),
            _ => {}
        }
    }

    /// What a field may have been meant to be: `: did you mean `pid`?`.
    fn hint(&self, field: &str) -> String {
        let known: Vec<&str> = self.fields.iter().map(String::as_str).collect();
        match nearest(field, known.iter().copied()) {
            Some(right) => format!(": did you mean `{right}`?"),
            None if known.is_empty() => String::new(),
            None if known.len() <= NAMED => format!(": there are {}", one_of(&known)),
            None => format!(": there are {} and others", one_of(&known[..NAMED])),
        }
    }
}

/// What the keys of rules for all suites begin with.
const OF_ALL: &str = "normalise.";

/// The rules that the cells of a run share.
#[derive(Debug, Default)]
pub(crate) struct SharedRules(Mutex<Rules>);

impl SharedRules {
    /// Adds what one cell showed.
    pub(crate) fn add(&self, of_cell: Rules) {
        join(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), of_cell);
    }

    /// What all cells showed. If not all suites ran, the rules of the whole project may match in the others.
    pub(crate) fn of_run(self, all_suites: bool) -> Rules {
        let mut rules = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|rule, _| all_suites || !rule.starts_with(OF_ALL));
        rules
    }
}

/// Adds what others showed.
pub(crate) fn join(all: &mut Rules, others: Rules) {
    for (rule, remark) in others {
        match remark {
            None => drop(all.insert(rule, None)),
            // The one that says the most: there may have been no events at all.
            Some(remark) => {
                let known = all.entry(rule).or_insert_with(|| Some(remark.clone()));
                if known.as_ref().is_some_and(|known| known.len() < remark.len()) {
                    *known = Some(remark);
                }
            }
        }
    }
}

/// Remarks on the rules that matched nowhere.
pub(crate) fn remarks(rules: &Rules) -> impl Iterator<Item = String> {
    rules.values().flatten().cloned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::suite::manifest::Project;

    const STDOUT: &str =
        "attached\n{\"pid\": 3, \"comm\": \"a\", \"args\": {\"fds\": [4, {\"x\": 1}]}}\n";

    fn suite(rules: &str) -> Suite {
        let text = format!("[[suite]]\nname = \"s\"\nrun = \"t\"\n{rules}\n");
        Project::parse(std::path::Path::new("kernlab.toml"), &text).unwrap().suites.remove(0)
    }

    fn own(rules: &str, stdout: &str, stderr: &str) -> Vec<String> {
        Unmatched::of(&suite(rules), stdout.as_bytes(), stderr.as_bytes()).own
    }

    #[rstest]
    #[case::a_field("normalise.pid = \"alias\"")]
    #[case::a_nested_field("normalise.\"args.fds.x\" = \"drop\"")]
    #[case::an_event("events = 'comm == \"a\"'")]
    #[case::an_element("events = 'args.fds.0 == 4'")]
    #[case::a_line("events = 'line ~ \"att\"'")]
    #[case::no_such_line("assert = ['count(stderr ~ \"error\") == 0', 'count(line ~ \"x\") == 0']")]
    #[case::a_field_that_differs("assert = ['count(pid == 4) == 0']")]
    #[case::a_replacement("replace = [{ pattern = 'att', with = '' }]")]
    #[case::no_loss("lost = { stderr = 'lost (\\d+)' }")]
    fn rules_that_match_or_need_not(#[case] rules: &str) {
        assert_eq!(own(rules, STDOUT, "lost no event, 0 dropped\nat 5 o'clock\n"), [""; 0]);
    }

    #[rstest]
    #[case(
        "normalise.pidd = \"alias\"",
        "`normalise.pidd` is about a field that no event has: did you mean `pid`?"
    )]
    #[case(
        "normalise.sigma = \"drop\"",
        "`normalise.sigma` is about a field that no event has: there are `args`, `args.fds`, \
         `args.fds.x`, `comm` or `pid`"
    )]
    #[case(
        "assert = ['count(com == \"b\") == 0']",
        "the assertion `count(com == \"b\") == 0` compares the field `com`, which no event has: did \
         you mean `comm`?"
    )]
    #[case("events = 'comm == \"b\"'", "`events` selects none of 2 lines: `comm == \"b\"`")]
    #[case(
        "replace = [{ pattern = 'comm', with = '' }]",
        "the pattern `comm` of `replace` matches no line of text"
    )]
    #[case(
        "lost = { stderr = 'lots (\\d+)' }",
        "the pattern `lots (\\d+)` of `lost` matches nothing on stderr, where the tracer printed \
         `Lost 5 events`"
    )]
    #[case(
        "lost = { stdout = 'Lost (\\d+)' }",
        "the pattern `Lost (\\d+)` of `lost` matches nothing on stdout, but does on stderr"
    )]
    fn rules_that_match_nothing(#[case] rules: &str, #[case] remark: &str) {
        assert_eq!(own(rules, STDOUT, "ready\nLost 5 events\n"), [remark]);
    }

    #[rstest]
    #[case::an_escape("{\"pid\": 1, \"name\": \"\\xff\"}\n", "line 2 (invalid escape)")]
    #[case::not_a_number("{\"pid\": nan}\n{\"pid\": 1\n", "line 2 (expected ident)")]
    fn an_event_that_is_not_valid_json_is_named(#[case] broken: &str, #[case] first: &str) {
        let stdout = format!("{{\"pid\": 1}}\n{broken}");
        let remarks = own("assert = ['count(pid == 2) == 0']", &stdout, "");
        assert!(remarks.len() == 1 && remarks[0].ends_with(first), "{remarks:?}");
        assert_eq!(own("replace = [{ pattern = 'pid', with = '' }]", &stdout, ""), [""; 0]);
    }

    #[test]
    fn an_output_without_events_is_told_once() {
        let rules = "normalise.pid = \"drop\"\nassert = ['count(ret < 0) == 0']";
        let remark = "`normalise.pid`, the assertion `count(ret < 0) == 0` concern fields of events, \
                      but no line of standard output is a JSON object";
        assert_eq!(own(rules, "pid 3\n", ""), [remark]);
    }

    #[test]
    fn a_rule_of_the_project_must_match_in_some_suite() {
        let text = "[normalise]\npid = \"alias\"\ntss = \"drop\"\n[[suite]]\nname = \"s\"\nrun = \
                    \"t\"\nnormalise.comm = \"drop\"\n";
        let project = Project::parse(std::path::Path::new("kernlab.toml"), text).unwrap();
        let [all, some] = [SharedRules::default(), SharedRules::default()];
        for stdout in ["", "{\"ts\": 1, \"comm\": 2}\n", "{\"pid\": 1}\n", "{\"ts\": 1}\n"] {
            let unmatched = Unmatched::of(&project.suites[0], stdout.as_bytes(), b"");
            assert_eq!(unmatched.own.is_empty(), stdout.contains("comm"), "{unmatched:?}");
            all.add(unmatched.shared.clone());
            some.add(unmatched.shared);
        }
        let remark = "all suites: `normalise.tss` is about a field that no event has: did you mean \
                      `ts`?";
        let of_all = all.of_run(true);
        assert_eq!(remarks(&of_all).collect::<Vec<_>>(), [remark]);
        assert_eq!(of_all.get("normalise.pid"), Some(&None), "it matched");
        assert!(some.of_run(false).is_empty(), "other suites may match them");
    }
}
