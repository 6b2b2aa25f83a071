//! Badges: as pictures, and as JSON for shields.io.
//!
//! The JSON is that of <https://shields.io/badges/endpoint-badge>.

use maud::{PreEscaped, html};
use serde::Serialize;

use super::{collection::version, status::Status, tool::Tool};
use crate::report::{Kernel, junit::legal, printable};

/// Longer labels are cut, in characters.
const LABEL: usize = 40;

/// What a badge says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Badge {
    schema_version: u32,
    label: String,
    message: String,
    /// As shields.io names it.
    color: &'static str,
}

impl Badge {
    /// Of a tool: on which kernels it works.
    pub(super) fn of(tool: &Tool<'_>, kernels: &[Kernel]) -> Self {
        let by_kernel = tool.by_kernel(kernels);
        let with = |status: Status| by_kernel.iter().filter(move |(_, s)| *s == status);
        let (works, fails) = (with(Status::Works).count(), with(Status::Fails).count());
        let known = by_kernel.len() - with(Status::Unknown).count();
        let (message, color) = match (known, works, fails) {
            (0, _, _) => ("not known".to_owned(), "lightgrey"),
            (_, _, 1) => {
                let kernel = with(Status::Fails).map(|(kernel, _)| kernel.id.as_str()).next();
                (format!("fails on {}", kernel.unwrap_or_default()), "red")
            }
            (known, _, fails) if fails > 0 => {
                (format!("fails on {fails} of {known} kernels"), "red")
            }
            (known, works, _) if works == known => {
                (format!("works on {}", range(with(Status::Works))), "brightgreen")
            }
            (known, works, _) => (format!("works on {works} of {known} kernels"), "yellowgreen"),
        };
        let label = shown(tool.name).chars().take(LABEL).collect();
        Badge { schema_version: 1, label, message: shown(&message), color }
    }

    /// As shields.io reads it.
    pub(super) fn json(&self) -> Vec<u8> {
        match serde_json::to_vec(self) {
            Ok(json) => [json, b"\n".to_vec()].concat(),
            Err(error) => unreachable!("a badge is plain data: {error}"),
        }
    }

    /// As a picture.
    pub(super) fn svg(&self) -> Vec<u8> {
        let (left, right) = (width(&self.label), width(&self.message));
        let whole = left + right;
        let fill = match self.color {
            "brightgreen" => "#2b7a3d",
            "yellowgreen" => "#6b6a12",
            "red" => "#b3261e",
            _ => "#5f6670",
        };
        let text = |x: u32, width: u32, text: &str| {
            html! {
                text x=(x + width / 2) y="14" textLength=(width - 12) { (text) }
            }
        };
        let title = format!("{}: {}", self.label, self.message);
        let picture = html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(whole) height="20" role="img"
                aria-label=(title)
            {
                title { (title) }
                (PreEscaped(format!("<clipPath id=\"r\"><rect width=\"{whole}\" height=\"20\" rx=\"3\"/></clipPath>")))
                g clip-path="url(#r)" {
                    (PreEscaped(format!(
                        "<rect width=\"{left}\" height=\"20\" fill=\"#444b54\"/>\
                         <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{fill}\"/>"
                    )))
                }
                g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif"
                    font-size="11"
                {
                    (text(0, left, &self.label))
                    (text(left, right, &self.message))
                }
            }
        };
        (picture.into_string() + "\n").into_bytes()
    }

    /// Its text, for those who don't see it.
    pub(super) fn text(&self) -> String {
        format!("{}: {}", self.label, self.message)
    }
}

/// Text as XML can have it.
pub(super) fn shown(text: &str) -> String {
    legal(&printable(text))
}

/// The oldest and the newest release, `5.10 to 6.12`.
fn range<'a>(kernels: impl Iterator<Item = &'a (&'a Kernel, Status)>) -> String {
    let mut releases: Vec<_> = kernels
        .map(|(kernel, _)| version(kernel))
        .filter(|version| version.len() > 1)
        .map(|version| (version[0], version[1]))
        .collect();
    releases.sort_unstable();
    match (releases.first(), releases.last()) {
        (Some(first), Some(last)) if first == last => format!("{}.{}", first.0, first.1),
        (Some(first), Some(last)) => format!("{}.{} to {}.{}", first.0, first.1, last.0, last.1),
        _ => "all kernels".to_owned(),
    }
}

/// About as wide as the text in Verdana of 11 pixels, with a margin.
fn width(text: &str) -> u32 {
    let tenths: u32 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | '\'' | '|' | '!' => 35,
            'f' | 't' | 'r' | ' ' | '-' | '(' | ')' | '/' => 45,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 100,
            c if c.is_ascii_uppercase() => 76,
            c if c.is_ascii() => 67,
            _ => 110,
        })
        .sum();
    tenths.div_ceil(10) + 12
}
