use rstest::rstest;

use super::*;

fn host() -> Arch {
    Arch::of_this_program().unwrap_or_default()
}

fn other_than_the_host_s() -> Arch {
    Arch::ALL.into_iter().find(|arch| *arch != host()).unwrap()
}

fn matrix() -> Matrix {
    let entry = |(id, release, tier): (&str, &str, Tier)| Entry {
        id: id.to_owned(),
        release: release.parse().ok(),
        tier,
        arch: host(),
        ..ad_hoc(id.to_owned(), Source::Host, "")
    };
    let foreign = |entry: Entry| Entry { arch: other_than_the_host_s(), ..entry };
    let entries = [
        ("debian-5.10", "5.10", Tier::Default),
        ("ubuntu-5.15", "5.15", Tier::Extended),
        ("debian-6.1", "6.1", Tier::Default),
        ("debian-6.1-rt", "6.1", Tier::Extended),
        ("debian-6.12", "6.12", Tier::Default),
        ("debian-backports", "", Tier::Default),
    ];
    let others = [
        ("debian-5.10-other", "5.10", Tier::Extended),
        ("debian-6.1-other", "6.1", Tier::Default),
        ("debian-6.1-other-rt", "6.1", Tier::Extended),
        ("debian-7.0-other", "7.0", Tier::Extended),
    ];
    let others = others.map(entry).map(foreign);
    let entries = entries.map(entry).into_iter().chain(others).collect();
    Matrix { entries, ..Matrix::default() }
}

fn chosen(selectors: &[&str], tiers: Tiers) -> Result<Chosen, SelectError> {
    let selectors = selectors.iter().map(ToString::to_string).collect();
    select(&matrix(), &Selection { selectors, tiers, archs: Archs::Host })
}

fn ids(selectors: &[&str]) -> Result<Vec<String>, SelectError> {
    let entries = chosen(selectors, Tiers::All)?.entries;
    Ok(entries.into_iter().map(|entry| entry.id).collect())
}

#[rstest]
#[case(&["6.1"], "debian-6.1 debian-6.1-rt")]
#[case(&["6"], "debian-6.1 debian-6.1-rt debian-6.12")]
#[case(&["6.12", "5"], "debian-5.10 ubuntu-5.15 debian-6.12")]
#[case(&["debian-6.1"], "debian-6.1")]
#[case(&["debian-6.1", "6.1", "debian-6.1"], "debian-6.1 debian-6.1-rt")]
#[case(&["debian-*"], "debian-5.10 debian-6.1 debian-6.1-rt debian-6.12 debian-backports")]
#[case(&["*-rt", "ubuntu-{5.4,5.15}"], "ubuntu-5.15 debian-6.1-rt")]
#[case(&["debian-backports"], "debian-backports")]
#[case(&["host", "host", "6.12"], "debian-6.12 host")]
#[case(
    &["all"],
    "debian-5.10 ubuntu-5.15 debian-6.1 debian-6.1-rt debian-6.12 debian-backports"
)]
fn selections(#[case] selectors: &[&str], #[case] expected: &str) {
    assert_eq!(ids(selectors).unwrap().join(" "), expected);
}

