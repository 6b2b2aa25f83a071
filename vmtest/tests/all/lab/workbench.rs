//! The machines that the tests boot: a kernel of the matrix, and an initramfs with the lab's
//! programs.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use kernlab_kernels::{Arch, Kernels, Module, Silent, Unpacked, chain};
use kernlab_vmtest::{
    checkpoints::Checkpoints,
    guest_programs,
    image::{Base, ImageStore, Initramfs},
    lab::{BOOT_TIMEOUT, Bootable, Guest, Job, Ready},
    qemu::{Accelerator, Binary, InjectedFile, MachineSpec},
};

/// The kernel that the lab's own tests boot.
pub(crate) const KERNEL: &str = "debian-6.1";
/// The kernel of another architecture that some of them boot too.
pub(crate) const ARM64: &str = "debian-6.1-arm64";

/// The tests' kernel. It is downloaded if the store lacks it; a failure panics.
pub(crate) fn kernel() -> &'static Unpacked {
    static UNPACKED: OnceLock<Unpacked> = OnceLock::new();
    UNPACKED.get_or_init(|| unpacked(KERNEL))
}

fn unpacked(id: &str) -> Unpacked {
    let kernels = Kernels::open().expect("the matrix can be read");
    let entry = kernels.entry(id).expect("the matrix has the kernel");
    kernels
        .prepare(entry, &Silent)
        .unwrap_or_else(|error| panic!("{id} is not available: {}", chain(&error)))
}

/// A program for the guest: from the directory that `cargo xtask` names, otherwise built now.
pub(crate) fn program(name: &str) -> PathBuf {
    program_for(kernel().arch, name)
}

fn programs() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let given = || std::env::var_os("KERNLAB_GUEST").map(PathBuf::from);
    DIR.get_or_init(|| given().unwrap_or_else(build))
}

/// A program for guests of this architecture, which `cargo xtask` builds.
fn program_for(arch: Arch, name: &str) -> PathBuf {
    guest_programs::of_arch(programs(), arch)
        .expect("`cargo xtask test` says where they are")
        .join(name)
}

fn build() -> PathBuf {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", "guest", "--target", &target])
        .args(["--package", "kernlab-agent", "--message-format", "json-render-diagnostics"])
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes text");
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    let program = executables.next().expect("cargo names the programs");
    program.parent().expect("a program is in a directory").to_owned()
}

/// An initramfs whose PID 1 is this program.
pub(crate) fn image(pid_1: &Path, modules: &[Module]) -> Initramfs {
    let base = Base::new(pid_1).unwrap();
    let images = ImageStore::new(std::env::temp_dir().join("kernlab-test-images"));
    images.keep(&base.with_modules(modules).unwrap()).unwrap()
}

/// A machine that boots this initramfs, with the fault agent injected.
pub(crate) fn machine_with(image: &Initramfs, words: &[&str]) -> Bootable {
    machine_of(kernel(), image, words)
}

fn machine_of(kernel: &Unpacked, image: &Initramfs, words: &[&str]) -> Bootable {
    let mut machine =
        MachineSpec::new(kernel.arch, Accelerator::Tcg, kernel.image.fastest(), &image.path);
    machine.injected = vec![InjectedFile::program(program_for(kernel.arch, "kernlab-fault-agent"))];
    machine.kernel_words = words.iter().map(|word| (*word).to_owned()).collect();
    Bootable::new(Binary::find(kernel.arch).expect("QEMU is installed"), machine)
}

/// A machine with the agent.
pub(crate) fn machine() -> Bootable {
    machine_on(KERNEL)
}

/// A machine with this kernel and the agent.
pub(crate) fn machine_on(id: &str) -> Bootable {
    let kernel = unpacked(id);
    machine_of(&kernel, &image(&program_for(kernel.arch, "kernlab-agent"), &[]), &[])
}

/// A machine whose PID 1 is the fault agent.
pub(crate) fn fault_machine(id: &str, behaviour: &str) -> Bootable {
    let kernel = unpacked(id);
    let image = image(&program_for(kernel.arch, "kernlab-fault-agent"), &[]);
    machine_of(&kernel, &image, &["--", behaviour])
}

/// A guest that is ready.
pub(crate) fn guest() -> Guest<Ready> {
    match Guest::boot(&machine(), BOOT_TIMEOUT) {
        Ok(guest) => guest,
        Err(error) => panic!("{}\n{}", error.verdict().message, error.evidence().console),
    }
}

/// A guest that is ready, restored from the saved one of this machine.
pub(crate) fn restored() -> Guest<Ready> {
    restored_on(KERNEL)
}

/// The same with this kernel.
pub(crate) fn restored_on(id: &str) -> Guest<Ready> {
    let store = Kernels::open().expect("the matrix can be read").store().clone();
    Checkpoints::of(&store).start(&machine_on(id), false, &Silent).expect("the guest starts")
}

/// The fault agent as a job.
pub(crate) fn fault_agent(words: &[&str]) -> Job {
    Job::new(["/bin/kernlab-fault-agent"].iter().chain(words).copied())
        .timeout(Duration::from_secs(10))
}
