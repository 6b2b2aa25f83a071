use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A directory of programs that print their versions.
struct Bin(tempfile::TempDir);

impl Bin {
    fn new(programs: &[&str]) -> Self {
        let bin = Bin(tempfile::tempdir().unwrap());
        for program in programs {
            bin.add(program, &format!("echo '{program} 1.0'"));
        }
        bin
    }

    fn path(&self, program: &str) -> PathBuf {
        self.0.path().join(program)
    }

    fn add(&self, program: &str, script: &str) {
        let path = self.path(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A compiler that finds its assembler as gcc does.
    fn add_compiler(&self, name: &str) {
        let found =
            "if test -e \"$COMPILER_PATH/as\"; then echo \"$COMPILER_PATH/as\"; else echo as; fi";
        self.add(name, &format!("case \"$1\" in -print*) {found};; *) echo '{name} 1.0';; esac"));
    }

    fn environment(&self) -> Environment {
        Environment::of_this_process().with("PATH", self.0.path())
    }

    /// The tools for a kernel of this machine's architecture.
    fn find(&self, named: &Toolchain, btf: bool) -> Result<Tools, MissingTools> {
        let arch = Arch::of_this_program().unwrap();
        Tools::find(arch, named, btf, self.environment())
    }

    /// The tools for a kernel of another architecture.
    fn find_for_other(&self, named: &Toolchain) -> Result<Tools, MissingTools> {
        Tools::find(other(), named, false, self.environment())
    }
}

/// An architecture that is not this machine's.
fn other() -> Arch {
    let this = Arch::of_this_program();
    Arch::ALL.into_iter().find(|arch| Some(*arch) != this).unwrap()
}

const USUAL: [&str; 10] =
    ["make", "flex", "bison", "bc", "ld", "as", "ar", "nm", "objcopy", "strip"];

fn usual() -> Bin {
    let bin = Bin::new(&USUAL);
    bin.add_compiler("gcc");
    bin
}

#[test]
fn the_key_has_every_program_with_its_version() {
    let bin = usual();
    let identity = bin.find(&Toolchain::default(), false).unwrap().identity();
    for role in USUAL {
        assert!(identity.contains(&format!("{role}: {role}: {role} 1.0\n")), "{identity}");
    }
    assert!(identity.contains("cc: gcc: gcc 1.0\n"), "{identity}");
    bin.add("as", "echo 'as 2.0'");
    let other = bin.find(&Toolchain::default(), false).unwrap().identity();
    assert_ne!(identity, other, "another assembler");
}

#[test]
fn what_the_entry_names_reaches_make() {
    let bin = usual();
    let mut named = Toolchain::default();
    let arch = ("ARCH", Arch::of_this_program().unwrap().kbuild().into());
    assert_eq!(bin.find(&named, false).unwrap().variables(), std::slice::from_ref(&arch));
    bin.add_compiler("gcc-10");
    bin.add("as-2.35", "echo 'as 2.35'");
    bin.add("pahole-1.20", "echo v1.20");
    named.cc = Some(bin.path("gcc-10"));
    named.assembler = Some(bin.path("as-2.35"));
    named.pahole = Some("pahole-1.20".into());
    let tools = bin.find(&named, true).unwrap();
    let gcc = bin.path("gcc-10").into_os_string();
    let expected = [
        arch,
        ("CC", gcc.clone()),
        ("AS", bin.path("as-2.35").into_os_string()),
        ("PAHOLE", "pahole-1.20".into()),
        ("HOSTCC", gcc.clone()),
    ];
    assert_eq!(tools.variables(), expected);
    assert!(tools.identity().contains("as 2.35\n"), "{}", tools.identity());
    named.hostcc = Some("gcc".into());
    let variables = bin.find(&named, true).unwrap().variables();
    assert!(variables.contains(&("HOSTCC", "gcc".into())), "{variables:?}");
}

#[test]
fn a_prefix_stands_for_compiler_and_binutils() {
    let bin = usual();
    for program in USUAL {
        bin.add(&format!("old-{program}"), &format!("echo '{program} 0.9'"));
    }
    bin.add_compiler("old-gcc");
    let prefix = bin.path("old-");
    let named = Toolchain { prefix: Some(prefix.clone()), ..Toolchain::default() };
    let tools = bin.find(&named, false).unwrap();
    let variables = tools.variables();
    assert_eq!(variables[1], ("CROSS_COMPILE", prefix.into_os_string()));
    assert_eq!(variables.last(), Some(&("HOSTCC", bin.path("old-gcc").into_os_string())));
    assert!(tools.identity().contains("objcopy 0.9\n"), "{}", tools.identity());
    assert!(tools.identity().contains("as 0.9\n"), "{}", tools.identity());
    assert!(tools.identity().contains("flex 1.0\n"), "{}", tools.identity());
    // A prefix that ends in a slash is a directory.
    let named = Toolchain { prefix: Some("bin/".into()), ..Toolchain::default() };
    let below = named.below(Path::new("/lab")).prefix;
    assert_eq!(prefixed(below.as_deref(), "gcc").to_str(), Some("/lab/bin/gcc"));
}

#[test]
fn the_compiler_finds_the_assembler_that_the_entry_names() {
    let bin = usual();
    bin.add("as-2.35", "echo 'as 2.35'");
    let mut named = Toolchain { assembler: Some(bin.path("as-2.35")), ..Toolchain::default() };
    let dir = bin.path("tools");
    let tools = bin.find(&named, false).unwrap();
    let environment = tools.environment(&dir).unwrap();
    assert_eq!(tools.assembler_of(Path::new("gcc"), &environment), dir.join("as"));
    assert_eq!(fs::read_link(dir.join("as")).unwrap(), bin.path("as-2.35"));
    // A compiler with a built-in path of its assembler.
    bin.add("gcc-own", "echo /usr/lib/own/as");
    named.cc = Some(bin.path("gcc-own"));
    let tools = bin.find(&named, false).unwrap();
    let error = tools.environment(&bin.path("others")).unwrap_err().to_string();
    assert!(error.contains("gcc-own runs the assembler /usr/lib/own/as"), "{error}");
}

#[test]
fn a_kernel_of_another_architecture_is_compiled_with_its_own_tools() {
    let bin = usual();
    let named = Toolchain::default();
    let prefix = format!("{}-linux-gnu-", other());
    let missing = bin.find_for_other(&named).unwrap_err();
    assert!(missing.can_be_installed());
    assert!(missing.to_string().starts_with(&format!("it lacks {prefix}gcc")), "{missing}");
    for program in USUAL {
        bin.add(&format!("{prefix}{program}"), &format!("echo '{program} for another'"));
    }
    bin.add_compiler(&format!("{prefix}gcc"));
    let tools = bin.find_for_other(&named).unwrap();
    let expected = [("ARCH", other().kbuild().into()), ("CROSS_COMPILE", prefix.clone().into())];
    assert_eq!(tools.variables(), expected);
    let identity = tools.identity();
    assert!(identity.contains(&format!("cc: {prefix}gcc: {prefix}gcc 1.0\n")), "{identity}");
    assert!(identity.contains("hostcc: gcc: gcc 1.0\n"), "{identity}");
    assert!(identity.contains("ld for another\n"), "{identity}");
    assert!(identity.contains("bison: bison: bison 1.0\n"), "{identity}");
}

#[test]
fn only_the_compiler_for_another_architecture_finds_its_assembler() {
    let bin = usual();
    let prefix = format!("{}-linux-gnu-", other());
    for program in ["gcc", "ld", "as", "ar", "nm", "objcopy", "strip"] {
        bin.add(&format!("{prefix}{program}"), "echo 'made up 1.0'");
    }
    // As gcc does: it looks into the directory of its machine, and then into the one above.
    let machine = format!("{}-linux-gnu", other());
    let script = format!(
        "case \"$1\" in -dumpmachine) echo {machine};; -print*) echo \"$COMPILER_PATH/{machine}/as\";; \
         *) echo 'gcc 1.0';; esac"
    );
    bin.add(&format!("{prefix}gcc"), &script);
    bin.add("as-2.35", "echo 'as 2.35'");
    let named = Toolchain { assembler: Some(bin.path("as-2.35")), ..Toolchain::default() };
    let tools = bin.find_for_other(&named).unwrap();
    let dir = bin.path("tools");
    let environment = tools.environment(&dir).unwrap();
    let link = dir.join(&machine).join("as");
    assert_eq!(fs::read_link(link).unwrap(), bin.path("as-2.35"));
    assert_eq!(tools.assembler_of(Path::new("gcc"), &environment), Path::new("as"));
}

#[test]
fn what_is_missing_is_told_from_what_does_not_work() {
    let bin = usual();
    fs::remove_file(bin.path("flex")).unwrap();
    bin.add("pahole", "echo 'error while loading shared libraries: libdwarves.so.1' >&2; exit 127");
    let named = Toolchain { ld: Some("/opt/old/ld".into()), ..Toolchain::default() };
    let missing_tools = bin.find(&named, true).unwrap_err();
    assert!(missing_tools.can_be_installed());
    assert_eq!(
        missing_tools.to_string(),
        "it lacks flex; there is no /opt/old/ld, which the entry's `toolchain` names; pahole was \
         found but does not work: error while loading shared libraries: libdwarves.so.1 (exit \
         status: 127)"
    );
}

#[test]
fn a_compiler_tells_whether_a_header_is_there() {
    // Everything that builds this crate has a compiler: libbpf is compiled with it.
    let environment = Environment::of_this_process();
    assert!(has_header("stdio.h", Path::new("gcc"), &environment));
    assert!(!has_header("nowhere.h", Path::new("gcc"), &environment));
}
