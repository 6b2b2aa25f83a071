//! Builds of a made-up source, whose Makefile stands in for the kernel's.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use kernlab_core::outcome::Reason;

use super::*;
use crate::{
    chain,
    compression::Compression,
    test_support::image::{Payload, bzimage, raw_btf, vmlinux, vmlinux_with_btf},
};

const RELEASE: &str = "5.10.262-kernlab";

/// The parts of Kconfig and Kbuild that the builds depend on. `DROP` is an option that Kconfig
/// drops, `COMPILE` the command that compiles.
const MAKEFILE: &str = r#"
allnoconfig:
	@echo '# Linux/x86 5.10.262 Kernel Configuration' > $(O)/.config
	@grep -v 'DROP' $(KCONFIG_ALLCONFIG) >> $(O)/.config
olddefconfig:
	@echo '# configuration written to .config'
bzImage Image:
	@echo run >> RUNS
	@echo '  CC      init/main.o'
	@COMPILE
	@mkdir -p $(O)/arch/$(ARCH)/boot $(O)/include/config
	@cp image $(O)/arch/$(ARCH)/boot/$@
	@echo 5.10.262-kernlab > $(O)/include/config/kernel.release
	@echo 'Kernel: arch/$(ARCH)/boot/$@ is ready  (#1)'
"#;

struct Lab {
    dir: tempfile::TempDir,
    store: Store,
    events: Mutex<Vec<String>>,
}

impl Lab {
    fn new() -> Self {
        Lab::with("CONFIG_DROPPED_BY_NOBODY", "true")
    }

    /// A source that drops an option and compiles with a command.
    fn with(drop: &str, compile: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let lab = Lab { dir, store, events: Mutex::default() };
        fs::create_dir(lab.tree()).unwrap();
        let runs = lab.path("runs").display().to_string();
        let makefile =
            MAKEFILE.replace("DROP", drop).replace("COMPILE", compile).replace("RUNS", &runs);
        lab.write("Makefile", makefile.as_bytes());
        lab.write("Kconfig", b"");
        let kernel = vmlinux(RELEASE, true);
        let image = bzimage(RELEASE, Payload::Compressed(Compression::Gzip), &kernel);
        lab.write("image", &image);
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    /// Writes a file of the source.
    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.tree().join(name), content).unwrap();
    }

    fn prepare(&self) -> Result<Unpacked, BuildError> {
        self.prepare_as(&Tools::named("gcc 12"), None, false)
    }

    fn prepare_as(
        &self,
        tools: &Tools,
        config: Option<&Path>,
        btf: bool,
    ) -> Result<Unpacked, BuildError> {
        let tree = self.tree();
        let toolchain = &Toolchain::default();
        let recipe = Recipe {
            id: "mine",
            arch: Arch::X86_64,
            tree: Tree::Dir(&tree),
            config,
            btf,
            toolchain,
        };
        let observe = |event: Event<'_>| self.events.lock().unwrap().push(format!("{event:?}"));
        recipe.prepare_with(&self.store, tools, &observe, || Ok(()))
    }

    fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// How many times the compiler ran.
    fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }

    /// The store's content that could be mistaken for a result or get in the way.
    fn artifacts(&self) -> Vec<PathBuf> {
        let below = |name: &str| {
            let entries = fs::read_dir(self.path("store").join(name)).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let is_build = |path: &PathBuf| !path.join("digest").exists();
        [below("artifacts"), below("scratch")].concat().into_iter().filter(is_build).collect()
    }
}

#[test]
fn a_kernel_is_built_once() {
    let lab = Lab::new();
    let unpacked = lab.prepare().unwrap();
    assert_eq!((unpacked.release.as_str(), unpacked.has_btf), (RELEASE, Some(false)));
    assert_eq!(fs::read(unpacked.image.fastest()).unwrap(), vmlinux(RELEASE, true));
    let config = fs::read_to_string(unpacked.config.unwrap()).unwrap();
    assert!(config.contains("\nCONFIG_BPF_SYSCALL=y\n"), "{config}");
    let events = lab.events();
    assert!(events[0].starts_with("Build { log: "), "{events:?}");
    assert_eq!(events[1], "Made { files: 1, file: \"CC      init/main.o\" }");
    assert!(events[2].starts_with("Built { files: 1, seconds: "), "{events:?}");
    assert_eq!(lab.prepare().unwrap().image, unpacked.image);
    assert_eq!((lab.events(), lab.runs()), (Vec::new(), 1));
    let kept = fs::read_dir(unpacked.image.fastest().parent().unwrap()).unwrap();
    let mut kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, [".content.json", "build.json", "bzImage", "config", "vmlinux"]);
}

