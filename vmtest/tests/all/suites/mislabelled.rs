//! Suites on kernels that are not what their entries in `kernels.toml` say.

use std::{fs, path::Path};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::{Kernels, Silent, Unpacked};
use rstest::rstest;

use super::Project;

fn prepared(id: &str) -> Unpacked {
    let kernels = Kernels::open().unwrap();
    kernels.prepare(kernels.entry(id).unwrap(), &Silent).unwrap()
}

/// A project whose suite runs on a kernel that this entry describes.
fn project(btf: &str, image: &Path, vmlinux: &Path) -> Project {
    let project = Project::new(
        "kernels = [\"mislabelled\"]\n[[suite]]\nname = \"any\"\nrun = \"echo started\"\n",
    );
    let entry = format!(
        "schema = 1\n[[kernel]]\nid = \"mislabelled\"\narch = \"x86_64\"\ntier = \"extended\"\nbtf = \
         [\"{btf}\"]\nwhy = \"a test\"\nsource = {{ kind = \"file\", image = {image:?}, vmlinux = \
         {vmlinux:?} }}\n"
    );
    fs::write(project.path().join("kernels.toml"), entry).unwrap();
    project
}

#[rstest]
#[case::without_btf("absent", "debian-6.1", Reason::WrongBtfMode, Outcome::Unavailable)]
#[case::another_kernel("embedded", "debian-6.12", Reason::WrongKernel, Outcome::Infra)]
fn no_suite_starts_on_a_kernel_that_is_not_what_its_entry_says(
    #[case] btf: &str,
    #[case] booted: &str,
    #[case] reason: Reason,
    #[case] outcome: Outcome,
) {
    let (named, booted) = (prepared("debian-6.1"), prepared(booted));
    let image = named.image.bzimage.as_deref().unwrap();
    let vmlinux = booted.image.vmlinux.as_deref().unwrap();
    let (_, report) = project(btf, image, vmlinux).test(&[]);
    let cell = &report.cells[0];
    assert_eq!((cell.outcome, cell.reason), (outcome, Some(reason)), "{}", cell.message);
    assert_eq!(cell.tracer, None, "it did not start");
}
