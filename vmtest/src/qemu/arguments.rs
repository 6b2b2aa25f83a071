//! Builds QEMU's command line from a description of the machine.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    ops::Range,
    os::fd::RawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use kernlab_kernels::Arch;
use serde::{Deserialize, Serialize};

use super::hardware::{Hardware, Size};

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor, through the host's KVM.
    Kvm,
    /// QEMU's translator, TCG.
    Tcg,
}

impl Accelerator {
    /// `kvm` or `tcg`.
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }

    /// Scales a timeout that is meant for KVM. A guest under TCG is ten times slower, and several
    /// of them share the machine.
    pub fn scale_timeout(self, duration: Duration) -> Duration {
        match self {
            Accelerator::Kvm => duration,
            Accelerator::Tcg => duration * 4,
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much the kernel prints on its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verbosity {
    /// Warnings and worse, because every character costs a trap.
    Warnings,
    /// Everything, from the first instructions on.
    Everything,
}

/// A machine as its guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MachineSpec {
    /// The architecture of its processors.
    pub arch: Arch,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// What `-kernel` loads.
    pub kernel: PathBuf,
    /// What `-initrd` loads.
    pub initramfs: PathBuf,
    /// A read-only disk with the root file system of programs: the image of a squashfs. All guests
    /// can share it. The file must never change.
    pub disk: Option<PathBuf>,
    /// The memory in mebibytes.
    pub memory_mib: u32,
    /// Number of processors. One is faster to boot: see [`MachineSpec::arguments`].
    pub processors: u32,
    /// Whether the kernel's pages are of 16 KiB, which not every processor of arm64 has.
    pub has_16k_pages: bool,
    /// How much the kernel prints on its console.
    pub verbosity: Verbosity,
    /// Files that the agent installs when it begins to work. They are not part of a checkpoint.
    pub injected: Vec<InjectedFile>,
    /// Where a kernel debugger may connect: a character device of QEMU, such as
    /// `tcp:localhost:1234` or `unix:PATH,server=on,wait=off`.
    pub debugger: Option<String>,
    /// More parameters at the end of the kernel's command line. Those after `--` go to PID 1.
    pub kernel_words: Vec<String>,
}

/// A file that the agent installs in the guest, as an executable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InjectedFile {
    /// Its absolute path in the guest, of at most [`InjectedFile::LONGEST`] bytes.
    pub guest: String,
    /// The path of the file on the host.
    pub host: PathBuf,
}

impl InjectedFile {
    /// The longest path in the guest, in bytes: QEMU has room for 55, and `opt/kernlab` comes before it.
    pub const LONGEST: usize = 44;

    /// A program that keeps its name in the guest's `/bin`.
    pub fn program(host: impl Into<PathBuf>) -> Self {
        let host = host.into();
        let name = host.file_name().unwrap_or_default().to_string_lossy();
        InjectedFile { guest: format!("/bin/{name}"), host }
    }

    /// Whether the store has named the file after what is in it. It is never changed, but its time is
    /// that of its last use.
    pub(crate) fn is_named_after_content(&self) -> bool {
        let name = self.host.file_stem().unwrap_or_default().as_encoded_bytes();
        name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit)
    }

    /// The value of `-fw_cfg`.
    fn option(&self) -> OsString {
        format!("name=opt/kernlab{},file={}", escaped(Path::new(&self.guest)), escaped(&self.host))
            .into()
    }
}