#[rstest]
#[case::an_id(&["debian-6.1-other"], Archs::Host, "debian-6.1-other")]
#[case::a_glob(&["debian-6.1-o*"], Archs::Host, "debian-6.1-other debian-6.1-other-rt")]
#[case::a_glob_of_both(&["debian-6.1*"], Archs::Host, "debian-6.1 debian-6.1-rt debian-6.12")]
#[case::a_release(&["6.1"], Archs::Only(other_than_the_host_s()), "debian-6.1-other")]
#[case::a_release_of_others(&["7.0"], Archs::Host, "debian-7.0-other")]
#[case::none(&[], Archs::Only(other_than_the_host_s()), "debian-6.1-other")]
#[case::no_selector(
    &[], Archs::All, "debian-5.10 debian-6.1 debian-6.12 debian-backports debian-6.1-other"
)]
#[case::each_architecture_by_itself(&["5.10"], Archs::All, "debian-5.10 debian-5.10-other")]
#[case::all(&["6.1"], Archs::All, "debian-6.1 debian-6.1-other")]
#[case::both(
    &["6.1", "debian-6.1-other"], Archs::Host, "debian-6.1 debian-6.1-other"
)]
fn kernels_of_other_architectures_are_asked_for(
    #[case] selectors: &[&str],
    #[case] archs: Archs,
    #[case] expected: &str,
) {
    let selectors = selectors.iter().map(ToString::to_string).collect();
    let selection = Selection { selectors, tiers: Tiers::Preferred, archs };
    let entries = select(&matrix(), &selection).unwrap().entries;
    let ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids.join(" "), expected);
}

#[rstest]
#[case::all(&["all"], Archs::Host, &[
    "left out: debian-5.10-other, debian-6.1-other, debian-6.1-other-rt, debian-7.0-other; --arch all includes \
     all architectures",
])]
#[case::a_release(&["6.1"], Archs::Host, &[
    "left out: debian-6.1-other; --arch all includes all architectures",
    "left out: debian-6.1-rt; --tier all includes all tiers of a release",
])]
#[case::named_besides(&["debian-6.1-o*", "debian-6.1*"], Archs::Host, &[])]
#[case::only_others(&["7.0"], Archs::Host, &[])]
#[case::told_to(&["debian-6.1*"], Archs::Only(other_than_the_host_s()), &[])]
#[case::no_selector(&[], Archs::Host, &[])]
fn what_is_left_out_is_told(
    #[case] selectors: &[&str],
    #[case] archs: Archs,
    #[case] expected: &[&str],
) {
    let selectors = selectors.iter().map(ToString::to_string).collect();
    let selection = Selection { selectors, tiers: Tiers::Preferred, archs };
    let chosen = select(&matrix(), &selection).unwrap();
    assert_eq!(chosen.notices().collect::<Vec<_>>(), expected);
}

#[test]
fn an_architecture_without_such_a_kernel_is_an_error() {
    let arch = other_than_the_host_s();
    let selectors = vec!["debian-6.12".to_owned()];
    let selection = Selection { selectors, archs: Archs::Only(arch), ..Selection::default() };
    let error = select(&matrix(), &selection).unwrap_err().to_string();
    assert_eq!(error, format!("\"debian-6.12\" selects no kernel for {arch}"));
}

#[rstest]
#[case("debain-6.1", "did you mean debian-6.1 or")]
#[case("6.2", "did you mean 6.12 or 6.1?; `cargo xtask kernels list` shows all")]
#[case("windows", "no kernel matches \"windows\"; `cargo xtask kernels list` shows all")]
#[case("no/such/image", "there is no kernel image \"no/such/image\"")]
#[case("debian-[", "\"debian-[\" is not a glob: ")]
#[case("fedora-*", "no kernel matches \"fedora-*\"")]
fn a_selector_that_means_nothing(#[case] selector: &str, #[case] expected: &str) {
    let error = ids(&[selector]).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_architecture_without_a_default_tier_is_an_error() {
    let arch = other_than_the_host_s();
    let mut matrix = matrix();
    matrix.entries.retain(|entry| entry.arch != arch || entry.tier == Tier::Extended);
    let selection = Selection { archs: Archs::Only(arch), ..Selection::default() };
    let error = select(&matrix, &selection).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("no kernel for {arch} is in the default tier: name one with --kernel")
    );
}

#[test]
fn an_empty_default_tier_is_an_error() {
    let error = select(&Matrix::default(), &Selection::default());
    assert_eq!(error, Err(SelectError::NothingOfTier { tier: "default", arch: None }));
}

