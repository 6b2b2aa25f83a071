//! Kernels that are built from source, from a repository and from a URL.

use rstest::rstest;

use super::*;
use crate::{
    from_source::Tree,
    repository::fetch::{StoredPackage, stored},
};

const FILE: &str = "linux-5.10.262.tar.xz";
const MAKEFILE: &[u8] = b"VERSION = 5\nPATCHLEVEL = 10\nSUBLEVEL = 262\nEXTRAVERSION =\n";

fn archive() -> Vec<u8> {
    let members = [
        Member::Dir("linux-source-5.10/"),
        Member::File("linux-source-5.10/Kconfig", b""),
        Member::File("linux-source-5.10/Makefile", MAKEFILE),
    ];
    compress(Compression::Xz, &tar(&members))
}

/// A checkout with a single entry that is built from this source, without BTF.
fn lab(tree: impl FnOnce(&Lab) -> String) -> Lab {
    let lab = Lab::new();
    let path = "./usr/src/linux-source-5.10.tar.xz";
    let source = Package {
        name: "linux-source-5.10",
        version: "5.10.262-1",
        depends: "binutils, xz-utils",
        content: deb(&tar(&[Member::File(path, &archive())])),
    };
    lab.publish(&[meta(), kernel(), source]);
    lab.server.put(FILE, archive());
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let start = matrix.find("source = ").unwrap();
    let source = format!("source = {{ kind = \"build\", tree = {} }}\n", tree(&lab));
    lab.write(MATRIX_FILE, &(matrix[..start].replace("embedded", "absent") + &source));
    lab
}

fn of_package(_lab: &Lab) -> String {
    let place = format!("repository = \"sample\", suite = \"{SUITE}\", component = \"main\"");
    format!("{{ kind = \"deb\", {place}, package = \"linux-source-5.*\" }}")
}

fn of_address(lab: &Lab) -> String {
    let (url, digest) = (lab.server.url(), Digest::of(&archive()));
    format!("{{ kind = \"url\", url = \"{url}/{FILE}\", sha256 = \"{digest}\" }}")
}

fn in_package(package: &StoredPackage) -> Tree<'_> {
    Tree::Package(package)
}

fn as_it_is(package: &StoredPackage) -> Tree<'_> {
    Tree::Download(package)
}

#[rstest]
#[case::a_package(of_package, in_package)]
#[case::an_address(of_address, as_it_is)]
fn a_source_is_locked_downloaded_and_unpacked(
    #[case] source: fn(&Lab) -> String,
    #[case] tree: fn(&StoredPackage) -> Tree<'_>,
) {
    let lab = lab(source);
    assert_eq!(lab.update(), [""; 0]);
    let kernels = lab.open();
    let entry = &kernels.matrix().entries[0];
    let locked = kernels.locked(entry).unwrap();
    assert_eq!((locked.files[0].role, locked.release.as_str()), (Role::Source, "5.10.262"));
    assert_eq!(entry.release, Some("5.10".parse().unwrap()));
    assert_eq!(kernels.state(entry), State::Unbuilt);
    let fetched = kernels.fetch(kernels.resolve(entry, &Silent).unwrap(), &Silent).unwrap();
    drop(fetched);
    let packages = stored(kernels.store(), &locked).unwrap();
    let scratch = lab.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let root = tree(&packages[0]).bring(kernels.store(), &scratch).unwrap();
    assert_eq!(fs::read(root.join("Makefile")).unwrap(), MAKEFILE);
}

#[test]
fn what_is_no_source_is_refused() {
    let lab_of_image = lab(|lab| of_package(lab).replace("linux-source-5.*", "linux-image-cloud"));
    let [error] = &lab_of_image.update()[..] else { panic!() };
    assert!(error.contains("\"linux-image-cloud\" is not a package linux-source-"), "{error}");
    let archive = compress(Compression::Xz, &tar(&[Member::File("README", b"")]));
    let lab = lab(|lab| {
        lab.server.put(FILE, archive.clone());
        let digest = Digest::of(&archive).to_string();
        let entry = of_address(lab);
        let at = entry.find("sha256 = \"").unwrap() + "sha256 = \"".len();
        format!("{}{digest}{}", &entry[..at], &entry[at + digest.len()..])
    });
    let [error] = &lab.update()[..] else { panic!() };
    assert!(error.contains("is not a kernel source: it lacks a Makefile"), "{error}");
}
