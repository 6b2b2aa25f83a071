//! The feed of regressions: Atom, RFC 4287.

use maud::html;
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use super::{
    Options, badge::shown, change::Change, collection::Collection, file_names::digest, pages::Place,
};
use crate::report::headline::listed;

/// Older entries are left out.
const ENTRIES: usize = 50;

/// The text of `feed.xml`.
pub(super) fn render(
    collection: &Collection,
    changes: &[Change],
    place: &Place,
    options: &Options,
) -> Vec<u8> {
    let mut out = Writer::new_with_indent(Vec::new(), b' ', 2);
    match write(&mut out, collection, changes, place, options) {
        Ok(()) => [out.into_inner(), b"\n".to_vec()].concat(),
        Err(error) => unreachable!("a vector takes all: {error}"),
    }
}

type Out = Writer<Vec<u8>>;

fn write(
    out: &mut Out,
    collection: &Collection,
    changes: &[Change],
    place: &Place,
    options: &Options,
) -> std::io::Result<()> {
    let address = |file: &str| match &options.url {
        Some(url) => url.of(file),
        None => file.to_owned(),
    };
    let newest = collection.runs.last();
    let updated = newest.map_or_else(|| "1970-01-01T00:00:00Z".to_owned(), |run| time(run.started));
    out.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    out.create_element("feed")
        .with_attribute(("xmlns", "http://www.w3.org/2005/Atom"))
        .write_inner_content(|out| {
            text(out, "title", &format!("{}: regressions", options.title))?;
            text(out, "id", &name(&["feed", &options.title, &address("")]))?;
            text(out, "updated", &updated)?;
            link(out, "self", &address("feed.xml"))?;
            link(out, "alternate", &address("index.html"))?;
            out.create_element("author").write_inner_content(|out| text(out, "name", "kernlab"))?;
            for change in changes.iter().filter(|change| change.is_regression()).take(ENTRIES) {
                entry(out, collection, change, &address(&place.of_change(change)))?;
            }
            Ok(())
        })?;
    Ok(())
}

fn entry(
    out: &mut Out,
    collection: &Collection,
    change: &Change,
    address: &str,
) -> std::io::Result<()> {
    let run = &collection.runs[change.run];
    let cell = change.cells.first().map(String::as_str).unwrap_or_default();
    let title = format!(
        "{} on {}: {}",
        change.tool.1,
        listed(&change.kernels(), "kernel"),
        change.now.join(" or ")
    );
    let content = html! {
        p { (change.message) }
        @if !change.before.is_empty() { p { "Before: " (change.before.join(" or ")) } }
        ul { @for cell in change.cells.iter().take(ENTRIES) { li { (cell) } } }
        @if change.cells.len() > ENTRIES { p { "and " (change.cells.len() - ENTRIES) " more" } }
    };
    out.create_element("entry").write_inner_content(|out| {
        text(out, "title", &title)?;
        text(out, "id", &name(&["entry", &run.id, change.category.title(), cell]))?;
        text(out, "updated", &time(run.started))?;
        link(out, "alternate", address)?;
        out.create_element("content")
            .with_attribute(("type", "html"))
            .write_text_content(BytesText::new(&shown(&content.into_string())))?;
        Ok(())
    })?;
    Ok(())
}

fn text(out: &mut Out, element: &str, content: &str) -> std::io::Result<()> {
    out.create_element(element).write_text_content(BytesText::new(&shown(content))).map(drop)
}

fn link(out: &mut Out, relation: &str, address: &str) -> std::io::Result<()> {
    let attributes = [("rel", relation), ("href", address)];
    out.create_element("link").with_attributes(attributes).write_empty().map(drop)
}

fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An address that stays the same wherever the site is: a UUID of version 8, made of a hash.
fn name(parts: &[&str]) -> String {
    let digest = digest(parts.join("\0").as_bytes());
    let part = |from: usize, to: usize| &digest[from..to];
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    )
}
