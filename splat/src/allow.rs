//! Splats that are known and not held against a kernel.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, Unexpected},
};

use crate::Splat;

/// Known splats, as data: each with the reason why it doesn't count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowList {
    /// The entries.
    #[serde(default)]
    pub allow: Vec<AllowEntry>,
}

/// One known splat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowEntry {
    /// The title; `*` stands for any text.
    #[serde(deserialize_with = "title")]
    pub title: String,
    /// Why it doesn't count.
    #[serde(deserialize_with = "reason")]
    pub reason: String,
    /// Where one can read more about it.
    #[serde(deserialize_with = "link")]
    pub link: String,
}

/// A pattern that names something: one that fits every splat would hide what nobody has seen yet.
fn title<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let is_title = |text: &str| text.chars().any(|c| c != '*' && !c.is_whitespace());
    checked(deserializer, is_title, "a title that names a splat, such as \"WARNING in do_it*\"")
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |text| !text.trim().is_empty(), "a reason why the splat doesn't count")
}

fn link<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let is_link = |text: &str| text.starts_with("https://") || text.starts_with("http://");
    checked(deserializer, is_link, "an http or https address to read more at")
}

fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    is_right: impl FnOnce(&str) -> bool,
    expected: &'static str,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if is_right(&text) {
        return Ok(text);
    }
    Err(D::Error::invalid_value(Unexpected::Str(&text), &expected))
}

impl AllowList {
    /// The entry that a splat falls under.
    pub fn entry(&self, splat: &Splat) -> Option<&AllowEntry> {
        self.allow.iter().find(|entry| fits(&entry.title, &splat.title))
    }
}

/// Whether a text fits a pattern with `*`.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("WARNING in do_it", "WARNING in do_it", true)]
    #[case("WARNING in do_it", "WARNING in do_it_not", false)]
    #[case("WARNING in *", "WARNING in do_it", true)]
    #[case("*in*it", "WARNING in do_it", true)]
    #[case("*in*at", "WARNING in do_it", false)]
    #[case("do*do", "do", false)]
    fn titles_fit_patterns(#[case] pattern: &str, #[case] title: &str, #[case] expected: bool) {
        assert_eq!(fits(pattern, title), expected);
    }

    #[test]
    fn a_list_is_data() {
        let list = toml::from_str::<AllowList>(
            r#"
            [[allow]]
            title = "WARNING in ex_handler_*"
            reason = "the probe reads such addresses on purpose"
            link = "https://docs.kernel.org/bpf/"
            "#,
        );
        let splat = Splat {
            title: "WARNING in ex_handler_uaccess".to_owned(),
            kind: crate::Kind::Warning,
            frame: None,
            line: 1,
            last_line: 1,
        };
        let list = list.unwrap();
        let entry = list.entry(&splat).unwrap();
        assert_eq!(entry.reason, "the probe reads such addresses on purpose");
        assert_eq!(AllowList::default().entry(&splat), None);
    }

    #[rstest]
    #[case::of_everything("* *", "known", "https://a", "a title that names a splat")]
    #[case::of_nothing("", "known", "https://a", "a title that names a splat")]
    #[case::without_a_reason("WARNING in a", " ", "https://a", "a reason")]
    #[case::without_a_link("WARNING in a", "known", "see above", "an http or https address")]
    fn an_entry_that_says_too_little_is_refused(
        #[case] title: &str,
        #[case] reason: &str,
        #[case] link: &str,
        #[case] expected: &str,
    ) {
        let entry = format!("[[allow]]\ntitle = {title:?}\nreason = {reason:?}\nlink = {link:?}");
        let refused = toml::from_str::<AllowList>(&entry).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        let incomplete = entry.replace("reason =", "why =");
        assert!(toml::from_str::<AllowList>(&incomplete).is_err());
    }
}
