//! The predictions that the dossiers of a run's kernels give for its cells.

use std::{fs, io, path::Path};

use kernlab_core::{
    arch::Arch,
    btf::{Btf, Extract},
    cell::{BtfMode, Cell},
    dossier::{Dossier, GivenTypes},
    record::Decision,
    tracer::wanted_types,
};

use serde::de::IgnoredAny;

use super::dir::{RunDir, read_json, write_json};
use crate::verdict::Prediction;

/// Keeps a kernel's dossier, and the types of its external BTF. None stands for one that is not
/// available: the cells that need it report why.
pub(super) fn keep(
    dir: &RunDir,
    kernel: &str,
    dossier: &Option<Dossier>,
    external_types: Option<&Option<Extract>>,
) -> io::Result<()> {
    if let Some(types) = external_types {
        write_below(&dir.external_types(kernel), |file| write_json(file, types))?;
    }
    // Written last: if the dossier exists, so do the types.
    write_below(&dir.dossier(kernel), |file| write_json(file, dossier))
}

fn write_below(file: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(file))?;
    write(file)
}

/// The types of a BTF file, as far as plans ask for them. None if the file is missing or is no BTF.
pub(super) fn extract(file: &Path, arch: Arch) -> Option<Extract> {
    Some(Btf::parse(fs::read(file).ok()?).ok()?.extract(&wanted_types(arch)))
}

/// Whether the dossier of a kernel could not be taken.
pub(super) fn is_missing(dir: &RunDir, kernel: &str) -> bool {
    // That of a kernel none of whose cells began is not there at all.
    matches!(read_json::<Option<IgnoredAny>>(&dir.dossier(kernel)), Ok(Some(None)))
}

/// What the dossier of a cell's kernel predicts for the cell; empty without a dossier.
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

#[cfg(test)]
mod tests {
    use kernlab_core::{discovery::Discovered, outcome::Reason};

    use super::*;

    /// The type information that a masked cell may not use says what its search must find.
    #[test]
    fn a_search_is_held_to_the_types_of_the_kernel() {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/dossiers/debian-6.1.json");
        let mut dossier = Dossier::from_json(&fs::read(file).unwrap()).unwrap();
        dossier.discovered = Discovered::default();
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::open(root.path().to_owned());
        keep(&dir, "k", &Some(dossier), None).unwrap();
        let cell = "k/masked/aya/socket_write/tcp4".parse().unwrap();
        let prediction = of_cell(&dir, &cell).unwrap();
        assert!(matches!(prediction.with_types, Some(Decision::Plan { .. })));
        let Some(Decision::Unsupported(refusal)) = prediction.decision else {
            panic!("{:?}", prediction.decision)
        };
        assert_eq!(refusal.reason, Reason::LayoutNotFound);
    }
}
