//! Compiles the BPF programs, once for each kind of event buffer, and refuses what the verifier of
//! 4.18 would refuse.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

#[path = "build/check.rs"]
mod check;

/// The event buffers, and the features of `ebpf` that select them.
const VARIANTS: [(&str, &str); 2] = [("ring", ""), ("perf", "perf")];

fn main() {
    if let Err(error) = build() {
        println!("cargo::error={}", format!("{error:#}").replace('\n', " "));
    }
}

fn build() -> Result<()> {
    for path in ["build.rs", "build", "ebpf", "../../core/abi", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let rustc = variable("RUSTC")?;
    find_linker()?;
    find_library_source(&rustc)?;
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let target_dir = target_dir(&out_dir)?;
    let tracers = tracers()?;
    let mut table = "&[\n".to_owned();
    for (variant, features) in VARIANTS {
        let compiled = out_dir.join(variant);
        compile(features, &compiled, &target_dir)?;
        for name in &tracers {
            let path = compiled.join(name);
            let object =
                fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
            check::check(&object)
                .with_context(|| format!("the BPF object {variant}/{name} can't be used"))?;
            // A copy, for what cargo leaves here is a hard link into the shared target directory.
            let path = out_dir.join(format!("{name}.{variant}.o"));
            fs::write(&path, object).with_context(|| format!("can't write {}", path.display()))?;
            writeln!(table, "    ({name:?}, {variant:?}, aya::include_bytes_aligned!({path:?})),")?;
        }
    }
    table.push(']');
    fs::write(out_dir.join("objects.rs"), table).context("can't write objects.rs")
}

/// The names of all programs, sorted: one object per tracer, named as the binaries of `ebpf`.
fn tracers() -> Result<Vec<String>> {
    let bins = "ebpf/src/bin";
    let mut names = Vec::new();
    for entry in fs::read_dir(bins).with_context(|| format!("can't list {bins}"))? {
        let name = entry.with_context(|| format!("can't list {bins}"))?.file_name();
        names.extend(name.to_string_lossy().strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} is not set: this is a build script of cargo"))
}

fn find_linker() -> Result<()> {
    println!("cargo::rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    match env::split_paths(&path).map(|dir| dir.join("bpf-linker")).find(|file| file.is_file()) {
        Some(linker) => println!("cargo::rerun-if-changed={}", linker.display()),
        None => bail!("bpf-linker is not in PATH: run `cargo xtask setup`"),
    }
    Ok(())
}

/// The standard library isn't distributed for the BPF target, so `core` is compiled here.
fn find_library_source(rustc: &str) -> Result<()> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .with_context(|| format!("can't run {rustc}"))?;
    let sysroot = String::from_utf8(output.stdout).context("the sysroot's path is not UTF-8")?;
    let library = Path::new(sysroot.trim_end()).join("lib/rustlib/src/rust/library");
    if !library.join("core/Cargo.toml").is_file() {
        bail!(
            "the source of Rust's standard library is not in {}: run `cargo xtask setup`",
            library.display()
        );
    }
    Ok(())
}

/// Builds of all profiles and targets share a target directory, for they compile the same, and
/// `core` takes long. It is not the outer one, which the outer cargo holds locked.
fn target_dir(out_dir: &Path) -> Result<PathBuf> {
    // Cargo tags the target directory, and the one that it makes in it for `--target`.
    let target = variable("TARGET")?;
    let outer = out_dir
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file() && !dir.ends_with(&target))
        .unwrap_or(out_dir);
    // Each architecture of kernels has objects of its own.
    Ok(match variable("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => outer.join("ebpf"),
        other => outer.join(format!("ebpf-{other}")),
    })
}

/// Compiles all programs and puts the objects into the directory `objects`.
fn compile(features: &str, objects: &Path, target_dir: &Path) -> Result<()> {
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    let rustflags = [
        &format!("--cfg=bpf_target_arch=\"{architecture}\""),
        // The instructions of 4.14.
        "-Ctarget-cpu=v2",
        "-Clinker=bpf-linker",
    ];
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .args(["build", "--locked", "--release", "--bins", "--manifest-path", "ebpf/Cargo.toml"])
        .args(["--target", "bpfel-unknown-none", "--config", "profile.release.debug=false"])
        .args(["-Zbuild-std=core", "-Zunstable-options", "--features", features])
        .arg("--artifact-dir")
        .arg(objects)
        .arg("--target-dir")
        .arg(target_dir)
        // The target is experimental, on a nightly compiler as on the stable one.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"));
    // How the outer build was asked to compile is none of this build's business.
    for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(name);
    }
    let status = cargo.status().context("can't run cargo")?;
    if !status.success() {
        bail!("the BPF programs don't compile: {status}");
    }
    Ok(())
}