/// A path as part of an option's value, in which a comma is doubled.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// Where a machine's memory is, and its initial content.
#[derive(Clone, Copy, Debug)]
pub enum Memory<'a> {
    /// Empty memory that is gone with the machine.
    Fresh,
    /// Empty memory in this file, which keeps what the guest writes.
    Kept(&'a File),
    /// The content of this file, which stays unchanged: pages are copied when the guest writes to
    /// them. The machine waits for the state of its devices.
    Restored(&'a File),
    /// The content of this file, to which the guest continues to write. The machine waits as well.
    Continued(&'a File),
}

impl<'a> Memory<'a> {
    /// The file, and whether the guest's writes are shared with it.
    pub(super) fn file(self) -> Option<(&'a File, &'static str)> {
        match self {
            Memory::Fresh => None,
            Memory::Kept(file) | Memory::Continued(file) => Some((file, "on")),
            Memory::Restored(file) => Some((file, "off")),
        }
    }

    /// Does the machine wait for a checkpoint?
    pub(super) fn waits(self) -> bool {
        matches!(self, Memory::Restored(_) | Memory::Continued(_))
    }
}

/// The guest's serial ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The port of the kernel's console.
    Console,
    /// The port of the agent's protocol.
    Protocol,
}

impl Port {
    /// All ports, in the order of their numbers in the guest.
    pub const ALL: [Port; 2] = [Port::Console, Port::Protocol];

    pub(super) fn name(self) -> &'static str {
        match self {
            Port::Console => "console",
            Port::Protocol => "protocol",
        }
    }

    /// The descriptor at which QEMU inherits its end of the connection.
    pub(super) fn inherited(self) -> RawFd {
        match self {
            Port::Console => 3,
            Port::Protocol => 4,
        }
    }
}

/// The descriptor at which QEMU inherits its end of the monitor's connection.
pub(super) const MONITOR: RawFd = 5;
/// The descriptor at which QEMU inherits the file of its guest's memory.
pub(super) const MEMORY: RawFd = 6;
/// The descriptor at which QEMU inherits the file for parts of its guest's memory.
pub(super) const TRANSFER: RawFd = 9;

/// What QEMU connects the serial ports to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// To descriptors that QEMU inherits.
    Inherited,
    /// The console to the terminal, the protocol to nothing: for users who reproduce a boot by
    /// hand.
    Terminal,
}

impl Wiring {
    fn chardev(self, port: Port) -> String {
        let name = port.name();
        match (self, port) {
            (Wiring::Inherited, _) => format!("socket,id={name},fd={}", port.inherited()),
            (Wiring::Terminal, Port::Console) => format!("stdio,id={name}"),
            (Wiring::Terminal, Port::Protocol) => format!("null,id={name}"),
        }
    }
}

impl MachineSpec {
    /// A machine with one processor and enough memory for the lab's programs.
    pub fn new(
        arch: Arch,
        accelerator: Accelerator,
        kernel: impl Into<PathBuf>,
        initramfs: impl Into<PathBuf>,
    ) -> Self {
        MachineSpec {
            arch,
            accelerator,
            kernel: kernel.into(),
            initramfs: initramfs.into(),
            disk: None,
            memory_mib: 256,
            processors: 1,
            has_16k_pages: false,
            verbosity: Verbosity::Warnings,
            injected: Vec::new(),
            debugger: None,
            kernel_words: Vec::new(),
        }
    }

    /// The physical addresses of the guest's memory.
    pub(crate) fn memory_ranges(&self) -> [Range<u64>; 2] {
        let memory = u64::from(self.memory_mib) << 20;
        (self.hardware().memory_ranges)(memory, self.size())
    }