#[test]
fn whatever_matters_makes_another_kernel() {
    let lab = Lab::new();
    let gcc = Tools::named("gcc 12");
    let first = lab.prepare().unwrap();
    lab.prepare_as(&Tools::named("gcc 13"), None, false).unwrap();
    assert_eq!(lab.runs(), 2, "another compiler");
    let own = lab.path("own.config");
    fs::write(&own, "CONFIG_PREEMPT_RT=y\n").unwrap();
    let unpacked = lab.prepare_as(&gcc, Some(&own), false).unwrap();
    assert_eq!(lab.runs(), 3, "other options");
    let config = fs::read_to_string(unpacked.config.unwrap()).unwrap();
    assert!(config.ends_with("\nCONFIG_PREEMPT_RT=y\n"), "the entry's own come last: {config}");
    lab.write("main.c", b"int main;");
    lab.prepare().unwrap();
    assert_eq!(lab.runs(), 4, "another source");
    fs::remove_file(lab.tree().join("main.c")).unwrap();
    assert_eq!(lab.prepare().unwrap().image, first.image);
    assert_eq!(lab.runs(), 4, "the first again");
}

#[test]
fn a_kernel_of_arm64_is_built() {
    let lab = Lab::new();
    let tree = lab.tree();
    let build = |btf| {
        let (tree, toolchain) = (Tree::Dir(&tree), &Toolchain::default());
        let recipe = Recipe { id: "mine", arch: Arch::Aarch64, tree, config: None, btf, toolchain };
        let tools = Tools::for_kernels_of(Arch::Aarch64, "gcc 12");
        recipe.prepare_with(&lab.store, &tools, &|_| {}, || Ok(()))
    };
    let mut image = crate::image::placeholder_arm64_kernel();
    image.extend(format!("Linux version {RELEASE} (a@b) (gcc) #1 SMP\n\0").bytes());
    lab.write("image", &image);
    let unpacked = build(false).unwrap();
    assert_eq!((unpacked.arch, unpacked.has_btf), (Arch::Aarch64, Some(false)));
    assert_eq!(unpacked.image.fastest().file_name().unwrap(), "Image");
    let config = fs::read_to_string(unpacked.config.unwrap()).unwrap();
    assert!(config.contains("\nCONFIG_SERIAL_AMBA_PL011=y\n"), "{config}");
    let error = chain(&build(true).unwrap_err());
    assert!(error.starts_with("the image has no BTF, contrary to"), "{error}");
    image.extend(raw_btf(16));
    lab.write("image", &image);
    assert_eq!(build(true).unwrap().has_btf, Some(true));
    // Another kernel from the same source.
    lab.write("image", &bzimage(RELEASE, Payload::Bzip2, b""));
    assert_eq!(lab.prepare().unwrap().arch, Arch::X86_64);
}

#[test]
fn an_option_that_kconfig_drops_is_named() {
    let lab = Lab::with("CONFIG_KPROBES", "true");
    let error = lab.prepare().unwrap_err();
    let text = chain(&error);
    assert!(text.contains("\n  CONFIG_KPROBES is unknown to this source, or depends on"), "{text}");
    assert!(text.contains("must be y for every tracer: Probes at the entry"), "{text}");
    assert!(!text.contains("CONFIG_KEYS"), "{text}");
    assert_eq!(error.reason(), Reason::BuildFailed);
    let config = text.rsplit(" is in ").next().unwrap();
    assert!(fs::read_to_string(config).unwrap().contains("CONFIG_KEYS=y"));
    assert_eq!((lab.runs(), lab.artifacts()), (0, Vec::new()), "nothing was compiled");
}

#[test]
fn an_option_of_the_entrys_own_that_is_dropped_is_told() {
    let lab = Lab::with("CONFIG_PREEMPT_RT", "true");
    let own = lab.path("own.config");
    fs::write(&own, "CONFIG_PREEMPT_RT=y\nCONFIG_DEBUG_LIST=y\n").unwrap();
    lab.prepare_as(&Tools::named("gcc 12"), Some(&own), false).unwrap();
    let lost: Vec<_> =
        lab.events().into_iter().filter(|event| event.starts_with("OptionLost")).collect();
    assert_eq!(lost, ["OptionLost { difference: \"CONFIG_PREEMPT_RT=y, now n\" }"]);
}

#[test]
fn a_configuration_that_is_none_is_refused() {
    let lab = Lab::new();
    let own = lab.path("own.config");
    let prepare = || lab.prepare_as(&Tools::named("gcc 12"), Some(&own), false).unwrap_err();
    let error = chain(&prepare());
    assert!(error.contains("own.config: No such file"), "{error}");
    fs::write(&own, "<html>").unwrap();
    let error = chain(&prepare());
    assert!(error.contains("line 1 is neither a comment nor"), "{error}");
}

#[test]
fn a_compile_error_shows_the_log_and_leaves_nothing_else() {
    let lab = Lab::with("NOTHING", "echo 'init/main.c:7:1: error: what is this?' >&2; exit 1");
    let error = lab.prepare().unwrap_err();
    let text = chain(&error);
    assert!(text.starts_with("`make bzImage` failed (exit status: 2)"), "{text}");
    assert!(text.contains("\n  init/main.c:7:1: error: what is this?\n"), "{text}");
    assert_eq!(lab.artifacts(), Vec::<PathBuf>::new());
    let log = text.split(" is in ").nth(1).unwrap().split(';').next().unwrap();
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("$ make allnoconfig\n"), "{log}");
    assert!(log.contains("\n  CC      init/main.o\ninit/main.c:7:1: error:"), "{log}");
    assert_eq!(error.reason(), Reason::BuildFailed);
}

