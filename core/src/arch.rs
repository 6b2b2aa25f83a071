//! What depends on the processor architecture of the kernel that is probed: data, one file for each,
//! so that a host of one architecture can plan for kernels of another.

mod aarch64;
mod x86_64;

use std::fmt;

use serde::{Deserialize, Serialize};

/// The architecture of a kernel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// x86-64.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// arm64.
    Aarch64,
}

/// A system call whose function in the system call table is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemCall {
    /// openat(2).
    Openat,
    /// write(2).
    Write,
    /// writev(2).
    Writev,
    /// sendto(2).
    Sendto,
    /// sendmsg(2).
    Sendmsg,
}

/// The system calls that write to a descriptor.
pub const WRITING_CALLS: [SystemCall; 4] =
    [SystemCall::Write, SystemCall::Writev, SystemCall::Sendto, SystemCall::Sendmsg];

/// The facts of one architecture.
struct Facts {
    /// See [`Arch::kernel_address_min`]: with usual, and with large address spaces.
    kernel_address_min: [u64; 2],
    /// See [`Arch::user_address_end`]: with usual, and with large address spaces.
    user_address_end: [u64; 2],
    /// See [`Arch::user_address_tag`].
    user_address_tag: u64,
    /// See [`Arch::argument_registers`].
    argument_registers: usize,
    /// See [`Arch::generic_open_flags`]: the flags that have other numbers, and those numbers.
    open_flags: &'static [(u32, u32)],
    /// See [`Arch::function_of`].
    functions: fn(SystemCall) -> &'static str,
}

impl Arch {
    /// All that the lab knows.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    /// The architecture that this program was compiled for; none if the lab doesn't know it.
    pub fn of_this_program() -> Option<Self> {
        Arch::of_machine(std::env::consts::ARCH)
    }

    /// The architecture that `uname -m` prints so.
    pub fn of_machine(machine: &str) -> Option<Self> {
        Arch::ALL.into_iter().find(|arch| arch.name() == machine)
    }

    /// What `uname -m` prints: `x86_64`.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The name that Debian's repositories use: `amd64`.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        }
    }

    /// The name that BTFHub's archive uses: `x86_64`.
    pub fn btfhub(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "arm64",
        }
    }

    /// The name that the kernel's build uses, and its directory below `arch`: `x86`.
    pub fn kbuild(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86",
            Arch::Aarch64 => "arm64",
        }
    }

    /// The name that RPM repositories use: `x86_64`.
    pub fn rpm(self) -> &'static str {
        self.name()
    }

    fn facts(self) -> &'static Facts {
        match self {
            Arch::X86_64 => &x86_64::FACTS,
            Arch::Aarch64 => &aarch64::FACTS,
        }
    }

    /// The lowest address that can belong to the kernel. `large` says that the page tables have one
    /// level more than usual, or that addresses have more bits.
    pub fn kernel_address_min(self, large: bool) -> u64 {
        self.facts().kernel_address_min[usize::from(large)]
    }

    /// The first address that programs must not read as that of a process, whatever its tag.
    pub fn user_address_end(self, large: bool) -> u64 {
        self.facts().user_address_end[usize::from(large)]
    }

    /// The bits of a user address that the processor ignores.
    pub fn user_address_tag(self) -> u64 {
        self.facts().user_address_tag
    }

    /// How many arguments of a function are in registers; those after them are on the stack.
    pub fn argument_registers(self) -> usize {
        self.facts().argument_registers
    }

    /// The flags of open(2) with the numbers that most architectures have for them:
    /// include/uapi/asm-generic/fcntl.h.
    pub fn generic_open_flags(self, flags: u32) -> u32 {
        let own = self.facts().open_flags;
        let renumbered = own.iter().fold(0, |all, (own, _)| all | own);
        own.iter()
            .filter(|(own, _)| flags & own != 0)
            .fold(flags & !renumbered, |all, (_, generic)| all | generic)
    }

    /// What the system call table has for a system call: a function whose one parameter points to the
    /// caller's registers.
    pub fn function_of(self, call: SystemCall) -> &'static str {
        (self.facts().functions)(call)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_its_name_in_json() {
        for arch in Arch::ALL {
            let json = serde_json::to_string(&arch).unwrap();
            assert_eq!(json, format!("\"{}\"", arch.name()));
            assert_eq!(serde_json::from_str::<Arch>(&json).unwrap(), arch);
            assert_eq!(Arch::of_machine(arch.name()), Some(arch));
        }
        assert_eq!(Arch::of_machine("riscv64"), None);
    }

    #[test]
    fn a_flag_has_one_number() {
        // O_DIRECTORY | O_CLOEXEC, and O_NOFOLLOW | O_LARGEFILE.
        for (own, generic) in [(0o2040000, 0o2200000), (0o500000, 0o500000), (0o1, 0o1)] {
            assert_eq!(Arch::Aarch64.generic_open_flags(own), generic);
            assert_eq!(Arch::X86_64.generic_open_flags(generic), generic);
        }
        assert_eq!(Arch::Aarch64.generic_open_flags(0o200000), 0o40000);
    }

    #[test]
    fn no_address_belongs_to_both_halves() {
        for (arch, large) in Arch::ALL.into_iter().flat_map(|arch| [(arch, false), (arch, true)]) {
            assert!(arch.user_address_end(large) < arch.kernel_address_min(large), "{arch}");
        }
    }
}
