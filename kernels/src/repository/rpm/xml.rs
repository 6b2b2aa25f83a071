//! Parsing of XML metadata.

use std::io::{self, BufRead};

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

/// A malformed metadata document.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// The document can't be read or decompressed.
    #[error("the document can't be read")]
    Read(#[source] io::Error),
    /// The document is not XML.
    #[error("the document is not XML")]
    Malformed(#[source] Box<quick_xml::Error>),
    /// The document ends too early.
    #[error("the document is truncated")]
    Truncated,
    /// The document lacks something, or has it in an unusable form.
    #[error("the document is damaged{}: {what}", at(.package))]
    Damaged {
        /// The package at which the error is, in a package list.
        package: String,
        what: &'static str,
    },
}

fn at(package: &str) -> String {
    if package.is_empty() { String::new() } else { format!(" at {package:?}") }
}

impl From<quick_xml::Error> for XmlError {
    fn from(error: quick_xml::Error) -> Self {
        match error {
            quick_xml::Error::Io(error) => {
                XmlError::Read(io::Error::new(error.kind(), error.to_string()))
            }
            quick_xml::Error::Syntax(_) => XmlError::Truncated,
            error => XmlError::Malformed(Box::new(error)),
        }
    }
}

/// The parts of a document that are used.
pub(super) enum Item<'a> {
    /// The start of an element; its name is without the prefix.
    Begin(&'a str, Attributes<'a>),
    /// The end of an element of this name, and the text before it.
    End(&'a str, &'a str),
}

/// The attributes of an element.
pub(super) struct Attributes<'a>(&'a BytesStart<'a>);

impl Attributes<'_> {
    /// The value of an attribute, by its name including the prefix.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let attribute = self.0.try_get_attribute(name).ok()??;
        Some(attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
    }
}

/// Calls a function for each element of a document, in document order.
pub(super) fn for_each_item(
    document: impl BufRead,
    mut visit: impl FnMut(Item<'_>) -> Result<(), XmlError>,
) -> Result<(), XmlError> {
    let mut reader = Reader::from_reader(document);
    let (mut buffer, mut text, mut depth) = (Vec::new(), String::new(), 0_usize);
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer)? {
            Event::Start(start) => {
                depth += 1;
                text.clear();
                visit(Item::Begin(start.local_name().as_ref(), Attributes(&start)))?;
            }
            Event::Empty(start) => {
                let local = start.local_name();
                visit(Item::Begin(local.as_ref(), Attributes(&start)))?;
                visit(Item::End(local.as_ref(), ""))?;
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                visit(Item::End(end.local_name().as_ref(), text.trim()))?;
                text.clear();
            }
            // References such as `&amp;` occur only in descriptions, which are not used.
            Event::Text(part) => text.push_str(&part),
            Event::Eof if depth > 0 => return Err(XmlError::Truncated),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}