#[test]
fn an_image_against_the_btf_mode_is_refused() {
    let lab = Lab::new();
    let error = lab.prepare_as(&Tools::named("gcc 12"), None, true).unwrap_err();
    assert!(chain(&error).starts_with("the image has no BTF, contrary to"), "{}", chain(&error));
    lab.write("image", b"a text");
    let error = chain(&lab.prepare().unwrap_err());
    assert!(error.contains("cannot use the built image: not a kernel image"), "{error}");
    assert_eq!(lab.artifacts(), Vec::<PathBuf>::new());
}

#[test]
fn btf_that_the_kernel_would_refuse_is_refused() {
    let lab = Lab::new();
    let tools = Tools::named("gcc 12");
    let with_kind = |kind| {
        let kernel = vmlinux_with_btf(RELEASE, kind, true);
        let image = bzimage(RELEASE, Payload::Compressed(Compression::Gzip), &kernel);
        lab.write("image", &image);
        lab.prepare_as(&tools, None, true)
    };
    fs::create_dir_all(lab.tree().join("include/uapi/linux")).unwrap();
    lab.write("include/uapi/linux/btf.h", b"#define BTF_KIND_DATASEC\t15\t/* Section */\n");
    let error = chain(&with_kind(16).unwrap_err());
    assert!(error.contains("has kinds up to 16, and this source knows those up to 15"), "{error}");
    assert!(error.contains("name an older pahole in the entry's `toolchain`"), "{error}");
    assert_eq!(with_kind(15).unwrap().has_btf, Some(true));
}

#[test]
fn what_a_killed_build_left_is_not_taken_for_a_kernel() {
    let lab = Lab::new();
    let unpacked = lab.prepare().unwrap();
    let artifact = unpacked.image.fastest().parent().unwrap().to_owned();
    let key = artifact.file_name().unwrap().to_owned();
    // As if the process had been killed in the middle of the build, with all files written.
    let scratch = lab.path("store/scratch").join(&key);
    fs::rename(&artifact, &scratch).unwrap();
    fs::create_dir_all(scratch.join("work/output")).unwrap();
    fs::write(scratch.join("bzImage.part"), "half").unwrap();
    assert_eq!(lab.prepare().unwrap().image, unpacked.image);
    assert_eq!(lab.runs(), 2);
    assert!(!artifact.join("bzImage.part").exists());
    assert_eq!(lab.artifacts(), std::slice::from_ref(&artifact));
    // A damaged result does not count.
    fs::remove_file(artifact.join("bzImage")).unwrap();
    lab.prepare().unwrap();
    assert_eq!(lab.runs(), 3);
}

#[test]
fn many_at_once_build_once() {
    let lab = Lab::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| lab.prepare().unwrap());
        }
    });
    assert_eq!(lab.runs(), 1);
    let events = lab.events();
    assert_eq!(events.iter().filter(|event| event.starts_with("Built ")).count(), 1, "{events:?}");
}

#[test]
fn who_waits_for_another_build_says_so() {
    let lab = Lab::new();
    let path = lab.prepare().unwrap().image.fastest().parent().unwrap().to_owned();
    let key = path.file_name().unwrap().to_str().unwrap();
    // As if another process were building the kernel and then gave up.
    fs::remove_dir_all(&path).unwrap();
    let lock = lab.store.lock(key).unwrap();
    let (tree, gcc) = (lab.tree(), Tools::named("gcc 12"));
    let (tree, toolchain) = (Tree::Dir(&tree), &Toolchain::default());
    let recipe =
        Recipe { id: "mine", arch: Arch::X86_64, tree, config: None, btf: false, toolchain };
    let (sender, receiver) = mpsc::channel();
    let observe = |event: Event<'_>| drop(sender.send(format!("{event:?}")));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| recipe.prepare_with(&lab.store, &gcc, &observe, || Ok(())));
        let first = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(first, "WaitForBuild");
        drop(lock);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(lab.runs(), 2);
}

#[test]
fn what_is_missing_is_said_before_anything_is_unpacked() {
    let lab = Lab::new();
    let tree = lab.tree();
    let (tree, toolchain) = (Tree::Dir(&tree), &Toolchain::default());
    let recipe =
        Recipe { id: "mine", arch: Arch::X86_64, tree, config: None, btf: false, toolchain };
    let missing_tools = || BuildError::ToolsMissing {
        id: "mine".to_owned(),
        missing_tools: Box::new(MissingTools::of(&["flex"])),
    };
    let error = recipe
        .prepare_with(&lab.store, &Tools::named("gcc 12"), &|_| {}, || Err(missing_tools()))
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("can't build mine: it lacks flex: `cargo xtask kernels build mine` installs"),
        "{text}"
    );
    assert_eq!(error.reason(), Reason::ToolsMissing);
    assert_eq!(lab.artifacts(), Vec::<PathBuf>::new());
}
