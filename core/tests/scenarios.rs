//! `docs/scenarios.md` has a line for every scenario, and for every field of every event.

use kernlab_abi::LAYOUTS;
use kernlab_core::scenario::Scenario;

const PAGE: &str = include_str!("../../docs/scenarios.md");

/// The structures that cross the buffer, or are read as events at the end.
fn is_event(structure: &str) -> bool {
    structure.ends_with("Event") || ["EventHeader", "FileTotals"].contains(&structure)
}

/// The cells of a row of a table, without the outermost bars.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// The row of a table that begins with this code.
fn row(code: &str) -> Option<Vec<&'static str>> {
    let begin = format!("| `{code}` |");
    PAGE.lines().find(|line| line.starts_with(&begin)).map(cells)
}

/// Everything between backquotes.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_scenario_has_a_line_with_what_it_is_about() {
    for scenario in Scenario::ALL {
        let found = row(&scenario.to_string());
        let expected = vec![format!("`{scenario}`"), scenario.about.to_owned()];
        let found = found.map(|cells| cells.iter().map(ToString::to_string).collect());
        assert_eq!(found, Some(expected), "docs/scenarios.md");
    }
}

#[test]
fn every_field_of_every_event_has_a_limit_and_who_holds_it() {
    let mut fields = 0;
    for structure in LAYOUTS.iter().filter(|structure| is_event(structure.name)) {
        let told = |name: &&str| !["header", "reserved"].contains(name);
        for member in structure.members.iter().map(|member| member.name).filter(told) {
            let field = format!("{}.{member}", structure.name);
            let row = row(&field).unwrap_or_else(|| panic!("docs/scenarios.md lacks {field}"));
            let &[_, limit, held] = row.as_slice() else { panic!("{row:?}") };
            assert!(!limit.is_empty() && !held.is_empty(), "{field}");
            let names_one = codes(held).any(|code| Scenario::by_id(code).is_some());
            assert!(
                names_one || held.starts_with("every scenario") || held.starts_with("none: "),
                "{field} names no scenario, and does not say why: {held}"
            );
            fields += 1;
        }
    }
    assert!(fields > 30, "only {fields} fields were found");
}

#[test]
fn no_line_is_of_what_is_no_longer_there() {
    for code in codes(PAGE).filter(|code| code.contains('/') && !code.contains('.')) {
        assert!(Scenario::by_id(code).is_some(), "docs/scenarios.md has {code}");
    }
    let fields: Vec<_> = LAYOUTS
        .iter()
        .flat_map(|structure| {
            structure
                .members
                .iter()
                .map(move |member| format!("{}.{}", structure.name, member.name))
        })
        .collect();
    let lines = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    for code in lines.filter_map(|line| line.split('`').next()).filter(|code| code.contains('.')) {
        assert!(fields.iter().any(|field| field == code), "docs/scenarios.md has {code}");
    }
}
