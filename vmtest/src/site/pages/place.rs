//! Where each thing is in the site.

use std::collections::BTreeMap;

use super::super::{
    change::Change,
    collection::Collection,
    file_names::{FileNames, digest},
    tool::Tool,
};
use crate::report::link;

/// The files of all tools, kernels and cells.
pub(in crate::site) struct Place {
    kernels: FileNames,
    /// The file of the tool of each cell.
    tools: BTreeMap<String, String>,
}

impl Place {
    pub(super) fn of(collection: &Collection, tools: &[Tool<'_>]) -> Self {
        let kernels = collection.current.kernels.iter().map(|kernel| kernel.id.as_str());
        let of_tool = |tool: &Tool<'_>| {
            let file = tool.file.clone();
            tool.cells.iter().map(|cell| cell.id()).map(move |id| (id, file.clone())).collect()
        };
        Place {
            kernels: FileNames::of(kernels.map(|kernel| (kernel, kernel))),
            tools: tools.iter().flat_map(|tool| -> Vec<_> { of_tool(tool) }).collect(),
        }
    }

    pub(super) fn tool(&self, tool: &Tool<'_>) -> String {
        format!("tools/{}.html", tool.file)
    }

    pub(super) fn kernel(&self, id: &str) -> String {
        format!("kernels/{}.html", self.kernels.get(id))
    }

    /// The part of a tool's page that is about a kernel.
    pub(super) fn tool_on(&self, tool: &Tool<'_>, kernel: &str) -> String {
        format!("{}#on-{}", self.tool(tool), self.kernels.get(kernel))
    }

    /// The id of that part.
    pub(super) fn on(&self, kernel: &str) -> String {
        format!("on-{}", self.kernels.get(kernel))
    }

    /// The row of a cell on its tool's page.
    pub(super) fn cell(&self, id: &str) -> String {
        match self.tools.get(id) {
            Some(file) => format!("tools/{file}.html#{}", anchor(id)),
            None => "index.html".to_owned(),
        }
    }

    /// What tells more about a change.
    pub(in crate::site) fn of_change(&self, change: &Change) -> String {
        self.cell(change.cells.first().map_or("", String::as_str))
    }
}

/// The id of a cell's row.
pub(super) fn anchor(cell: &str) -> String {
    match link(cell) {
        // An address needs to escape nothing of it.
        Some(same) if same == cell => same,
        _ => format!("cell-{}", &digest(cell.as_bytes())[..16]),
    }
}
