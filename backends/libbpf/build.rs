//! Compiles every C program in every variant and embeds the objects.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use object::build::elf::{Builder, SectionData};

const PROGRAMS: &str = "src/bpf";

const BUFFERS: [(&str, &[&str]); 2] = [("ring", &["-DKERNLAB_RING"]), ("perf", &[])];
const TYPES: [(&str, &[&str]); 2] = [("core", &["-DKERNLAB_CORE"]), ("layout", &[])];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let abi = fs::canonicalize("../../core/abi/include").context("finding the ABI's header")?;
    for input in [Path::new(PROGRAMS), &abi] {
        println!("cargo:rerun-if-changed={}", input.display());
    }
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-env-changed=PATH");

    let clang = clang()?;
    let libbpf = env::var("DEP_BPF_INCLUDE").context("libbpf-sys did not set DEP_BPF_INCLUDE")?;
    println!("cargo:rustc-env=KERNLAB_CLANG={}", clang.display());
    println!("cargo:rustc-env=KERNLAB_LIBBPF_INCLUDE={libbpf}");
    let architecture = architecture()?;
    println!("cargo:rustc-env=KERNLAB_ARCHITECTURE={architecture}");
    let headers = headers(&abi)?;
    let mut table = "&[\n".to_owned();
    for tracer in tracers()? {
        for (buffer, buffer_args) in BUFFERS {
            for (types, types_args) in TYPES {
                let object = out.join(format!("{tracer}.{buffer}.{types}.o"));
                // Newer compilers default to v3, whose 32-bit jumps are unknown before 5.1.
                let mut args: Vec<OsString> =
                    ["-mcpu=v2", "-Wall", "-Werror", "-O2", "-g"].map(OsString::from).to_vec();
                args.push((&architecture).into());
                args.extend(["-I".into(), abi.clone().into(), "-I".into(), (&libbpf).into()]);
                args.extend(buffer_args.iter().chain(types_args).map(OsString::from));
                let source = format!("{PROGRAMS}/{tracer}.bpf.c");
                let text = fs::read(&source).with_context(|| format!("reading {source}"))?;
                once_for((&text, &headers, &clang, &args), &object, || {
                    compile(&clang, &args, &source, &object)
                        .and_then(|()| strip_debug_information(&object))
                        .with_context(|| format!("compiling {source} ({buffer}, {types})"))
                })?;
                writeln!(
                    table,
                    "    ({tracer:?}, {buffer:?}, {types:?}, include_bytes!({object:?})),"
                )?;
            }
        }
    }
    table.push(']');
    fs::write(out.join("objects.rs"), table).context("writing objects.rs")
}

/// The macro that names the architecture of the kernels, as libbpf's headers know it.
fn architecture() -> Result<String> {
    let target = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH is not set")?;
    let name = match target.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => other,
    };
    Ok(format!("-D__TARGET_ARCH_{name}"))
}

/// The names of all programs, sorted.
fn tracers() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(PROGRAMS).with_context(|| format!("listing {PROGRAMS}"))? {
        let name = entry.with_context(|| format!("listing {PROGRAMS}"))?.file_name();
        names.extend(name.to_string_lossy().strip_suffix(".bpf.c").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn compile(clang: &Path, args: &[OsString], source: &str, object: &Path) -> Result<()> {
    let mut command = Command::new(clang);
    command.args(["-target", "bpf", "-fno-stack-protector", "-fno-addrsig"]).args(args);
    let output = command
        .args(["-c", source, "-o"])
        .arg(object)
        .output()
        .with_context(|| format!("starting {}", clang.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Keeps the BTF that `-g` asks for, and drops the DWARF that comes with it: guests get the objects.
fn strip_debug_information(file: &Path) -> Result<()> {
    let whole = fs::read(file)?;
    let mut elf = Builder::read(&*whole)?;
    for section in &mut elf.sections {
        let name = section.name.to_string();
        // libbpf skips relocations of BTF.
        section.delete =
            [".debug_", ".rel.debug_", ".rel.BTF"].iter().any(|start| name.starts_with(start));
    }
    elf.delete_orphans();
    // LLVM has one table for the names of symbols and sections, the builder wants another.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    elf.write(&mut stripped)?;
    fs::write(file, stripped)?;
    Ok(())
}

/// Makes `object` unless its inputs are unchanged, so that an edit recompiles only one program.
fn once_for(inputs: impl Hash, object: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    let inputs = hasher.finish().to_string();
    let stamp = object.with_extension("inputs");
    if object.exists() && fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == inputs) {
        return Ok(());
    }
    make()?;
    fs::write(&stamp, inputs).with_context(|| format!("writing {}", stamp.display()))
}

/// What any of the programs may include.
fn headers(abi: &Path) -> Result<Vec<Vec<u8>>> {
    let mut headers = vec![abi.join("abi.h")];
    for entry in fs::read_dir(PROGRAMS).with_context(|| format!("listing {PROGRAMS}"))? {
        let path = entry.with_context(|| format!("listing {PROGRAMS}"))?.path();
        headers.extend(path.extension().is_some_and(|extension| extension == "h").then_some(path));
    }
    headers.sort();
    headers
        .iter()
        .map(|path| fs::read(path).with_context(|| format!("reading {}", path.display())))
        .collect()
}

/// `$CLANG`, or the newest clang on the path.
fn clang() -> Result<PathBuf> {
    if let Some(clang) = env::var_os("CLANG") {
        return Ok(clang.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let names = (14..=40).rev().map(|version| format!("clang-{version}"));
    for name in names.chain(["clang".to_owned()]) {
        if let Some(found) =
            env::split_paths(&path).map(|dir| dir.join(&name)).find(|path| path.is_file())
        {
            return Ok(found);
        }
    }
    bail!("no clang found to compile the BPF programs: run `cargo xtask setup`, or set CLANG")
}
