//! `kernlab kernels build` and `check` from a user's view, with a made-up kernel source and fake
//! compilers: the tests cover everything around the compilation.

use std::{
    fs::{self, File},
    os::{
        fd::AsFd as _,
        unix::{
            fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigHandler, Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

use crate::checkout;

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

/// The fake compilation holds a pipe open as long as a file `hold` exists.
const MAKEFILE: &str = "
allnoconfig:
\t@cp $(KCONFIG_ALLCONFIG) $(O)/.config
olddefconfig:
\t@true
bzImage:
\t@echo '  CC      init/main.o'
\t@echo 'flags: $(KCFLAGS) $(V), compiler: $(CC)'
\t@if test -e hold; then exec cat > fifo; fi
\t@mkdir -p $(O)/arch/x86/boot $(O)/include/config
\t@cp image $(O)/arch/x86/boot/bzImage
\t@echo 6.1.0-kernlab > $(O)/include/config/kernel.release
";

/// The programs that a build needs. Only `make` is real.
const PROGRAMS: [&str; 10] =
    ["gcc", "ld", "as", "ar", "nm", "objcopy", "strip", "flex", "bison", "bc"];

/// Prints its version, and, as a compiler, which assembler it runs.
const PROGRAM: &str =
    "#!/bin/sh\ncase \"$1\" in -print-prog-name=as) echo as;; *) echo 'made up 1.0';; esac\n";

/// A checkout with a matrix and a kernel's source, a store, and a directory of programs before the
/// machine's own in `PATH`.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let checkout = Checkout(tempfile::tempdir().unwrap());
        for dir in ["linux", "bin"] {
            fs::create_dir(checkout.path(dir)).unwrap();
        }
        checkout::mark(checkout.0.path());
        checkout.write("kernels.toml", MATRIX);
        checkout.write("linux/Makefile", MAKEFILE);
        checkout.write("linux/Kconfig", "");
        for program in PROGRAMS {
            checkout.write_program(&format!("bin/{program}"), PROGRAM);
        }
        checkout.write_image();
        checkout
    }

    /// A bzImage whose payload has an unknown compression.
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

    fn write_program(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The names in a directory of the store.
    fn stored(&self, dir: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("store").join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
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
        line.split_whitespace().nth(6).unwrap().to_owned()
    }
}

#[test]
fn a_kernel_is_built_once() {
    let checkout = Checkout::new();
    assert_eq!(checkout.state(), "unbuilt");
    assert_eq!(checkout.kernels(&["unbuilt", "6.1"]).1, "mine without BTF\n");
    // The value of an option of the command that it is for.
    assert_eq!(checkout.kernels(&["unbuilt", "mine", "dossiers"]).1, "mine without BTF\n");
    assert_eq!(checkout.kernels(&["architectures", "dossiers", "mine"]).1, "x86_64\n");
    assert_eq!(checkout.kernels(&["architectures", "dossiers"]).1, "");
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
    let saved = checkout.path(&format!("store/checkpoints/{}", "12".repeat(32)));
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

    checkout.write("bin/bison", "#!/bin/sh\necho 'libfl.so.2: no such file' >&2; exit 127\n");
    let (code, _, stderr) = checkout.kernels(&["build", "mine"]);
    assert_eq!(code, Some(3), "{stderr}");
    let broken = "this machine can't build mine: bison was found but does not work: libfl.so.2: no";
    assert!(stderr.contains(broken), "{stderr}");
    assert!(!stderr.contains("installs"), "{stderr}");

    let (code, _, stderr) = checkout.kernels(&["build", "ready"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("none of ready is built here"), "{stderr}");
}

#[test]
fn what_a_build_lacks_is_installed_if_the_user_agreed() {
    let without_bison = || {
        let checkout = Checkout::new();
        fs::rename(checkout.path("bin/bison"), checkout.path("bison")).unwrap();
        // The machine's own bison must not be found either.
        fs::create_dir(checkout.path("tools")).unwrap();
        let path = std::env::var("PATH").unwrap();
        for name in ["make", "sh", "cp", "mkdir", "echo", "true", "false", "touch"] {
            let mut here = path.split(':').map(|dir| Path::new(dir).join(name));
            let program = here.find(|program| program.is_file()).unwrap();
            symlink(program, checkout.path("tools").join(name)).unwrap();
        }
        checkout
    };
    let build = |checkout: &Checkout, installer: &str| {
        let path = ["bin", "tools"].map(|dir| checkout.path(dir).display().to_string());
        let mut command = checkout.command(&["build", "mine"]);
        command.env("PATH", path.join(":")).env("KERNLAB_BUILD_TOOLS", installer);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let checkout = without_bison();
    let (code, stderr) = build(&checkout, "false");
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("mine: the tools were not installed; log: /"), "{stderr}");
    assert!(stderr.contains("it lacks bison"), "{stderr}");

    let (code, stderr) = build(&checkout, "cp bison bin/bison");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("mine: installing the tools for its build; log: /"), "{stderr}");
    assert_eq!(checkout.state(), "stored");

    // The tools are not installed for a source that is not available.
    let checkout = without_bison();
    let url = "http://127.0.0.1:1/linux-6.1.tar.xz";
    let tree = format!("{{ kind = \"url\", url = \"{url}\", sha256 = \"{}\" }}", "0".repeat(64));
    let matrix = MATRIX.replace("{ kind = \"folder\", path = \"linux\" }", &tree);
    checkout.write("kernels.toml", &matrix);
    let (code, stderr) = build(&checkout, "touch installed");
    assert!(!checkout.path("installed").exists(), "{stderr}");
    assert_eq!(code, Some(3), "{stderr}");
}

#[test]
fn what_reaches_make_is_cleared_or_makes_another_kernel() {
    let checkout = Checkout::new();
    let build = |name: &str, value: &str| {
        let output = checkout.command(&["build", "mine"]).env(name, value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    };
    assert!(build("KCFLAGS", "-O0").contains("mine: built in"));
    let [log] = &checkout.stored("logs")[..] else { panic!() };
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("\nflags:  , compiler: cc\n"), "{log}");
    assert!(!build("V", "1").contains("built in"), "the same kernel");
    assert!(build("LIBRARY_PATH", "/opt/lib").contains("built in"), "another one");
    checkout.write_program("bin/as", "#!/bin/sh\necho 'made up 2.0'\n");
    assert!(build("V", "1").contains("built in"), "another assembler");
}

#[test]
fn an_entry_names_its_toolchain() {
    let checkout = Checkout::new();
    checkout.write_program("gcc-10", PROGRAM);
    let toolchain = "path = \"linux\" }, toolchain = { cc = \"./gcc-10\", ld = \"ld-2.35\" } }";
    let matrix = MATRIX.replace("path = \"linux\" } }", toolchain);
    checkout.write("kernels.toml", &matrix);
    let (code, _, stderr) = checkout.kernels(&["build", "mine"]);
    assert_eq!(code, Some(3), "{stderr}");
    let misnamed = "can't build mine: there is no ld-2.35, which the entry's `toolchain` names\n";
    assert!(stderr.contains(misnamed), "{stderr}");
    checkout.write_program("bin/ld-2.35", PROGRAM);
    let (code, _, stderr) = checkout.kernels(&["build", "mine"]);
    assert_eq!(code, Some(0), "{stderr}");
    let [log] = &checkout.stored("logs")[..] else { panic!() };
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("/gcc-10\n"), "{log}");
}

#[test]
fn a_kernel_of_this_machine_needs_no_lock() {
    let checkout = Checkout::new();
    let (code, stdout, _) = checkout.kernels(&["update", "ready"]);
    assert_eq!((code, &*stdout), (Some(0), "ready needs no lock: its source is on this machine\n"));
    let (code, stdout, _) = checkout.kernels(&["update", "6.1"]);
    let expected = "mine, ready need no lock: their sources are on this machine\n";
    assert_eq!((code, &*stdout), (Some(0), expected));
    assert!(!checkout.path("kernels.lock").exists());
}

/// Waits until a build is compiling, and returns the end of a pipe whose other end the build holds.
fn compiling(checkout: &Checkout) -> (Child, File) {
    let fifo = checkout.path("linux/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    checkout.write("linux/hold", "");
    let mut command = checkout.command(&["build", "mine"]);
    // SAFETY: signal is async-signal-safe, and nothing is allocated.
    unsafe {
        // A process that starts the tests may ignore the signal, as nohup does.
        command.pre_exec(|| {
            nix::sys::signal::signal(Signal::SIGHUP, SigHandler::SigDfl)?;
            Ok(())
        });
    }
    let build = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Opening blocks until the other side is opened.
    let end = File::options().read(true).custom_flags(nix::libc::O_CLOEXEC).open(fifo).unwrap();
    (build, end)
}

#[rstest]
#[case(Signal::SIGINT)]
#[case(Signal::SIGTERM)]
#[case(Signal::SIGHUP)]
fn an_interrupted_build_leaves_nothing_but_its_log(#[case] signal: Signal) {
    let checkout = Checkout::new();
    let (mut build, compiler) = compiling(&checkout);
    assert_eq!(checkout.stored("scratch").len(), 1);
    kill(Pid::from_raw(build.id().cast_signed()), signal).unwrap();
    let status = build.wait().unwrap();
    assert_eq!(status.signal(), Some(signal as i32), "{status}");
    let mut ends = [PollFd::new(compiler.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut ends, PollTimeout::ZERO).unwrap(), 1, "a compiler lives on");
    assert_eq!(checkout.stored("scratch"), Vec::<PathBuf>::new());
    assert_eq!(checkout.stored("logs").len(), 1);
    assert_eq!(checkout.state(), "unbuilt");
}

#[test]
fn a_killed_build_leaves_neither_a_result_nor_a_compiler() {
    let checkout = Checkout::new();
    // Other files in the directory exist from the beginning, because they are part of the key.
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
    // A whole configuration names the architecture.
    let fragment = include_str!("../../../kernels/kconfig/lab.config");
    let lab = &format!("CONFIG_X86_64=y\n{fragment}");
    checkout.write("fragment", fragment);
    checkout.write("good", lab);
    checkout.write("poor", &lab.replace("CONFIG_UPROBES=y\n", ""));
    checkout.write("bad", &lab.replace("CONFIG_BPF_SYSCALL=y\n", "CONFIG_BPF_SYSCALL=n\n"));
    checkout.write("text", "Dear kernel,\n");
    for (subject, code, expected) in [
        ("good", 0, "  suits the lab: all "),
        ("fragment", 3, "a fragment of a configuration: options that it does not set are unknown"),
        (
            "poor",
            0,
            "except for these unsupported scenarios: user_args/eight_ints, user_args/pie_and_",
        ),
        ("bad", 1, "CONFIG_BPF_SYSCALL is n, should be y; needed by every tracer: BPF programs"),
        ("bzImage", 3, "its configuration is not in the image (CONFIG_IKCONFIG): check its"),
        (
            "ready",
            3,
            "  whether it has BTF is unknown\n  boots through its bzImage, whose payload has",
        ),
        ("text", 2, "error: text is neither a kernel image nor a kernel's configuration: line 1"),
        ("mien", 2, "error: no kernel matches \"mien\": did you mean mine?"),
        ("no/such/file", 2, "error: there is no kernel image \"no/such/file\""),
    ] {
        let (found, stdout, stderr) = checkout.kernels(&["check", subject]);
        let output = stdout + &stderr;
        assert!(output.contains(expected), "{subject}: {output}");
        assert_eq!(found, Some(code), "{subject}: {output}");
    }
    // A kernel of the matrix is built if necessary.
    let (code, stdout, _) = checkout.kernels(&["check", "mine", "bad"]);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("mine: 6.1.0-kernlab\n"), "{stdout}");
}
