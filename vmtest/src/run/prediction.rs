//! What the dossiers of a run's kernels let expect of its cells.

use std::{fs, io, path::Path};

use kernlab_core::{
    btf::{Btf, Extract},
    cell::{BtfMode, Cell},
    dossier::{Dossier, GivenTypes},
    record::Decision,
    tracer::wanted_types,
};

use super::dir::{RunDir, read_json, write_json};
use crate::verdict::Prediction;

/// Keeps the dossier of a kernel, and the types that its cells are given in a file. None stands for one
/// that can't be had: the cells that need it say why.
pub(super) fn keep(
    dir: &RunDir,
    kernel: &str,
    dossier: &Option<Dossier>,
    external_types: Option<&Option<Extract>>,
) -> io::Result<()> {
    if let Some(types) = external_types {
        write_below(&dir.external_types(kernel), |file| write_json(file, types))?;
    }
    // Last: that the dossier is there says that all is.
    write_below(&dir.dossier(kernel), |file| write_json(file, dossier))
}

fn write_below(file: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(file))?;
    write(file)
}

/// The types of a file with BTF, as far as plans ask for them. None if it is not there, or no BTF.
pub(super) fn extract(file: &Path) -> Option<Extract> {
    Some(Btf::parse(fs::read(file).ok()?).ok()?.extract(&wanted_types()))
}

/// What the dossier of a cell's kernel says of the cell: nothing where the run has none.
pub(super) fn of_cell(dir: &RunDir, cell: &Cell) -> io::Result<Prediction> {
    let dossier = read_json::<Option<Dossier>>(&dir.dossier(&cell.kernel))?.flatten();
    let Some(dossier) = dossier else { return Ok(Prediction::default()) };
    Ok(Prediction {
        decision: predict(dir, cell, &dossier),
        with_types: Some(dossier.predict(cell.scenario, GivenTypes::Own)),
    })
}

fn predict(dir: &RunDir, cell: &Cell, dossier: &Dossier) -> Option<Decision> {
    let types = match cell.btf {
        BtfMode::Embedded | BtfMode::Absent => GivenTypes::Own,
        BtfMode::Masked => GivenTypes::None,
        BtfMode::External => {
            let file = dir.external_types(&cell.kernel);
            let extract = read_json::<Option<Extract>>(&file).ok()?.flatten()?;
            return Some(dossier.predict(cell.scenario, GivenTypes::File(&extract)));
        }
    };
    Some(dossier.predict(cell.scenario, types))
}
