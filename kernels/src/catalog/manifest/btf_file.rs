//! The keys `btf_file` and `btf_archive`.

use std::path::{Path, PathBuf};

use kernlab_core::cell::BtfMode;
use serde::Deserialize;
use toml::Spanned;

use crate::{
    address::is_http,
    catalog::matrix::{BtfArchive, BtfArchivePlace, BtfFile, is_name},
    digest::Digest,
    document::{Document, DocumentError},
};

/// `btf_archive`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BtfArchiveTable {
    archive: String,
    distribution: String,
    version: String,
    sha256: Option<Digest>,
}

/// Reads the two keys, of which the mode `external` needs one.
pub(super) fn btf_file(
    document: &Document,
    dir: &Path,
    modes: &Spanned<Vec<BtfMode>>,
    file: Option<Spanned<PathBuf>>,
    archive: Option<Spanned<BtfArchiveTable>>,
) -> Result<Option<BtfFile>, DocumentError> {
    let is_wanted = modes.get_ref().contains(&BtfMode::External);
    let unwanted = |key: &str, span| {
        let message = format!("`{key}` is for the BTF mode `external`, which `btf` does not list");
        Err(document.invalid(span, message))
    };
    match (file, archive) {
        (None, None) if is_wanted => {
            let message = "the BTF mode `external` needs `btf_file`: a file with BTF, or `btf_archive`: \
                           an archive with the BTF of many kernels";
            Err(document.invalid(modes.span(), message))
        }
        (None, None) => Ok(None),
        (Some(file), _) if !is_wanted => unwanted("btf_file", file.span()),
        (_, Some(archive)) if !is_wanted => unwanted("btf_archive", archive.span()),
        (Some(_), Some(archive)) => {
            let message = "expected either `btf_file` or `btf_archive`";
            Err(document.invalid(archive.span(), message))
        }
        (Some(file), None) => Ok(Some(BtfFile::File(dir.join(file.into_inner())))),
        (None, Some(archive)) => {
            let span = archive.span();
            let archive = btf_archive(dir, archive.into_inner());
            archive
                .map(|archive| Some(BtfFile::Archive(archive)))
                .map_err(|message| document.invalid(span, message))
        }
    }
}

fn btf_archive(dir: &Path, table: BtfArchiveTable) -> Result<BtfArchive, String> {
    let BtfArchiveTable { archive, distribution, version, sha256 } = table;
    if let Some(name) = [&distribution, &version].into_iter().find(|name| !is_name(name)) {
        return Err(format!("{name:?} is not the name of a directory of the archive"));
    }
    let place = match (is_http(&archive), sha256) {
        (true, Some(sha256)) => {
            BtfArchivePlace::Url { url: archive.trim_end_matches('/').to_owned(), sha256 }
        }
        (true, None) => {
            return Err(
                "an archive at an address needs `sha256`: that of the kernel's file".to_owned()
            );
        }
        (false, None) => BtfArchivePlace::Dir(dir.join(archive)),
        (false, Some(_)) => {
            return Err("`sha256` is for an archive at an http or https address".to_owned());
        }
    };
    Ok(BtfArchive { place, distribution, version })
}
