//! `kernlab kernels` from a user's view: its output and its exit codes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::{Command, Output},
    thread,
};

use crate::checkout;

const MATRIX: &str = r#"schema = 1

[repository.nowhere]
distribution = "none"
archive = "none"
keys = []

[[kernel]]
id = "newest"
arch = "x86_64"
tier = "default"
btf = ["embedded", "masked"]
why = "a test"
[kernel.source]
kind = "deb"
repository = "nowhere"
suite = "stable"
component = "main"
package = "linux-image-cloud-amd64"

[[kernel]]
id = "mine"
release = "6.1"
arch = "aarch64"
tier = "extended"
btf = ["embedded"]
why = "a test"
source = { kind = "file", image = "bzImage" }
"#;

/// A checkout with only a matrix, and its own store.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let checkout = Checkout(tempfile::tempdir().unwrap());
        checkout::mark(checkout.0.path());
        checkout.write("kernels.toml", MATRIX);
        checkout
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// The exit code, standard output and standard error of `kernlab kernels ...`.
    fn kernels(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_kernlab"))
            .arg("kernels")
            .args(arguments)
            .current_dir(self.0.path())
            .env("KERNLAB_STORE", self.0.path().join("store"))
            .env("no_proxy", "127.0.0.1")
            .output()
            .unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }
}

#[test]
fn the_list_shows_every_kernel() {
    let (code, stdout, _) = Checkout::new().kernels(&["list"]);
    assert_eq!(code, Some(0));
    let lines: Vec<Vec<&str>> =
        stdout.lines().map(|line| line.split_whitespace().take(7).collect()).collect();
    assert_eq!(
        lines,
        [
            ["KERNEL", "RELEASE", "LOCKED", "ARCH", "TIER", "BTF", "STATE"],
            ["newest", "-", "-", "x86_64", "default", "embedded,masked", "unresolved"],
            ["mine", "6.1", "-", "aarch64", "extended", "embedded", "local"],
        ]
    );
}

#[test]
fn the_list_is_also_json() {
    let (code, stdout, _) = Checkout::new().kernels(&["list", "--json"]);
    assert_eq!(code, Some(0));
    let rows: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(rows[0]["id"], "newest");
    assert_eq!(rows[0]["state"], "unresolved");
    assert_eq!(rows[1]["btf"][0], "embedded");
}

#[test]
fn an_update_without_a_mirror_names_the_kernel_and_writes_nothing() {
    let checkout = Checkout::new();
    let (code, stdout, stderr) = checkout.kernels(&["update"]);
    assert_eq!(code, Some(3));
    assert_eq!(stdout, "0 changed, 0 unchanged, 1 not resolved\n");
    assert!(stderr.contains("newest is not resolved: no mirror of \"nowhere\""), "{stderr}");
    assert!(stderr.contains("KERNLAB_MIRROR_NOWHERE"), "{stderr}");
    assert!(!checkout.0.path().join("kernels.lock").exists());
}

#[test]
fn an_update_of_all_has_a_line_for_each_kernel() {
    let (code, stdout, _) = Checkout::new().kernels(&["update", "--all"]);
    assert_eq!(code, Some(3));
    let expected = "newest: not resolved\nmine: its files are on this machine\n0 changed, 0 \
                    unchanged, 1 not resolved\n";
    assert_eq!(stdout, expected);
    let (code, _, stderr) = Checkout::new().kernels(&["update", "--all", "newest"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("cannot be used with"), "{stderr}");
}

#[test]
fn verifying_shows_every_kernel_and_what_is_not_known() {
    let checkout = Checkout::new();
    let (code, stdout, stderr) = checkout.kernels(&["verify", "--all"]);
    assert_eq!(code, Some(3));
    let lines: Vec<Vec<&str>> =
        stdout.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    let expected =
        [["KERNEL", "RESOLVES", "VERSION"], ["newest", "unknown", "-"], ["mine", "local", "-"]];
    assert_eq!(lines, expected);
    assert!(stderr.starts_with("error: newest: no mirror of \"nowhere\""), "{stderr}");
    assert!(!checkout.0.path().join("kernels.lock").exists());

    let (code, stdout, _) = checkout.kernels(&["verify", "mine", "--json"]);
    assert_eq!(code, Some(0));
    let rows: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&rows[0]["id"], &rows[0]["outcome"]), (&"mine".into(), &"local".into()));
    let (code, _, _) = checkout.kernels(&["verify", "mien"]);
    assert_eq!(code, Some(2));
}

