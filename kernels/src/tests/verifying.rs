//! The results of `verify`, and what it requests.

use super::*;
use crate::test_support::rpm::{RpmRepository, Signer};

fn verify(lab: &Lab) -> Verified {
    let kernels = lab.open();
    let mut verification = kernels.verify(&kernels.matrix().entries);
    assert_eq!(verification.entries.len(), 1);
    verification.entries.remove(0)
}

#[test]
fn a_suite_is_verified_without_downloading_a_kernel() {
    let lab = Lab::new();
    lab.publish(&[meta(), kernel()]);
    let Verified { id, outcome, is_locked } = verify(&lab);
    let resolution = outcome.unwrap().unwrap();
    assert_eq!((id.as_str(), is_locked), ("newest", None));
    assert_eq!(resolution.kernel.version, "6.1.5-1");
    let author = lab.author.fingerprint();
    assert_eq!(resolution.signed_by, [SignedBy { name: "key".to_owned(), fingerprint: author }]);
    assert_eq!(resolution.unproven, None);
    assert_eq!(lab.server.requests(), [IN_RELEASE, INDEX]);
    assert!(!lab.path(LOCK_FILE).exists());

    lab.update();
    assert_eq!(verify(&lab).is_locked, Some(true));
    let newer = Package { name: "linux-image-6.1.0-2-cloud", version: "6.1.6-1", ..kernel() };
    let meta = Package { version: "6.1.6-1", depends: newer.name, ..meta() };
    lab.publish(&[meta, kernel(), newer]);
    assert_eq!(verify(&lab).is_locked, Some(false));
}

#[test]
fn what_is_wrong_is_told_from_what_is_not_known() {
    let lab = Lab::new();
    let is_wrong = || match verify(&lab).outcome.unwrap_err() {
        Unverified::Wrong(_) => true,
        Unverified::Unreachable(_) => false,
    };
    assert!(!is_wrong(), "no repository exists");
    lab.publish(&[meta()]);
    assert!(is_wrong(), "the suite lacks the kernel");
    lab.publish(&[meta(), kernel()]);
    lab.server.edit(INDEX, |content| content[20] ^= 1);
    assert!(is_wrong(), "the index was changed");
    lab.server.put(IN_RELEASE, "<html>sign in</html>");
    assert!(is_wrong(), "not a release file");
    publish(&lab.server, &Author::new(), SUITE, &[meta(), kernel()]);
    assert!(is_wrong(), "signed with an unknown key");
    // One usable mirror is enough.
    let good = Server::start();
    publish(&good, &lab.author, SUITE, &[meta(), kernel()]);
    lab.mirrors(&[&lab.server.url(), &good.url()]);
    assert!(verify(&lab).outcome.is_ok());
}

#[test]
fn of_signed_packages_no_more_than_the_headers_are_downloaded() {
    let (signer, repository) = (Signer::new(), RpmRepository::new());
    let lab = rpm::lab(&signer, "packages", &rpm::path());
    rpm::fedora(&repository, &signer);
    repository.index(&[], None);
    repository.publish(&lab.server, rpm::DIR);
    let image = format!("{}/{}", rpm::DIR, rpm::FEDORA_IMAGE);
    // Cut off in the payload: the headers are complete.
    let size = fs::metadata(repository.path(rpm::FEDORA_IMAGE)).unwrap().len() as usize;
    lab.server.behave(&image, &[Manner::CutAfter(size - 100)]);
    let resolution = verify(&lab).outcome.unwrap().unwrap();
    assert_eq!(resolution.unproven, Some(Unproven::Payload));
    assert_eq!(resolution.signed_by.len(), 1);
    assert_eq!(resolution.signed_by[0].fingerprint, signer.fingerprint);
    assert!(
        fs::read_dir(lab.path("store/objects"))
            .map_or(true, |mut entries| entries.next().is_none())
    );

    Signer::unsign(&repository.path(rpm::FEDORA_IMAGE));
    repository.index(&[], None);
    repository.publish(&lab.server, rpm::DIR);
    let error = match verify(&lab).outcome.unwrap_err() {
        Unverified::Wrong(error) => chain(&*error),
        Unverified::Unreachable(error) => panic!("{error}"),
    };
    assert!(error.contains("cannot trust the package: it is not signed"), "{error}");
}

#[test]
fn an_address_is_asked_for_its_size_only() {
    let lab = Lab::new();
    let content = kernel().content;
    let url = format!("{}/kernel.deb", lab.server.url());
    let source =
        format!("{{ kind = \"url\", url = \"{url}\", sha256 = \"{}\" }}", Digest::of(&content));
    let matrix = fs::read_to_string(lab.path(MATRIX_FILE)).unwrap();
    let at = matrix.find("source = ").unwrap();
    lab.write(MATRIX_FILE, &format!("{}source = {source}\n", &matrix[..at]));
    assert!(matches!(verify(&lab).outcome, Err(Unverified::Unreachable(_))));
    lab.server.put("kernel.deb", content.clone());
    lab.server.requests();
    let resolution = verify(&lab).outcome.unwrap().unwrap();
    assert_eq!(resolution.unproven, Some(Unproven::Content));
    assert_eq!(resolution.kernel.size(), content.len() as u64);
    assert_eq!(lab.server.requests(), ["kernel.deb size"]);
    lab.update();
    lab.server.put("kernel.deb", "another");
    assert!(matches!(verify(&lab).outcome, Err(Unverified::Wrong(_))));
}