    fn hardware(&self) -> &'static Hardware {
        Hardware::of(self.arch)
    }

    fn size(&self) -> Size {
        Size {
            accelerator: self.accelerator,
            processors: self.processors,
            has_disk: self.disk.is_some(),
            has_16k_pages: self.has_16k_pages,
        }
    }

    /// QEMU's arguments. They disable everything that isn't named: no default devices, no
    /// configuration files, no network, no access to the host's file system.
    pub fn arguments(&self, wiring: Wiring, memory: Memory<'_>) -> Vec<OsString> {
        let mut arguments = self.guest_arguments(memory);
        arguments
            .extend(["-name", "kernlab", "-display", "none", "-nic", "none"].map(OsString::from));
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        for port in Port::ALL {
            option("-chardev", wiring.chardev(port).into());
            let (name, value) = (self.hardware().serial_port)(port);
            option(name, value.into());
        }
        if wiring == Wiring::Inherited {
            option("-chardev", format!("socket,id=monitor,fd={MONITOR}").into());
            option("-mon", "chardev=monitor,mode=control".into());
        }
        if memory.waits() {
            option("-incoming", "defer".into());
        }
        for file in &self.injected {
            option("-fw_cfg", file.option());
        }
        if let Some(device) = &self.debugger {
            option("-gdb", device.into());
        }
        arguments
    }

    /// The arguments that affect a running guest.
    pub(crate) fn guest_arguments(&self, memory: Memory<'_>) -> Vec<OsString> {
        // A guest that crashes or restarts ends QEMU.
        let mut arguments: Vec<OsString> =
            ["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from).into();
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        let board = (self.hardware().board)(self.size());
        match memory.file() {
            None => option("-machine", board.into()),
            Some((_, share)) => {
                option("-machine", format!("{board},memory-backend=memory").into());
                option(
                    "-object",
                    format!(
                        "memory-backend-file,id=memory,size={}M,mem-path=/proc/self/fd/{MEMORY},\
                         share={share}",
                        self.memory_mib
                    )
                    .into(),
                );
            }
        }
        option("-accel", self.accelerator.name().into());
        option("-cpu", (self.hardware().cpu_model)(self.size()).into());
        option("-smp", self.processors.to_string().into());
        option("-m", format!("{}M", self.memory_mib).into());
        option("-kernel", self.kernel.clone().into());
        option("-initrd", self.initramfs.clone().into());
        if let Some(disk) = &self.disk {
            let file = escaped(disk);
            let drive = format!("if=none,id=root,format=raw,readonly=on,file={file}");
            option("-drive", drive.into());
            option("-device", (self.hardware().disk)("root").into());
        }
        option("-append", self.kernel_command_line().into());
        arguments
    }

    /// The kernel's command line.
    pub fn kernel_command_line(&self) -> String {
        let hardware = self.hardware();
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut words: Vec<String> = owned(hardware.kernel_words);
        words.extend((hardware.clock_words)(self.size()));
        words.extend::<Vec<_>>(owned((hardware.console_words)(self.verbosity)));
        words.extend(self.disk.is_some().then(|| hardware.root_word.to_owned()));
        words.extend(self.kernel_words.iter().cloned());
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn spec(accelerator: Accelerator) -> MachineSpec {
        MachineSpec::new(Arch::X86_64, accelerator, "/k/vmlinux", "/i/base.cpio")
    }

    fn value_of(arguments: &[OsString], name: &str) -> String {
        let at = arguments.iter().position(|argument| argument == name).expect(name);
        arguments[at + 1].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_whole_command_line() {
        let arguments = spec(Accelerator::Kvm).arguments(Wiring::Inherited, Memory::Fresh);
        let line: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        insta::assert_snapshot!(line.join("\n"));
    }

    #[test]
    fn the_whole_command_line_of_arm64() {
        let spec = MachineSpec { arch: Arch::Aarch64, ..spec(Accelerator::Tcg) };
        let arguments = spec.arguments(Wiring::Inherited, Memory::Fresh);
        let line: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        insta::assert_snapshot!(line.join("\n"));
    }

    #[rstest]
    #[case(Accelerator::Kvm, "kvm", "host")]
    #[case(Accelerator::Tcg, "tcg", "qemu64,+rdrand")]
    fn the_accelerator_decides_the_processor(
        #[case] accelerator: Accelerator,
        #[case] accel: &str,
        #[case] cpu: &str,
    ) {
        let arguments = spec(accelerator).arguments(Wiring::Inherited, Memory::Fresh);
        assert_eq!(value_of(&arguments, "-accel"), accel);
        assert_eq!(value_of(&arguments, "-cpu"), cpu);
    }

    #[rstest]
    #[case(1, "microvm")]
    #[case(2, "q35")]
    fn several_processors_need_a_board_that_describes_them(
        #[case] processors: u32,
        #[case] board: &str,
    ) {
        let arguments = MachineSpec { processors, ..spec(Accelerator::Tcg) }
            .arguments(Wiring::Inherited, Memory::Fresh);
        assert!(value_of(&arguments, "-machine").starts_with(board));
        assert_eq!(value_of(&arguments, "-smp"), processors.to_string());
    }

    #[test]
    fn a_boot_can_be_repeated_in_a_terminal() {
        let line = spec(Accelerator::Kvm).arguments(Wiring::Terminal, Memory::Fresh);
        assert!(line.contains(&"stdio,id=console".into()));
        assert!(line.contains(&"null,id=protocol".into()));
    }

    #[test]
    fn files_are_handed_over_by_their_paths_in_the_guest() {
        let injected = vec![InjectedFile::program("/a,b/tracer")];
        let arguments = MachineSpec { injected, ..spec(Accelerator::Tcg) }
            .arguments(Wiring::Inherited, Memory::Fresh);
        let expected = "name=opt/kernlab/bin/tracer,file=/a,,b/tracer";
        assert_eq!(value_of(&arguments, "-fw_cfg"), expected);
        let named = InjectedFile { guest: "/bin/a,b".to_owned(), host: "/c".into() };
        assert_eq!(named.option(), "name=opt/kernlab/bin/a,,b,file=/c");
    }

    #[test]
    fn a_disk_needs_a_board_with_slots_and_a_word_for_the_agent() {
        let disk = Some("/a,b/root".into());
        let spec = MachineSpec { disk, ..spec(Accelerator::Tcg) };
        let arguments = spec.arguments(Wiring::Inherited, Memory::Fresh);
        let expected = "if=none,id=root,format=raw,readonly=on,file=/a,,b/root";
        assert_eq!(value_of(&arguments, "-drive"), expected);
        assert!(value_of(&arguments, "-machine").starts_with("q35"));
        assert!(arguments.contains(&"virtio-blk-pci,drive=root".into()));
        assert!(value_of(&arguments, "-append").ends_with(" kernlab.root=vda"));
    }

    #[test]
    fn a_restored_guest_never_writes_to_the_file_of_its_memory() {
        let file = tempfile::tempfile().unwrap();
        let spec = spec(Accelerator::Tcg);
        let arguments = spec.arguments(Wiring::Inherited, Memory::Restored(&file));
        assert!(value_of(&arguments, "-object").ends_with("share=off"));
        assert_eq!(value_of(&arguments, "-incoming"), "defer");
        let arguments = spec.arguments(Wiring::Inherited, Memory::Kept(&file));
        assert!(value_of(&arguments, "-object").ends_with("share=on"));
        assert!(!arguments.contains(&"-incoming".into()));
        let arguments = spec.arguments(Wiring::Inherited, Memory::Continued(&file));
        assert!(value_of(&arguments, "-object").ends_with("share=on"));
        assert_eq!(value_of(&arguments, "-incoming"), "defer");
    }

    #[test]
    fn words_for_the_kernel_come_last() {
        let words = vec!["--".to_owned(), "floor".to_owned()];
        let spec = MachineSpec { kernel_words: words, ..spec(Accelerator::Tcg) };
        assert!(spec.kernel_command_line().ends_with(" -- floor"));
    }

    #[test]
    fn only_an_emulated_guest_is_told_the_time() {
        let command_line = |accelerator| spec(accelerator).kernel_command_line();
        assert!(command_line(Accelerator::Tcg).contains(" tsc=reliable "));
        assert!(!command_line(Accelerator::Kvm).contains("tsc"));
        let two = MachineSpec { processors: 2, ..spec(Accelerator::Tcg) };
        assert!(!two.kernel_command_line().contains("nolapic_timer"));
    }

    #[test]
    fn a_loud_kernel_speaks_before_it_has_a_console() {
        let spec = MachineSpec { verbosity: Verbosity::Everything, ..spec(Accelerator::Tcg) };
        assert!(spec.kernel_command_line().contains("earlyprintk=serial"));
    }
}