#[rstest]
#[case::no_selector(&[], Tiers::Preferred, "debian-5.10 debian-6.1 debian-6.12 debian-backports", "")]
#[case::no_selector(&[], Tiers::Only(Tier::Extended), "ubuntu-5.15 debian-6.1-rt", "")]
#[case::no_selector(
    &[], Tiers::All,
    "debian-5.10 ubuntu-5.15 debian-6.1 debian-6.1-rt debian-6.12 debian-backports", ""
)]
#[case::as_with_none(&["default"], Tiers::Preferred, "debian-5.10 debian-6.1 debian-6.12 debian-backports", "")]
#[case::whatever_else_is_taken(&["default"], Tiers::Only(Tier::Extended), "debian-5.10 debian-6.1 debian-6.12 debian-backports", "")]
#[case::whatever_else_is_taken(&["default"], Tiers::All, "debian-5.10 debian-6.1 debian-6.12 debian-backports", "")]
#[case::default_and_another(
    &["default", "5.15"], Tiers::Preferred,
    "debian-5.10 ubuntu-5.15 debian-6.1 debian-6.12 debian-backports", ""
)]
#[case::a_release(&["6.1"], Tiers::Preferred, "debian-6.1", "debian-6.1-rt")]
#[case::a_release_of_the_extended_tier(&["5.15"], Tiers::Preferred, "ubuntu-5.15", "")]
#[case::each_release_by_itself(&["5"], Tiers::Preferred, "debian-5.10 ubuntu-5.15", "")]
#[case::a_tier(&["6.1"], Tiers::Only(Tier::Extended), "debian-6.1-rt", "debian-6.1")]
#[case::all_tiers(&["6.1"], Tiers::All, "debian-6.1 debian-6.1-rt", "")]
#[case::an_id_is_meant(&["debian-6.1-rt"], Tiers::Preferred, "debian-6.1-rt", "")]
#[case::a_glob_is_meant(&["debian-6.1*"], Tiers::Only(Tier::Default), "debian-6.1 debian-6.1-rt debian-6.12", "")]
#[case::named_besides(&["6.1", "debian-6.1-rt"], Tiers::Preferred, "debian-6.1 debian-6.1-rt", "")]
fn tiers_say_how_much_a_release_means(
    #[case] selectors: &[&str],
    #[case] tiers: Tiers,
    #[case] expected: &str,
    #[case] left_out: &str,
) {
    let chosen = chosen(selectors, tiers).unwrap();
    let ids: Vec<_> = chosen.entries.into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids.join(" "), expected);
    assert_eq!(chosen.left_out.join(" "), left_out);
}

#[test]
fn a_release_without_an_entry_of_the_tier() {
    let error = chosen(&["5.15"], Tiers::Only(Tier::Default)).unwrap_err();
    let expected = "no kernel of 5.15 is in the default tier: `--tier all` selects all tiers";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_file_that_is_something_else_is_no_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let mut bzimage = vec![0; 0x300];
    bzimage[BOOT_HEADER].copy_from_slice(b"HdrS");
    for (content, expected) in
        [(&b"root:x:0:0"[..], true), (b"", true), (b"\x7fELF", false), (&bzimage, false)]
    {
        std::fs::write(&file, content).unwrap();
        assert_eq!(is_something_else(&file), expected);
    }
    assert!(!is_something_else(&dir.path().join("absent")), "it is told elsewhere");
}

#[test]
fn paths_get_ids_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        let path = dir.path().join(name).join("My Image");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "\x7fELF").unwrap();
        path.to_string_lossy().into_owned()
    };
    let (a, b) = (path("a"), path("b"));
    assert_eq!(ids(&[&a, &b, &a]).unwrap(), ["file-my-image", "file-my-image-2"]);
    let entries = chosen(&[&a, &b, "debian-6.1"], Tiers::All).unwrap().entries;
    let selectors: Vec<_> = entries.iter().map(Entry::selector).collect();
    assert_eq!(selectors, ["debian-6.1", a.as_str(), b.as_str()], "each selects its entry");
}
