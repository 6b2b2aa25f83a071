//! What a suite expects, and what does not matter of its output.

use std::{cell::RefCell, collections::BTreeMap};

use kernlab_core::outcome::Reason;
use kernlab_kernels::DocumentError;
use regex_automata::util::interpolate;

use super::{field::Field, suite::stream};
use crate::suite::{
    feature::FeatureCondition,
    manifest::{Expectation, ExpectedOutcome, FieldRule, Lost, Order, Pattern, Replacement},
    spelling::{nearest, unknown},
};

pub(super) const LOST: &[&str] = &["stdout", "stderr", "max"];
pub(super) const REPLACE: &[&str] = &["pattern", "with"];
pub(super) const EXPECT: &[&str] = &["when", "outcome", "code", "reason", "review"];

/// The rules for fields: those that are given, with those of a table added or changed.
pub(super) fn field_rules(
    table: Option<Field<'_>>,
    mut rules: BTreeMap<String, FieldRule>,
) -> Result<BTreeMap<String, FieldRule>, DocumentError> {
    let Some(table) = table else { return Ok(rules) };
    for (name, field) in table.open_table()?.flat() {
        if name.split('.').any(str::is_empty) {
            return Err(field.invalid("expected names of fields, with single dots between them"));
        }
        let rule = field.parse(|text| match rule(&name, text)? {
            None if !rules.contains_key(&name) => Err(nothing_to_keep(&name, &rules)),
            rule => Ok(rule),
        })?;
        match rule {
            Some(rule) => rules.insert(name, rule),
            None => rules.remove(&name),
        };
    }
    Ok(rules)
}

/// None keeps a field as it is, whatever the whole project does with it.
fn rule(name: &str, text: &str) -> Result<Option<FieldRule>, String> {
    if let Some(class) = text.strip_prefix("alias:") {
        let is_class = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        return match !class.is_empty() && class.chars().all(is_class) {
            true => Ok(Some(FieldRule::Alias { class: class.to_owned() })),
            false => Err(format!(
                "`{class}` can't be what names begin with: expected letters and digits"
            )),
        };
    }
    match text {
        "alias" => Ok(Some(FieldRule::Alias { class: name.to_owned() })),
        "drop" => Ok(Some(FieldRule::Drop)),
        "keep" => Ok(None),
        _ => Err(unknown("rule", text, &["alias", "alias:NAME", "drop", "keep"])),
    }
}

fn nothing_to_keep(name: &str, rules: &BTreeMap<String, FieldRule>) -> String {
    let right = nearest(name, rules.keys().map(String::as_str));
    let right = right.map(|right| format!(": did you mean `{right}`?")).unwrap_or_default();
    format!("`keep` undoes a rule of the whole project, and there is none for this field{right}")
}

pub(super) fn replacements(field: Field<'_>) -> Result<Vec<Replacement>, DocumentError> {
    field.list("a list of tables", |item| {
        let mut table = item.table(REPLACE)?;
        let pattern = table.need("pattern", |field| field.parse(Pattern::new))?;
        let with = table.need("with", |field| {
            let at = field.clone();
            let with = field.scalar()?;
            check_groups(&pattern, &with).map_err(|why| at.invalid(why))?;
            Ok(with)
        })?;
        Ok(Replacement { pattern, with })
    })
}

/// Refuses references to groups that a pattern does not have: nothing would be put in their place.
fn check_groups(pattern: &Pattern, with: &str) -> Result<(), String> {
    let regex = pattern.regex();
    let unknown = RefCell::new(None);
    let note = |group: &str| {
        unknown.borrow_mut().get_or_insert_with(|| group.to_owned());
    };
    let index = |index: usize, _: &mut String| {
        if index >= regex.captures_len() {
            note(&index.to_string());
        }
    };
    let name = |name: &str| {
        let found = regex.capture_names().position(|known| known == Some(name));
        if found.is_none() {
            note(name);
        }
        found
    };
    interpolate::string(with, index, name, &mut String::new());
    match unknown.into_inner() {
        None => Ok(()),
        Some(group) => Err(format!(
            "`{}` has no group `{group}`: write `${{1}}` where a letter, a digit or `_` follows the number \
             of a group, and `$$` for a `$`",
            pattern.source()
        )),
    }
}

pub(super) fn order(text: &str) -> Result<Order, String> {
    match (text, text.strip_prefix("per-")) {
        ("strict", _) => Ok(Order::Strict),
        ("none", _) => Ok(Order::Unordered),
        (_, Some(field)) if !field.split('.').any(str::is_empty) => {
            Ok(Order::PerField(field.to_owned()))
        }
        _ => Err(unknown("order", text, &["strict", "none", "per-FIELD"])),
    }
}

pub(super) fn lost(field: Field<'_>) -> Result<Lost, DocumentError> {
    let mut table = field.table(LOST)?;
    let (stream, field) = stream(&mut table)?;
    let pattern = field.parse(|text| {
        let pattern = Pattern::new(text)?;
        // The first group is the whole match.
        match pattern.regex().captures_len() - 1 {
            1 => Ok(pattern),
            groups => Err(format!(
                "`{text}` has {groups} groups: expected one around the number of lost events, as in \
                 `lost (\\d+)`"
            )),
        }
    })?;
    let max = table.read("max", |field| field.integer(0..=i64::MAX))?.unwrap_or(0);
    Ok(Lost { stream, pattern, max: max.unsigned_abs() })
}

/// A reason as reports name it.
fn reason_code(text: &str) -> Result<Reason, String> {
    let found = Reason::ALL.iter().find(|reason| reason.code() == text);
    found.copied().ok_or_else(|| {
        let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        unknown("reason code", text, &codes)
    })
}

pub(super) fn expectation(field: Field<'_>) -> Result<Expectation, DocumentError> {
    let mut table = field.table(EXPECT)?;
    Ok(Expectation {
        when: table.need("when", |field| field.parse(FeatureCondition::parse))?,
        outcome: table.need("outcome", |field| field.word("outcome", &ExpectedOutcome::ALL))?,
        code: table.read("code", |field| field.parse(reason_code))?,
        reason: table.need("reason", Field::text)?,
        review: table.read("review", Field::date)?,
    })
}
