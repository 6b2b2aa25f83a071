//! The pages of a site.

mod index;
mod kernel;
mod parts;
mod place;
mod runs;
mod tool;

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, html};

pub(super) use self::place::Place;
use super::{
    Options, badge::Badge, change::Change, collection::Collection, evidence::Evidence, feed,
    tool::Tool,
};
use crate::report::{
    html::page,
    printable,
    regression::{Finding, Regression, Side},
    table::counted,
};

const STYLE: &str = include_str!("site.css");
const FILTER: &str = include_str!("filter.js");

/// What all pages are made of.
struct Context<'a> {
    collection: &'a Collection,
    options: &'a Options,
    tools: Vec<Tool<'a>>,
    place: Place,
    changes: Vec<Change>,
    causes: Vec<Finding>,
    evidence: Evidence,
}

/// All files, by their paths.
pub(super) fn all(collection: &Collection, options: &Options) -> BTreeMap<String, Vec<u8>> {
    let tools = Tool::all(collection);
    let context = Context {
        collection,
        options,
        place: Place::of(collection, &tools),
        changes: Change::all(collection),
        causes: Regression::causes(context_side(collection)),
        evidence: if options.evidence { Evidence::of(collection) } else { Evidence::default() },
        tools,
    };
    let mut files = BTreeMap::from([
        ("style.css".to_owned(), [page::STYLE, STYLE].concat().into_bytes()),
        ("script.js".to_owned(), [page::COPY, FILTER].concat().into_bytes()),
        ("index.html".to_owned(), index::render(&context)),
        ("runs.html".to_owned(), runs::render(&context)),
        (
            "feed.xml".to_owned(),
            feed::render(collection, &context.changes, &context.place, options),
        ),
    ]);
    for tool in &context.tools {
        let badge = Badge::of(tool, &collection.current.kernels);
        files.insert(format!("badges/{}.svg", tool.file), badge.svg());
        files.insert(format!("badges/{}.json", tool.file), badge.json());
        files.insert(context.place.tool(tool), tool::render(&context, tool, &badge));
    }
    for kernel in &collection.current.kernels {
        files.insert(context.place.kernel(&kernel.id), kernel::render(&context, kernel));
    }
    files.extend(context.evidence.files);
    files
}

fn context_side(collection: &Collection) -> Side<'_> {
    Side { report: &collection.current, evidence: collection }
}

impl Context<'_> {
    /// A page. `root` leads from it to the site's directory: empty, or `../`.
    fn page(&self, root: &str, title: &str, content: &Markup) -> Vec<u8> {
        let name = &self.options.title;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) " – " (name) }
                    link rel="stylesheet" href={ (root) "style.css" };
                    link rel="alternate" type="application/atom+xml" title="Regressions"
                        href={ (root) "feed.xml" };
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header {
                        nav aria-label="Site" {
                            a.home href={ (root) "index.html" } { (name) }
                            a href={ (root) "runs.html" } { "Runs" }
                            a href={ (root) "feed.xml" } { "Feed" }
                        }
                    }
                    main id="content" tabindex="-1" {
                        h1 { (page::sentence(title)) }
                        (content)
                    }
                    footer { (self.origin()) }
                    script src={ (root) "script.js" } {}
                }
            }
        };
        printable(&page.into_string()).into_bytes()
    }

    fn origin(&self) -> Markup {
        let runs = &self.collection.runs;
        html! {
            p {
                "Made by kernlab from " (counted(runs.len(), "run"))
                @if let Some(newest) = runs.last() { ", the newest of " (newest.moment()) }
                "."
                @if self.evidence.left_out > 0 {
                    " Evidence of " (counted(self.evidence.left_out, "cell"))
                    " is left out, because all together would be too large."
                }
            }
        }
    }
}
