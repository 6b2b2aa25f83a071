//! Outside of a checkout: the matrix that is part of the program, and what a project adds to it.

use super::*;

/// A program whose built-in matrix has the kernel `newest`, in a directory without a matrix.
fn installed(lock: &str) -> Lab {
    let mut lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    let path = lab.path(MATRIX_FILE);
    let matrix = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let lock = Document::new(LOCK_FILE, format!("schema = 1\n{lock}"));
    lab.built_in = Some(BuiltIn { matrix: Document::new(path, matrix), lock, keys: &[] });
    lab
}

/// The same, and its built-in lock names the kernel.
fn installed_and_locked() -> Lab {
    let mut lab = installed("");
    assert_eq!(lab.update(), [""; 0]);
    let text = fs::read_to_string(lab.path(LOCK_FILE)).unwrap();
    fs::remove_file(lab.path(LOCK_FILE)).unwrap();
    let built_in = lab.built_in.as_mut().unwrap();
    built_in.lock = Document::new(LOCK_FILE, text);
    lab
}

fn version(lab: &Lab) -> Option<String> {
    let kernels = lab.open();
    kernels.locked(kernels.entry("newest").unwrap()).map(|kernel| kernel.version)
}

fn newer() -> [Package; 2] {
    let newer = |package: Package| Package { version: "6.1.6-1", ..package };
    [meta(), kernel()].map(newer)
}

#[test]
fn what_the_built_in_lock_lacks_is_added_to_the_project_s_lock() {
    let lab = installed("");
    assert_eq!(lab.prepare().unwrap().release, RELEASE);
    assert!(Lock::read(&lab.path(LOCK_FILE)).unwrap().get("newest").is_some());
    assert!(!lab.path(MATRIX_FILE).exists());
    lab.server.remove(IN_RELEASE);
    lab.prepare().unwrap();
}

#[test]
fn what_the_built_in_lock_names_needs_no_other_lock() {
    let lab = installed_and_locked();
    lab.server.remove(IN_RELEASE);
    lab.prepare().unwrap();
    assert!(!lab.path(LOCK_FILE).exists());
}

#[test]
fn an_update_goes_into_the_project_s_lock_which_outranks_the_built_in_one() {
    let lab = installed_and_locked();
    assert_eq!(lab.update(), [""; 0]);
    assert!(!lab.path(LOCK_FILE).exists(), "nothing changed");
    lab.publish(&newer());
    let kernels = lab.open();
    let update = kernels.update(&kernels.matrix().entries, &Silent);
    let versions = update.changes().into_iter().map(|change| {
        let version = |kernel: Option<LockedKernel>| kernel.unwrap().version;
        (version(change.old), version(change.new))
    });
    assert_eq!(versions.collect::<Vec<_>>(), [("6.1.5-1".to_owned(), "6.1.6-1".to_owned())]);
    kernels.write_locks(&update).unwrap();
    assert_eq!(version(&lab).as_deref(), Some("6.1.6-1"));
    fs::remove_file(lab.path(LOCK_FILE)).unwrap();
    assert_eq!(version(&lab).as_deref(), Some("6.1.5-1"));
}

#[test]
fn a_project_adds_and_replaces_entries() {
    let lab = installed_and_locked();
    let entry = |id: &str, package: &str| {
        format!(
            r#"[[kernel]]
id = "{id}"
arch = "x86_64"
tier = "extended"
btf = ["absent"]
why = "the project's"
source = {{ kind = "deb", repository = "sample", suite = "{SUITE}", component = "main", package = "{package}" }}
"#
        )
    };
    let [own, another] = [entry("mine", "linux-image-cloud"), entry("newest", PACKAGE)];
    lab.write(MATRIX_FILE, &format!("schema = 1\n{own}{another}"));
    let kernels = lab.open();
    let entries = kernels.matrix().entries.iter();
    let entries: Vec<_> =
        entries.map(|entry| (&*entry.id, entry.tier, kernels.state(entry))).collect();
    let expected = ["newest", "mine"].map(|id| (id, Tier::Extended, State::Unresolved));
    assert_eq!(entries, expected, "the built-in lock is not for another entry with the same id");
    lab.prepare().unwrap();
    let lock = Lock::read(&lab.path(LOCK_FILE)).unwrap();
    assert!(lock.get("newest").unwrap().source.contains(PACKAGE));
}
