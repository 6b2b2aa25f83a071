//! Compiles every C program in every variant and embeds the objects.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash, Hasher as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use libbpf_cargo::SkeletonBuilder;

const TRACERS: [&str; 10] = [
    "sys_write",
    "sock_alloc",
    "socket_write",
    "inotify",
    "many_args",
    "filetop",
    "filelife",
    "syncsnoop",
    "user_args",
    "guarded_read",
];
const BUFFERS: [(&str, &[&str]); 2] = [("ring", &["-DKERNLAB_RING"]), ("perf", &[])];
const TYPES: [(&str, &[&str]); 2] = [("core", &["-DKERNLAB_CORE"]), ("layout", &[])];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let abi = Path::new("../../core/abi");
    for input in [Path::new("src/bpf"), &abi.join("src")] {
        println!("cargo:rerun-if-changed={}", input.display());
    }
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-env-changed=PATH");

    write_abi_header(abi, &out.join("abi.h"))?;
    let clang = clang()?;
    let libbpf = env::var("DEP_BPF_INCLUDE").context("libbpf-sys did not tell its headers")?;
    println!("cargo:rustc-env=KERNLAB_CLANG={}", clang.display());
    println!("cargo:rustc-env=KERNLAB_LIBBPF_INCLUDE={libbpf}");
    let headers = headers(&out)?;
    let mut table = "&[\n".to_owned();
    for tracer in TRACERS {
        for (buffer, buffer_args) in BUFFERS {
            for (types, types_args) in TYPES {
                let object = out.join(format!("{tracer}.{buffer}.{types}.o"));
                // Newer compilers default to v3, whose 32-bit jumps are unknown before 5.1.
                let mut args: Vec<OsString> =
                    vec!["-mcpu=v2".into(), "-Wall".into(), "-Werror".into(), "-I".into()];
                args.extend([out.clone().into(), "-I".into(), OsString::from(&libbpf)]);
                args.extend(buffer_args.iter().chain(types_args).map(OsString::from));
                let source = format!("src/bpf/{tracer}.bpf.c");
                let text = fs::read(&source).with_context(|| format!("reading {source}"))?;
                once_for((&text, &headers, &clang, &args), &object, || {
                    SkeletonBuilder::new()
                        .source(&source)
                        .obj(&object)
                        .clang(&clang)
                        .clang_args(&args)
                        .build()
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

/// Makes `object` unless it was made of the same before: who edits one program waits for that one.
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
fn headers(out: &Path) -> Result<Vec<Vec<u8>>> {
    let mut headers = vec![out.join("abi.h")];
    for entry in fs::read_dir("src/bpf").context("listing src/bpf")? {
        let path = entry.context("listing src/bpf")?.path();
        headers.extend(path.extension().is_some_and(|extension| extension == "h").then_some(path));
    }
    headers.sort();
    headers
        .iter()
        .map(|path| fs::read(path).with_context(|| format!("reading {}", path.display())))
        .collect()
}

/// The C side's view of `kernlab_abi`, made from its source.
fn write_abi_header(abi: &Path, header: &Path) -> Result<()> {
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Tag,
        no_includes: true,
        pragma_once: true,
        export: cbindgen::ExportConfig {
            include: [
                "ProgramConfig",
                "SysWriteEvent",
                "PendingWrite",
                "SockAllocEvent",
                "SocketWriteEvent",
                "PendingSocketWrite",
                "InotifyEvent",
                "CallEvent",
                "SyncEvent",
                "UserCallEvent",
                "PendingCall",
                "ReadEvent",
                "FileKey",
                "FileTotals",
                "PendingTransfer",
                "FileLifeEvent",
                "PendingUnlink",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Default::default()
        },
        ..Default::default()
    };
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(abi.join("src/lib.rs"))
        .with_src(abi.join("src/file.rs"))
        .generate()
        .context("generating abi.h from core/abi")?
        .write_to_file(header);
    Ok(())
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
            env::split_paths(&path).map(|folder| folder.join(&name)).find(|path| path.is_file())
        {
            return Ok(found);
        }
    }
    bail!("no clang found to compile the BPF programs: run `cargo xtask setup`, or set CLANG")
}
