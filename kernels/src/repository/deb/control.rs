//! The stanzas of Debian's control files: deb822(5).

use std::borrow::Cow;

/// One stanza: `Field: value` lines and their continuations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stanza<'a>(&'a str);

/// The stanzas of a text, separated by empty lines.
///
/// A package index has tens of megabytes, of which only a few fields are used: this copies nothing.
pub(crate) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    text.split("\n\n").map(Stanza).filter(|stanza| !stanza.0.trim().is_empty())
}

impl<'a> Stanza<'a> {
    /// The value of a field. The lines of a multi-line value are separated by newlines.
    pub(crate) fn get(self, field: &str) -> Option<Cow<'a, str>> {
        let mut lines = self.0.lines();
        let first = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(field).then_some(value)
        })?;
        let mut value = Cow::Borrowed(first.trim());
        for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
            let value = value.to_mut();
            value.push('\n');
            value.push_str(line.trim());
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "\n\nPackage: a\nDepends: b,\n c\nSize: 3\n\n\n\nPackage: d\nSHA256:\n 1 f\n 2 g\n";

    #[test]
    fn fields_are_found_by_name_whatever_its_case() {
        let stanzas: Vec<_> = stanzas(TEXT).collect();
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].get("package").as_deref(), Some("a"));
        assert_eq!(stanzas[0].get("Depends").as_deref(), Some("b,\nc"));
        assert_eq!(stanzas[0].get("Size").as_deref(), Some("3"));
        assert_eq!(stanzas[0].get("Version"), None);
        assert_eq!(stanzas[1].get("SHA256").as_deref(), Some("\n1 f\n2 g"));
    }

    #[test]
    fn a_continuation_is_not_a_field() {
        let stanza = stanzas("Description: x\n Package: y\n").next().unwrap();
        assert_eq!(stanza.get("Package"), None);
    }
}
