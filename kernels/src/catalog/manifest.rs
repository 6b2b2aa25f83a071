//! The format of `kernels.toml` and of its overlay `kernels.local.toml`.
//!
//! Reading has two steps: serde checks the structure, then [`merge`] checks what
//! serde can't, such as names that must be unique or known. Errors of both steps give the position
//! in the file.

mod btf_file;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use kernlab_core::{
    cell::{BackendKind, BtfMode},
    scenario::Scenario,
};
use serde::Deserialize;
use toml::Spanned;

use self::btf_file::{BtfArchiveTable, btf_file};
use crate::address::is_http;
use crate::{
    catalog::{
        built_in::BuiltIn,
        matrix::{
            Arch, BuildSource, DebSource, Deviation, Entry, FileSource, Key, MEMORY_MIB,
            MEMORY_RANGE_MIB, Matrix, Origin, PROCESSORS, PROCESSORS_RANGE, Release, Repository,
            RpmDir, RpmSource, Signs, Source, Tier, Toolchain, TreeSource, UrlSource,
        },
    },
    document::{Document, DocumentError},
    repository::deb::release::is_flat,
};

/// The entries of this machine, next to the matrix.
pub(crate) const OVERLAY_FILE: &str = "kernels.local.toml";

const SCHEMA: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: Spanned<u32>,
    #[serde(default)]
    repository: BTreeMap<String, RepositoryTable>,
    #[serde(default)]
    kernel: Vec<KernelTable>,
    #[serde(default)]
    mirror: BTreeMap<Spanned<String>, Spanned<Vec<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoryTable {
    distribution: String,
    archive: String,
    snapshot: Option<Spanned<String>>,
    #[serde(default)]
    public: Vec<Spanned<String>>,
    #[serde(default)]
    signs: Signs,
    keys: Vec<KeyTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    file: std::path::PathBuf,
    fingerprint: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelTable {
    id: Spanned<String>,
    release: Option<Spanned<String>>,
    arch: Arch,
    tier: Tier,
    source: Spanned<SourceTable>,
    btf: Spanned<Vec<BtfMode>>,
    btf_file: Option<Spanned<std::path::PathBuf>>,
    btf_archive: Option<Spanned<BtfArchiveTable>>,
    memory_mib: Option<Spanned<u32>>,
    processors: Option<Spanned<u32>>,
    why: String,
    #[serde(default)]
    deviations: Vec<DeviationTable>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum SourceTable {
    Deb(DebSource),
    Rpm(RpmTable),
    Url(UrlSource),
    File(FileSource),
    Build(BuildTable),
    Host(HostTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RpmTable {
    repository: String,
    path: Option<String>,
    mirror_list: Option<String>,
    package: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BuildTable {
    tree: TreeTable,
    config: Option<PathBuf>,
    #[serde(default)]
    toolchain: Toolchain,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum TreeTable {
    Deb(DebSource),
    Url(UrlSource),
    Archive(PathTable),
    #[serde(rename = "folder")]
    Dir(PathTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathTable {
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviationTable {
    scenario: Spanned<String>,
    backend: Option<BackendKind>,
    btf: Option<BtfMode>,
    reason: String,
    link: Spanned<String>,
    snapshot: Option<String>,
    warning: Option<Spanned<String>>,
}

/// The matrix in `kernels.toml`, with this machine's overlay applied if there is one. Over a built-in
/// matrix, `kernels.toml` is optional.
pub(crate) fn read_matrix(
    built_in: Option<&BuiltIn>,
    path: &Path,
    overlay: &Path,
) -> Result<Matrix, DocumentError> {
    let mut matrix = Matrix::default();
    let shared = match built_in {
        None => Some(Document::read(path)?),
        Some(built_in) => {
            merge(&mut matrix, &built_in.matrix, Origin::BuiltIn)?;
            let keys = matrix.repositories.values_mut().flat_map(|repository| &mut repository.keys);
            keys.for_each(|key| key.built_in = built_in.key(&key.path));
            Document::read_if_there(path)?
        }
    };
    if let Some(document) = shared {
        merge(&mut matrix, &document, Origin::Shared)?;
    }
    if let Some(document) = Document::read_if_there(overlay)? {
        merge(&mut matrix, &document, Origin::Local)?;
    }
    Ok(matrix)
}

/// Merges a file into the matrix. Its entries replace those of other files with the same id.
pub(crate) fn merge(
    matrix: &mut Matrix,
    document: &Document,
    origin: Origin,
) -> Result<(), DocumentError> {
    let manifest: Manifest = document.parse()?;
    if *manifest.schema.get_ref() != SCHEMA {
        let found = manifest.schema.get_ref();
        let message = format!("unknown schema {found}: expected {SCHEMA}");
        return Err(document.invalid(manifest.schema.span(), message));
    }
    let dir = document.path.parent().unwrap_or(Path::new(""));
    for (name, table) in manifest.repository {
        matrix.repositories.insert(name, repository(document, dir, table)?);
    }
    for (name, urls) in manifest.mirror {
        known_repository(matrix, name.get_ref())
            .map_err(|message| document.invalid(name.span(), message))?;
        if let Some(url) = urls.get_ref().iter().find(|url| !is_http(url)) {
            let message = format!("{url:?} is not an http or https address");
            return Err(document.invalid(urls.span(), message));
        }
        let urls = urls.get_ref().iter().map(|url| url.trim_end_matches('/').to_owned());
        matrix.mirrors.insert(name.into_inner(), urls.collect());
    }
    for table in manifest.kernel {
        let span = table.id.span();
        let entry = entry(document, dir, matrix, table, origin)?;
        match matrix.entries.iter_mut().find(|other| other.id == entry.id) {
            None => matrix.entries.push(entry),
            Some(other) if other.origin != origin => *other = entry,
            Some(_) => {
                let message = format!("the id {:?} is taken by an entry above", entry.id);
                return Err(document.invalid(span, message));
            }
        }
    }
    Ok(())
}

fn repository(
    document: &Document,
    dir: &Path,
    table: RepositoryTable,
) -> Result<Repository, DocumentError> {
    let mut keys = Vec::new();
    for key in table.keys {
        let fingerprint = key.fingerprint.get_ref().replace(' ', "").to_uppercase();
        if fingerprint.len() != 40 || !fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = "expected a fingerprint of 40 hexadecimal digits";
            return Err(document.invalid(key.fingerprint.span(), message));
        }
        keys.push(Key { path: dir.join(key.file), built_in: None, fingerprint });
    }
    let snapshot = match table.snapshot {
        None => None,
        Some(url) => match url.get_ref().parse() {
            Ok(url) => Some(url),
            Err(message) => return Err(document.invalid(url.span(), message)),
        },
    };
    if let Some(url) = table.public.iter().find(|url| !is_http(url.get_ref())) {
        let message = format!("{:?} is not an http or https address", url.get_ref());
        return Err(document.invalid(url.span(), message));
    }
    Ok(Repository {
        distribution: table.distribution,
        archive: table.archive,
        snapshot,
        public: table.public.into_iter().map(Spanned::into_inner).collect(),
        signs: table.signs,
        keys,
    })
}

fn entry(
    document: &Document,
    dir: &Path,
    matrix: &Matrix,
    table: KernelTable,
    origin: Origin,
) -> Result<Entry, DocumentError> {
    let id = table.id.get_ref();
    if !is_id(id) {
        let message = format!(
            "{id:?} is not an id: expected lowercase letters, digits, '.', '_', '+' and '-', \
             beginning with a letter or digit"
        );
        return Err(document.invalid(table.id.span(), message));
    }
    if let Some(meaning) = meaning_as_a_selector(id) {
        let message = format!("{id:?} can't be an id, because it selects {meaning}: add a word");
        return Err(document.invalid(table.id.span(), message));
    }
    let release = match table.release {
        None => None,
        Some(release) => match release.get_ref().parse() {
            Ok(parsed) => Some(parsed),
            Err(message) => return Err(document.invalid(release.span(), message)),
        },
    };
    is_list_of_modes(table.btf.get_ref())
        .map_err(|message| document.invalid(table.btf.span(), message))?;
    let btf_file = btf_file(document, dir, &table.btf, table.btf_file, table.btf_archive)?;
    let memory_mib = match table.memory_mib {
        None => MEMORY_MIB,
        Some(memory) if MEMORY_RANGE_MIB.contains(memory.get_ref()) => memory.into_inner(),
        Some(memory) => {
            let (least, most) = (MEMORY_RANGE_MIB.start(), MEMORY_RANGE_MIB.end());
            let message = format!("expected {least} to {most} mebibytes of memory");
            return Err(document.invalid(memory.span(), message));
        }
    };
    let processors = match table.processors {
        None => PROCESSORS,
        Some(processors) if PROCESSORS_RANGE.contains(processors.get_ref()) => {
            processors.into_inner()
        }
        Some(processors) => {
            let (least, most) = (PROCESSORS_RANGE.start(), PROCESSORS_RANGE.end());
            let message = format!("expected {least} to {most} processors");
            return Err(document.invalid(processors.span(), message));
        }
    };
    let span = table.source.span();
    let invalid = |message: String| document.invalid(span.clone(), message);
    let source = match table.source.into_inner() {
        SourceTable::Deb(deb) => {
            let repository = known_repository(matrix, &deb.repository).map_err(&invalid)?;
            check_source(repository, &deb).map_err(&invalid)?;
            Source::Deb(deb)
        }
        SourceTable::Rpm(rpm) => {
            known_repository(matrix, &rpm.repository).map_err(&invalid)?;
            Source::Rpm(rpm_source(rpm).map_err(&invalid)?)
        }
        SourceTable::Url(url) => {
            check_url(&url).map_err(&invalid)?;
            Source::Url(url)
        }
        SourceTable::File(file) => Source::File(below(dir, file)),
        SourceTable::Build(build) => {
            let modes = table.btf.get_ref();
            let has_btf = modes.iter().any(|mode| mode.needs_embedded());
            if has_btf && modes.contains(&BtfMode::Absent) {
                let message = "a kernel is built with BTF (modes embedded, masked) or without (mode \
                               absent): write two entries";
                return Err(document.invalid(table.btf.span(), message));
            }
            let tree = match build.tree {
                TreeTable::Deb(deb) => {
                    let repository = known_repository(matrix, &deb.repository);
                    check_source(repository.map_err(&invalid)?, &deb).map_err(&invalid)?;
                    TreeSource::Deb(deb)
                }
                TreeTable::Url(url) => {
                    check_url(&url).map_err(&invalid)?;
                    TreeSource::Url(url)
                }
                TreeTable::Archive(table) => TreeSource::Archive(dir.join(table.path)),
                TreeTable::Dir(table) => TreeSource::Dir(dir.join(table.path)),
            };
            let config = build.config.map(|path| dir.join(path));
            let toolchain = build.toolchain.below(dir);
            Source::Build(BuildSource { tree, config, toolchain })
        }
        SourceTable::Host(HostTable {}) => Source::Host,
    };
    let deviations = table.deviations.into_iter().map(|table| deviation(document, table));
    Ok(Entry {
        id: table.id.into_inner(),
        release,
        arch: table.arch,
        tier: table.tier,
        source,
        btf: table.btf.into_inner(),
        btf_file,
        memory_mib,
        processors,
        why: table.why,
        deviations: deviations.collect::<Result<_, _>>()?,
        origin,
    })
}

fn deviation(document: &Document, table: DeviationTable) -> Result<Deviation, DocumentError> {
    let id = table.scenario.get_ref();
    let Some(scenario) = Scenario::by_id(id) else {
        let message = format!("unknown scenario {id:?}: expected tracer/name");
        return Err(document.invalid(table.scenario.span(), message));
    };
    if !is_http(table.link.get_ref()) {
        let message = "expected the http or https address of the change behind the deviation";
        return Err(document.invalid(table.link.span(), message));
    }
    if table.warning.as_ref().is_some_and(|warning| warning.get_ref().is_empty()) {
        let message =
            "expected a part of the warning's text: every warning contains the empty string";
        let span = table.warning.map(|warning| warning.span());
        return Err(document.invalid(span.unwrap_or_default(), message));
    }
    Ok(Deviation {
        scenario,
        backend: table.backend,
        btf: table.btf,
        reason: table.reason,
        link: table.link.into_inner(),
        snapshot: table.snapshot,
        warning: table.warning.map(Spanned::into_inner),
    })
}

fn rpm_source(table: RpmTable) -> Result<RpmSource, String> {
    let dir = match (table.path, table.mirror_list) {
        (Some(path), None) => RpmDir::Path(path.trim_matches('/').to_owned()),
        (None, Some(path)) => RpmDir::NamedBy(path.trim_matches('/').to_owned()),
        _ => return Err("expected either `path` or `mirror_list`".to_owned()),
    };
    Ok(RpmSource { repository: table.repository, dir, package: table.package })
}

fn check_source(repository: &Repository, source: &DebSource) -> Result<(), String> {
    if repository.signs == Signs::Packages {
        return Err("a Debian repository that signs only its packages is not supported".to_owned());
    }
    match (is_flat(&source.suite), source.component.is_empty()) {
        (true, false) => {
            return Err("a suite that ends with a slash has no `component`".to_owned());
        }
        (false, true) => return Err("expected a `component`, such as \"main\"".to_owned()),
        _ => {}
    }
    if source.snapshot.is_some() && repository.snapshot.is_none() {
        return Err(format!(
            "the repository {:?} has no dated archive (`snapshot` in its table), so no date \
             can be pinned",
            source.repository
        ));
    }
    Ok(())
}

fn check_url(source: &UrlSource) -> Result<(), String> {
    match is_http(&source.url) {
        true => Ok(()),
        false => Err(format!("{:?} is not an http or https address", source.url)),
    }
}

fn known_repository<'a>(matrix: &'a Matrix, name: &str) -> Result<&'a Repository, String> {
    if let Some(repository) = matrix.repositories.get(name) {
        return Ok(repository);
    }
    let known: Vec<_> = matrix.repositories.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none is defined".to_owned() } else { known.join(", ") };
    Err(format!("unknown repository {name:?}: expected one of the [repository] tables ({known})"))
}

fn is_id(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(allowed) && text.chars().all(|c| allowed(c) || "._+-".contains(c))
}

/// What a text means where kernels are selected, if that is something else than an id.
fn meaning_as_a_selector(text: &str) -> Option<&'static str> {
    match text {
        "all" => Some("all kernels"),
        "default" => Some("the kernels of the default tier"),
        "host" => Some("the running kernel of this machine"),
        _ => text.parse::<Release>().ok().map(|_| "the kernels of a release"),
    }
}

fn is_list_of_modes(modes: &[BtfMode]) -> Result<(), String> {
    if modes.is_empty() {
        return Err("expected at least one BTF mode".to_owned());
    }
    let mut listed = modes.iter().enumerate();
    match listed.find(|&(at, mode)| modes[..at].contains(mode)) {
        Some((_, mode)) => Err(format!("the BTF mode {mode} is listed twice: remove one")),
        None => Ok(()),
    }
}

fn below(dir: &Path, file: FileSource) -> FileSource {
    let join = |path: Option<std::path::PathBuf>| path.map(|path| dir.join(path));
    FileSource {
        image: dir.join(file.image),
        vmlinux: join(file.vmlinux),
        modules: join(file.modules),
        config: join(file.config),
    }
}

#[cfg(test)]
mod tests;
