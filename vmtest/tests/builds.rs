//! `kernlab kernels build` and `check` as a user meets them, with a made-up kernel source and with
//! compilers that do nothing: what is tested is all around them.

use std::{
    fs::{self, File},
    os::{
        fd::AsFd as _,
        unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const MATRIX: &str = r#"schema = 1

[[kernel]]
id = "mine"
release = "6.1"
arch = "x86_64"
tier = "extended"
btf = ["absent"]
why = "a test"
source = { kind = "build", tree = { kind = "folder", path = "linux" } }

[[kernel]]
id = "ready"
release = "6.1"
arch = "x86_64"
tier = "extended"
btf = ["absent"]
why = "a test"
source = { kind = "file", image = "bzImage" }
"#;

/// Compiling holds a pipe open, as long as there is a file `hold`.
const MAKEFILE: &str = "
allnoconfig:
\t@cp $(KCONFIG_ALLCONFIG) $(O)/.config
olddefconfig:
\t@true
bzImage:
\t@echo '  CC      init/main.o'
\t@if test -e hold; then exec cat > fifo; fi
\t@mkdir -p $(O)/arch/x86/boot $(O)/include/config
\t@cp image $(O)/arch/x86/boot/bzImage
\t@echo 6.1.0-kernlab > $(O)/include/config/kernel.release
";

/// The programs that a build looks for. `make` is the real one.
const PROGRAMS: [&str; 5] = ["gcc", "ld", "flex", "bison", "bc"];

/// A checkout with a matrix and a kernel's source, a store, and programs in front of the machine's.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let checkout = Checkout(tempfile::tempdir().unwrap());
        for folder in ["linux", "bin"] {
            fs::create_dir(checkout.path(folder)).unwrap();
        }
        checkout.write("kernels.toml", MATRIX);
        checkout.write("linux/Makefile", MAKEFILE);
        checkout.write("linux/Kconfig", "");
        for program in PROGRAMS {
            checkout.write(&format!("bin/{program}"), "#!/bin/sh\necho 'made up 1.0'\n");
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(checkout.path(&format!("bin/{program}")), executable).unwrap();
        }
        checkout.write_image();
        checkout
    }

    /// A bzImage whose payload is compressed in a way that is not looked into.
    fn write_image(&self) {
        let mut image = vec![0; 2048];
        image[0x1f1] = 1;
        image[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&8_u32.to_le_bytes());
        image[1024..1028].copy_from_slice(b"BZh9");
        for name in ["linux/image", "bzImage"] {
            fs::write(self.path(name), &image).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernlab"));
        command
            .arg("kernels")
            .args(arguments)
            .current_dir(self.0.path())
            .env("KERNLAB_STORE", self.path("store"))
            .env("PATH", format!("{}:{path}", self.path("bin").display()));
        command
    }

    /// The exit code, standard output and standard error of `kernlab kernels ...`.
    fn kernels(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn state(&self) -> String {
        let (_, stdout, _) = self.kernels(&["list"]);
        let line = stdout.lines().find(|line| line.starts_with("mine")).unwrap().to_owned();
        line.split_whitespace().nth(5).unwrap().to_owned()
    }
}

#[test]
fn a_kernel_is_built_once() {
    let checkout = Checkout::new();
    assert_eq!(checkout.state(), "unbuilt");
    assert_eq!(checkout.kernels(&["unbuilt", "6.1"]).1, "mine without BTF\n");
    let (code, _, stderr) = checkout.kernels(&["build", "6.1"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("mine: building, which takes minutes; log: /"), "{stderr}");
    assert!(stderr.contains("mine: built in 0 s, 1 files\n"), "{stderr}");
    assert!(stderr.contains("mine: 6.1.0-kernlab is ready\n"), "{stderr}");
    assert!(stderr.contains("/bzImage (2.00 KiB)\n"), "{stderr}");
    assert_eq!(checkout.state(), "stored");
    assert_eq!(checkout.kernels(&["unbuilt", "6.1"]).1, "");
    let (code, _, stderr) = checkout.kernels(&["fetch", "mine"]);
    assert_eq!((code, stderr.as_str()), (Some(0), "mine: 6.1.0-kernlab is ready\n"));
}

#[test]
fn what_took_minutes_to_build_goes_last() {
    let checkout = Checkout::new();
    assert_eq!(checkout.kernels(&["build", "mine"]).0, Some(0));
    let saved = checkout.path("store/warm/guest");
    fs::create_dir_all(saved.parent().unwrap()).unwrap();
    fs::write(&saved, vec![1; 1 << 20]).unwrap();
    let (code, _, stderr) = checkout.kernels(&["gc", "--keep", "500K"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!saved.exists(), "a guest is saved again in seconds");
    assert_eq!(checkout.state(), "stored");
}

#[test]
fn a_source_that_can_t_be_built_fails_and_a_machine_that_can_t_build_says_so() {
    let checkout = Checkout::new();
    let makefile = MAKEFILE.replace("cp image", "cat no_such_image >");
    checkout.write("linux/Makefile", &makefile);
    let (code, _, stderr) = checkout.kernels(&["build", "mine"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("error: kernel mine: `make bzImage` failed"), "{stderr}");
    assert!(stderr.contains("no_such_image: No such file"), "{stderr}");
    assert_eq!(checkout.state(), "unbuilt");

    checkout.write("bin/bison", "#!/bin/sh\nexit 1\n");
    let (code, _, stderr) = checkout.kernels(&["build", "mine"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("this machine can't build kernels, it lacks bison: "), "{stderr}");
    assert!(stderr.contains("`cargo xtask kernels build mine` installs that"), "{stderr}");

    let (code, _, stderr) = checkout.kernels(&["build", "ready"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("none of ready is built here"), "{stderr}");
}

#[test]
fn what_a_build_lacks_is_installed_if_the_user_agreed() {
    let checkout = Checkout::new();
    checkout.write("bin/bison", "#!/bin/sh\nexit 1\n");
    checkout.write("good", "#!/bin/sh\necho 'made up 1.0'\n");
    let build = |installer: &str| {
        let mut command = checkout.command(&["build", "mine"]);
        let output = command.env("KERNLAB_BUILD_TOOLS", installer).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = build("false");
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("mine: that was not installed; log: /"), "{stderr}");
    assert!(stderr.contains("this machine can't build kernels, it lacks bison: "), "{stderr}");

    let (good, bison) = (checkout.path("good"), checkout.path("bin/bison"));
    let (code, stderr) = build(&format!("cp '{}' '{}'", good.display(), bison.display()));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("mine: installing what its build takes; log: /"), "{stderr}");
    assert_eq!(checkout.state(), "stored");

    // Not for a source that can't be had.
    let checkout = Checkout::new();
    checkout.write("bin/bison", "#!/bin/sh\nexit 1\n");
    let url = "http://127.0.0.1:1/linux-6.1.tar.xz";
    let tree = format!("{{ kind = \"url\", url = \"{url}\", sha256 = \"{}\" }}", "0".repeat(64));
    let matrix = MATRIX.replace("{ kind = \"folder\", path = \"linux\" }", &tree);
    checkout.write("kernels.toml", &matrix);
    let mut command = checkout.command(&["build", "mine"]);
    let output = command.env("KERNLAB_BUILD_TOOLS", "touch installed").output().unwrap();
    assert!(!checkout.path("installed").exists(), "{output:?}");
    assert_ne!(output.status.code(), Some(0));
}

/// Waits until a build is compiling, and returns the end of a pipe whose other end it holds.
fn compiling(checkout: &Checkout) -> (Child, File) {
    let fifo = checkout.path("linux/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    checkout.write("linux/hold", "");
    let mut command = checkout.command(&["build", "mine"]);
    let build = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Opening waits for the other side to be opened.
    let end = File::options().read(true).custom_flags(nix::libc::O_CLOEXEC).open(fifo).unwrap();
    (build, end)
}

#[test]
fn a_killed_build_leaves_neither_a_result_nor_a_compiler() {
    let checkout = Checkout::new();
    // What the folder holds besides the source is there from the beginning: it belongs to the key.
    let (mut build, compiler) = compiling(&checkout);
    build.kill().unwrap();
    build.wait().unwrap();
    let mut ends = [PollFd::new(compiler.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut ends, PollTimeout::from(20_000_u16)).unwrap(), 1, "a compiler lives on");
    assert_eq!(checkout.state(), "unbuilt");
    fs::remove_file(checkout.path("linux/hold")).unwrap();
    let (code, _, stderr) = checkout.kernels(&["build", "mine"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(checkout.state(), "stored");
}

#[test]
fn a_kernel_is_checked() {
    let checkout = Checkout::new();
    let lab = include_str!("../kconfig/lab.config");
    checkout.write("good", lab);
    checkout.write("poor", &lab.replace("CONFIG_UPROBES=y\n", ""));
    checkout.write("bad", &lab.replace("CONFIG_BPF_SYSCALL=y\n", "CONFIG_BPF_SYSCALL=n\n"));
    checkout.write("text", "Dear kernel,\n");
    for (subject, code, expected) in [
        ("good", 0, "good: release unknown\n  suits the lab: all "),
        ("poor", 0, "these scenarios are unsupported: user_args/eight_ints, user_args/pie_and_"),
        ("bad", 1, "CONFIG_BPF_SYSCALL is n, should be y; needed by every tracer: BPF programs"),
        ("bzImage", 3, "its configuration is not in the image (CONFIG_IKCONFIG): check that"),
        ("ready", 3, "ready: unknown\n  starts by its bzImage, whose payload is"),
        ("text", 2, "error: text is neither a kernel image nor a kernel's configuration: line 1"),
        ("mien", 2, "error: no kernel matches \"mien\": did you mean mine?"),
        ("no/such/file", 2, "error: there is no kernel image \"no/such/file\""),
    ] {
        let (found, stdout, stderr) = checkout.kernels(&["check", subject]);
        let said = stdout + &stderr;
        assert!(said.contains(expected), "{subject}: {said}");
        assert_eq!(found, Some(code), "{subject}: {said}");
    }
    // A kernel of the matrix is built if need be.
    let (code, stdout, _) = checkout.kernels(&["check", "mine", "bad"]);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("mine: 6.1.0-kernlab\n"), "{stdout}");
}
