//! Splats that are known and not held against a kernel.

use serde::{Deserialize, Serialize};

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
    pub title: String,
    /// Why it doesn't count.
    pub reason: String,
    /// Where one can read more about it.
    pub link: String,
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

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        let refused = toml::from_str::<AllowList>("[[allow]]\ntitle = \"*\"\nlink = \"\"");
        assert!(refused.unwrap_err().to_string().contains("reason"));
    }
}
