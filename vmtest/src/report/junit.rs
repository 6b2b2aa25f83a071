//! A run in the JUnit XML format that CI systems read.
//!
//! There is no standard; this is the subset that all readers accept, described in
//! <https://github.com/testmoapp/junitxml>. A suite is a kernel in one BTF mode, with the kernel's
//! architecture as a property.

use std::io;

use kernlab_core::outcome::Outcome;
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use super::{
    CellReport, Report,
    grid::{Grid, distinct},
    headline,
};

/// Renders the document. An unsupported cell is skipped, an inconclusive one is an error.
pub fn render(report: &Report) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    match document(&mut writer, report) {
        Ok(()) => String::from_utf8_lossy(&writer.into_inner()).into_owned() + "\n",
        Err(error) => unreachable!("a vector takes all: {error}"),
    }
}

fn document(writer: &mut Writer<Vec<u8>>, report: &Report) -> io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all: Vec<&CellReport> = report.cells.iter().collect();
    let names: Vec<String> =
        all.iter().map(|cell| format!("{}/{}", cell.kernel, cell.btf)).collect();
    let element = writer.create_element("testsuites").with_attribute(("name", "kernlab"));
    let element = counts(&all)
        .iter()
        .fold(element, |element, (name, count)| element.with_attribute((*name, count.as_str())));
    let grid = Grid::of(report);
    let time = seconds(report.run.duration_ms);
    element.with_attribute(("time", time.as_str())).write_inner_content(|writer| {
        for name in distinct(names.iter().map(String::as_str)) {
            let of_suite = names.iter().zip(&all).filter(|(of_cell, _)| *of_cell == name);
            let cells: Vec<&CellReport> = of_suite.map(|(_, cell)| *cell).collect();
            suite(writer, name, &report.run.started, &grid, &cells)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn suite(
    writer: &mut Writer<Vec<u8>>,
    name: &str,
    started: &str,
    grid: &Grid<'_>,
    cells: &[&CellReport],
) -> io::Result<()> {
    let element = writer.create_element("testsuite").with_attribute(("name", name));
    let element = counts(cells)
        .iter()
        .fold(element, |element, (name, count)| element.with_attribute((*name, count.as_str())));
    let time = seconds(cells.iter().map(|cell| cell.duration_ms).fold(0, u64::saturating_add));
    let element = element.with_attribute(("time", time.as_str()));
    let arch = cells.first().and_then(|cell| grid.arch(&cell.kernel));
    element.with_attribute(("timestamp", started)).write_inner_content(|writer| {
        if let Some(arch) = arch {
            writer.create_element("properties").write_inner_content(|writer| {
                let property = writer.create_element("property");
                let property = property.with_attribute(("name", "architecture"));
                property.with_attribute(("value", arch)).write_empty()?;
                Ok(())
            })?;
        }
        cells.iter().try_for_each(|cell| case(writer, cell))
    })?;
    Ok(())
}

fn case(writer: &mut Writer<Vec<u8>>, cell: &CellReport) -> io::Result<()> {
    let class = format!("{}.{}.{}", cell.kernel, cell.btf, cell.backend);
    let time = seconds(cell.duration_ms);
    let element = writer
        .create_element("testcase")
        .with_attribute(("classname", class.as_str()))
        .with_attribute(("name", cell.scenario.as_str()))
        .with_attribute(("time", time.as_str()));
    let Some(kind) = Kind::of(cell.outcome).element() else {
        element.write_empty()?;
        return Ok(());
    };
    let (headline, _) = headline(&cell.message);
    let message = legal(&format!("{}: {headline}", cell.verdict()));
    let name = cell.outcome.name();
    element.write_inner_content(|writer| {
        let element = writer.create_element(kind).with_attribute(("message", message.as_str()));
        if kind == SKIPPED {
            element.write_empty()?;
            return Ok(());
        }
        let diff = cell.diff.as_deref().unwrap_or_default();
        let text = legal(&format!("{}\n{diff}\nagain: {}\n", cell.message, cell.repro_command()));
        element.with_attribute(("type", name)).write_text_content(BytesText::new(&text))?;
        Ok(())
    })?;
    Ok(())
}

const SKIPPED: &str = "skipped";

/// The results that JUnit has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passed,
    Skipped,
    Failure,
    Error,
}

impl Kind {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Kind::Passed,
            Outcome::Unsupported => Kind::Skipped,
            Outcome::Fail
            | Outcome::KernelWarning
            | Outcome::KernelCrash
            | Outcome::Timeout
            | Outcome::Flaky => Kind::Failure,
            Outcome::Infra | Outcome::Unavailable | Outcome::NotRun => Kind::Error,
        }
    }

    fn element(self) -> Option<&'static str> {
        match self {
            Kind::Passed => None,
            Kind::Skipped => Some(SKIPPED),
            Kind::Failure => Some("failure"),
            Kind::Error => Some("error"),
        }
    }
}

fn counts(cells: &[&CellReport]) -> [(&'static str, String); 4] {
    let count = |kind| {
        let of_kind = cells.iter().filter(|cell| Kind::of(cell.outcome) == kind);
        of_kind.count().to_string()
    };
    [
        ("tests", cells.len().to_string()),
        ("failures", count(Kind::Failure)),
        ("errors", count(Kind::Error)),
        ("skipped", count(Kind::Skipped)),
    ]
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// Replaces the characters that XML 1.0 doesn't allow, even escaped.
pub(crate) fn legal(text: &str) -> String {
    let is_legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if is_legal(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;

    use super::{super::sample, *};

    #[test]
    fn a_run() {
        insta::assert_snapshot!(render(&sample::report()));
    }

    #[test]
    fn a_suite_tells_its_architecture_where_there_are_several() {
        insta::assert_snapshot!(render(&sample::architectures()));
    }

    #[test]
    fn a_cell_of_a_suite_is_one_test_case() {
        insta::assert_snapshot!(render(&sample::suites()));
    }

    /// The names of a document's elements.
    fn elements(document: &str) -> Vec<String> {
        let mut reader = Reader::from_str(document);
        let mut names = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => return names,
                Event::Start(element) | Event::Empty(element) => {
                    // Attributes are parsed lazily.
                    assert!(element.attributes().all(|attribute| attribute.is_ok()));
                    names.push(element.name().as_ref().to_owned());
                }
                _ => {}
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_cells_say_it_stays_xml(message in "\\PC{0,20}|(\\x00|\\x1b|<|&|]]>|\"|\u{ffff}){0,20}") {
            let mut report = sample::report();
            report.cells.truncate(7);
            for cell in &mut report.cells {
                cell.message.clone_from(&message);
                cell.diff = Some(message.clone());
            }
            let names = elements(&render(&report));
            proptest::prop_assert_eq!(names.iter().filter(|name| *name == "testcase").count(), 7);
        }
    }
}
