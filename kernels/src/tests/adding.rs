//! Proposals for kernels that a user asks for, and the entries that are written.

use kernlab_core::cell::BtfMode;
use rstest::rstest;

use super::*;

fn propose(lab: &Lab, request: &str) -> Result<Proposal, AddError> {
    propose_with(lab, request, &AddOptions::default())
}

fn propose_with(lab: &Lab, request: &str, options: &AddOptions) -> Result<Proposal, AddError> {
    let Ok(request) = request.parse::<Request>();
    lab.open().propose(&request, options, &Silent)
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    lab
}

#[rstest]
#[case::package(PACKAGE, "sample-6.1")]
#[case::metapackage("linux-image-cloud", "sample-6.1")]
fn a_package_becomes_an_entry_that_can_be_used_before_it_is_written(
    #[case] request: &str,
    #[case] id: &str,
) {
    let lab = lab();
    let before = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let proposal = propose(&lab, request).unwrap();
    assert_eq!((proposal.entry.id.as_str(), proposal.entry.tier), (id, Tier::Extended));
    assert_eq!(proposal.kernels.prepare(&proposal.entry, &Silent).unwrap().release, RELEASE);
    assert_eq!(fs::read_to_string(lab.path(MATRIX_FILE)).unwrap(), before);
    assert!(!lab.path(LOCK_FILE).exists());

    proposal.write().unwrap();
    let after = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    assert_eq!(after, format!("{}\n\n{}", before.trim_end(), proposal.text()));
    let kernels = lab.open();
    let entry = kernels.entry(id).unwrap();
    assert_eq!(*entry, proposal.entry);
    assert_eq!(kernels.state(entry), State::Stored);
}

#[test]
fn an_entry_is_written_as_a_person_would() {
    let lab = lab();
    let options = AddOptions {
        id: Some("mine".to_owned()),
        why: Some("a \"good\" reason".to_owned()),
        tier: Some(Tier::Default),
        local: false,
    };
    let mut proposal = propose_with(&lab, PACKAGE, &options).unwrap();
    proposal.set_btf(false);
    assert_eq!(proposal.entry.btf, [BtfMode::Absent]);
    insta::assert_snapshot!(proposal.text(), @r#"
    [[kernel]]
    id = "mine"
    release = "6.1"
    arch = "x86_64"
    tier = "default"
    btf = ["absent"]
    why = 'a "good" reason'
    [kernel.source]
    kind = "deb"
    repository = "sample"
    suite = "stable"
    component = "main"
    package = "linux-image-6.1.0-1-cloud"
    "#);
    proposal.write().unwrap();
    assert!(lab.open().matrix().entries.contains(&proposal.entry));
}

#[test]
fn what_is_at_an_address_is_added_with_its_digest() {
    let lab = lab();
    lab.server.put("somewhere/bzImage", image());
    let url = format!("{}/somewhere/bzImage", lab.server.url());
    let proposal = propose(&lab, &url).unwrap();
    assert_eq!(proposal.entry.id, "url-6.1");
    assert!(proposal.text().contains(&Digest::of(&image()).to_string()), "{}", proposal.text());
    proposal.write().unwrap();
    let kernels = lab.open();
    let entry = kernels.entry("url-6.1").unwrap();
    assert_eq!(kernels.prepare(entry, &Silent).unwrap().release, RELEASE);
}

#[test]
fn an_image_of_this_machine_stays_on_it() {
    let lab = lab();
    let path = lab.path("bzImage");
    fs::write(&path, image()).unwrap();
    let before = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let proposal = propose(&lab, &path.to_string_lossy()).unwrap();
    assert_eq!(proposal.entry.id, "local-6.1");
    proposal.write().unwrap();
    assert_eq!(fs::read_to_string(lab.path(MATRIX_FILE)).unwrap(), before);
    assert!(lab.open().matrix().entries.contains(&proposal.entry));
}

#[rstest]
#[case::package("linux-image-9.9", "no repository of kernels.toml has a package linux-image-9.9")]
#[case::release("6.2", "has a kernel of release 6.2\n  deb sample stable main linux-image-6.2")]
#[case::address("http://127.0.0.1:1/x", "cannot download http://127.0.0.1:1/x")]
#[case::image("./nothing", "nothing: No such file")]
fn what_can_t_be_had_is_told(#[case] request: &str, #[case] expected: &str) {
    let error = chain(&propose(&lab(), request).unwrap_err());
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_taken_id_is_refused() {
    let options = AddOptions { id: Some("newest".to_owned()), ..AddOptions::default() };
    let error = propose_with(&lab(), PACKAGE, &options).unwrap_err();
    assert_eq!(error.to_string(), "the id \"newest\" is taken: name another with --id");
}

#[test]
fn an_id_that_is_none_is_not_written() {
    let lab = lab();
    let before = fs::read(lab.path(MATRIX_FILE)).unwrap();
    let options = AddOptions { id: Some("Not/An Id".to_owned()), ..AddOptions::default() };
    let error = propose_with(&lab, PACKAGE, &options).unwrap().write().unwrap_err();
    assert!(error.to_string().contains("is not an id"), "{error}");
    assert_eq!(fs::read(lab.path(MATRIX_FILE)).unwrap(), before);
    assert!(!lab.path("kernels.toml.new").exists());
}
