//! Compares Debian package versions as defined in deb-version(7).

use std::{cmp::Ordering, fmt, str::FromStr};

/// `[epoch:]upstream[-revision]`.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    text: String,
    epoch: u64,
    /// The byte offsets of the upstream version and of the revision.
    upstream: usize,
    revision: Option<usize>,
}

/// Text that is not a version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a package version")]
pub(crate) struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let not_a_version = || NotAVersion(text.to_owned());
        let (epoch, upstream) = match text.find(':') {
            None => (0, 0),
            Some(colon) => (text[..colon].parse().map_err(|_| not_a_version())?, colon + 1),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
        if upstream == text.len() || !text.chars().all(allowed) {
            return Err(not_a_version());
        }
        let revision = text[upstream..].rfind('-').map(|dash| upstream + dash + 1);
        Ok(Version { text: text.to_owned(), epoch, upstream, revision })
    }
}

impl Version {
    /// The upstream version: `5.10.262` of `5.10.262-1`.
    pub(crate) fn upstream(&self) -> &str {
        &self.text[self.upstream..self.revision.map_or(self.text.len(), |start| start - 1)]
    }

    /// The revision; an absent one equals `0`.
    fn revision(&self) -> &str {
        self.revision.map_or("0", |start| &self.text[start..])
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare(self.upstream().as_bytes(), other.upstream().as_bytes()))
            .then_with(|| compare(self.revision().as_bytes(), other.revision().as_bytes()))
    }
}

/// Compares alternating runs of non-digits, by [`weight`], and of digits, as numbers.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) =
            (take(&mut a, |c| !c.is_ascii_digit()), take(&mut b, |c| !c.is_ascii_digit()));
        for index in 0..text_a.len().max(text_b.len()) {
            match weight(text_a.get(index)).cmp(&weight(text_b.get(index))) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        let (number_a, number_b) =
            (take(&mut a, u8::is_ascii_digit), take(&mut b, u8::is_ascii_digit));
        let (number_a, number_b) = (without_zeros(number_a), without_zeros(number_b));
        match number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

fn take<'a>(rest: &mut &'a [u8], belongs: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = rest.iter().position(|c| !belongs(c)).unwrap_or(rest.len());
    let (run, tail) = rest.split_at(end);
    *rest = tail;
    run
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    &digits[start..]
}

/// A tilde sorts before the end of the text, letters before everything else.
fn weight(character: Option<&u8>) -> i32 {
    match character {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("6.1.192-1", "6.1.192-2", Ordering::Less)]
    #[case("6.1.99-1", "6.1.192-1", Ordering::Less)]
    #[case("6.1.176-1~deb11u1", "6.1.176-1", Ordering::Less)]
    #[case("6.12.117-1~bpo13+1", "6.12.117-1~deb12u1", Ordering::Less)]
    #[case("6.19.14-1~bpo13+1", "6.19.8-1~bpo13+1", Ordering::Greater)]
    #[case("7.2~rc4-1~exp1", "7.2-1", Ordering::Less)]
    #[case("1:1.0-1", "2.0-1", Ordering::Greater)]
    #[case("1.0", "1.0-0", Ordering::Equal)]
    #[case("0:1.0-1", "1.0-1", Ordering::Equal)]
    #[case("1.010", "1.10", Ordering::Equal)]
    #[case("1.0a", "1.0+", Ordering::Less)]
    #[case("1.0~~", "1.0~", Ordering::Less)]
    #[case("1.0~", "1.0", Ordering::Less)]
    #[case("1.0-1-1", "1.0-2", Ordering::Greater)]
    #[case("5.4.0-216.236", "5.4.0-99.112", Ordering::Greater)]
    #[case("5.4.0.216.208", "5.4.0.99.103", Ordering::Greater)]
    #[case("1.99999999999999999999999", "1.100000000000000000000000", Ordering::Less)]
    fn order(#[case] a: Version, #[case] b: Version, #[case] expected: Ordering) {
        assert_eq!(a.cmp(&b), expected);
        assert_eq!(b.cmp(&a), expected.reverse());
    }

    #[rstest]
    #[case("")]
    #[case("1:")]
    #[case("x:1")]
    #[case("1 2")]
    #[case("1/2")]
    fn other_text_is_refused(#[case] text: &str) {
        assert!(text.parse::<Version>().is_err());
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-9a-z.+~-]{1,8}", b in "[0-9a-z.+~-]{1,8}", c in "[0-9a-z.+~-]{1,8}") {
            let [a, b, c]: [Version; 3] = [a, b, c].map(|text| text.parse().unwrap());
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
