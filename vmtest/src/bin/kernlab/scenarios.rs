//! The scenarios, and which of them a command line means.

use globset::{Glob, GlobMatcher};
use kernlab_core::{scenario::Scenario, tracer::Tracer};

use crate::failure::Failure;

/// Names that are less similar than this, from 0 to 1, are not suggested.
const SIMILAR: f64 = 0.8;

/// A glob that is not valid matches everything here: the run reports it.
fn matcher(glob: Option<&str>) -> Option<GlobMatcher> {
    Some(Glob::new(glob?).ok()?.compile_matcher())
}

fn matching(glob: Option<&str>) -> impl Iterator<Item = &'static Scenario> {
    let matcher = matcher(glob);
    let all = Scenario::ALL.iter();
    all.filter(move |scenario| {
        matcher.as_ref().is_none_or(|glob| glob.is_match(scenario.to_string()))
    })
}

/// Refuses a glob that matches no scenario, and suggests what may be meant.
pub(crate) fn check(glob: Option<&str>) -> Result<(), Failure> {
    let Some(wanted) = glob else { return Ok(()) };
    if matching(glob).next().is_some() {
        return Ok(());
    }
    let near = near(wanted);
    let hint = match near.is_empty() {
        true => "--list lists them all".to_owned(),
        false => format!("did you mean {}?", near.join(" or ")),
    };
    Err(Failure::usage(format!("no scenario matches {wanted:?}: {hint}")))
}

/// The ids of scenarios, and globs of all that a tracer has, that are similar to this, the most similar
/// first. Without a slash, it may be the name of a tracer or of a scenario alone.
fn near(wanted: &str) -> Vec<String> {
    let is_id = wanted.contains('/');
    let named = |name: &str, id: String| (if is_id { id.clone() } else { name.to_owned() }, id);
    let scenarios = Scenario::ALL.iter().map(|scenario| named(scenario.name, scenario.to_string()));
    let tracers = Tracer::all().map(|tracer| named(tracer.name(), format!("{tracer}/*")));
    let mut scored: Vec<(f64, String)> = tracers
        .chain(scenarios)
        .map(|(name, meant)| (strsim::jaro_winkler(wanted, &name), meant))
        .filter(|(score, _)| *score >= SIMILAR)
        .collect();
    scored.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    scored.into_iter().map(|(_, meant)| meant).take(3).collect()
}

/// A line for each.
pub(crate) fn list(glob: Option<&str>) -> String {
    let rows: Vec<_> =
        matching(glob).map(|scenario| (scenario.to_string(), scenario.about)).collect();
    let width = rows.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
    rows.iter().map(|(id, about)| format!("{id:width$}  {about}\n")).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("inotfy", "inotify/*")]
    #[case("inotify", "inotify/*")]
    #[case("inotfy/*", "inotify/*")]
    #[case("inotify/rename_samedir", "inotify/rename_same_dir")]
    #[case("tcp4", "socket_write/tcp4")]
    #[case("sys_wirte/threads", "sys_write/threads")]
    fn the_nearest_name_is_suggested_first(#[case] wanted: &str, #[case] expected: &str) {
        assert_eq!(near(wanted).first().map(String::as_str), Some(expected));
    }

    #[rstest]
    #[case(None)]
    #[case(Some("inotify/*"))]
    #[case(Some("*/long_name"))]
    #[case(Some("{not a glob"))]
    fn what_matches_or_is_no_glob_is_not_refused(#[case] glob: Option<&str>) {
        assert!(check(glob).is_ok());
    }

    #[test]
    fn scenarios_are_listed_with_what_they_are_about() {
        assert_eq!(
            list(Some("user_args/{eight_ints,pie_and_static}")),
            "user_args/eight_ints      a function in user space with 8 arguments and a result\n\
             user_args/pie_and_static  the same in a relocatable program and in one at fixed addresses\n"
        );
        assert_eq!(list(None).lines().count(), Scenario::ALL.len());
    }
}