#[test]
fn a_wrong_document_fails_the_verification() {
    let checkout = Checkout::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    checkout.write("kernels.local.toml", &format!("schema = 1\n[mirror]\nnowhere = [\"{url}\"]\n"));
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
        while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let (code, stdout, stderr) = checkout.kernels(&["verify", "newest", "mine"]);
    server.join().unwrap();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.contains("\nnewest  no "), "{stdout}");
    assert!(stderr.contains("cannot trust the repository: not a signed document"), "{stderr}");
}

#[test]
fn what_can_t_be_fetched_says_why() {
    let checkout = Checkout::new();
    let (code, _, stderr) = checkout.kernels(&["fetch"]);
    assert_eq!(code, Some(3));
    let expected = "could not be resolved: no mirror of \"nowhere\" can be used: none is known";
    assert!(stderr.contains(expected), "{stderr}");
    let (code, _, stderr) = checkout.kernels(&["fetch", "--locked"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("run `cargo xtask kernels update newest`"), "{stderr}");
    let (code, _, stderr) = checkout.kernels(&["fetch", "mine"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("bzImage: No such file"), "{stderr}");
    checkout.write("bzImage", "not a kernel");
    let (code, _, stderr) = checkout.kernels(&["fetch", "mine"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("bzImage: not a kernel image: it has no x86 boot"), "{stderr}");
    let (code, _, stderr) = checkout.kernels(&["fetch", "./bzImage"]);
    assert_eq!(code, Some(2), "the command line is wrong");
    assert!(stderr.contains("\"./bzImage\" is not a kernel image"), "{stderr}");
}

#[test]
fn bad_usage_and_bad_files_end_with_2() {
    let checkout = Checkout::new();
    for arguments in [&["fetch", "mien"][..], &["update", "mien"]] {
        let (code, _, stderr) = checkout.kernels(arguments);
        assert_eq!(code, Some(2));
        assert!(stderr.contains("did you mean mine?"), "{stderr}");
    }
    checkout.write("kernels.lock", "schema = 1\nkernel = 3\n");
    let (code, _, stderr) = checkout.kernels(&["list"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("kernels.lock:2:10: invalid type: integer `3`"), "{stderr}");
    checkout.write("kernels.toml", "schema = 1\nkernel = 3\n");
    let (code, _, stderr) = checkout.kernels(&["list"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("kernels.toml:2:10: invalid type: integer `3`"), "{stderr}");
}

#[test]
fn the_store_is_swept_when_nobody_uses_it() {
    let checkout = Checkout::new();
    let store = checkout.0.path().join("store");
    fs::create_dir_all(store.join("objects/12")).unwrap();
    let object = store.join(format!("objects/12/{}", "12".repeat(32)));
    fs::write(&object, vec![1; 1 << 16]).unwrap();
    let (code, stdout, _) = checkout.kernels(&["gc", "--keep", "1G"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "the store has 64.00 KiB\n"));
    let (code, stdout, _) = checkout.kernels(&["gc", "--dry-run"]);
    assert_eq!(code, Some(0));
    let expected = "would remove packages and kernels that no lock names: 1, 64.00 KiB\n\
                    the store would have 0 B\n";
    assert_eq!(stdout, expected);
    assert!(object.exists());

    let other = fs::File::open(store.join("in-use")).unwrap();
    other.lock_shared().unwrap();
    let (code, _, stderr) = checkout.kernels(&["gc"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("other processes use "), "{stderr}");
    assert!(object.exists());
    drop(other);

    let (code, stdout, _) = checkout.kernels(&["gc"]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("removed packages and kernels that no lock names: 1, "), "{stdout}");
    assert!(!object.exists());
    let (code, _, stderr) = checkout.kernels(&["gc", "--keep", "much"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("\"much\" is not a size such as 10G"), "{stderr}");
}
