//! Does a program have a chance with the verifier of 4.18?

use super::Violation;

/// `BPF_MAXINSNS`, include/uapi/linux/bpf_common.h: the limit up to 5.1.
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

/// `struct bpf_insn`, include/uapi/linux/bpf.h, little-endian.
#[derive(Clone, Copy)]
pub(crate) struct Instruction {
    code: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

/// Instruction classes: the lower three bits of the code.
mod class {
    pub(super) const LDX: u8 = 0x01;
    pub(super) const STX: u8 = 0x03;
    pub(super) const ALU: u8 = 0x04;
    pub(super) const JMP: u8 = 0x05;
    pub(super) const JMP32: u8 = 0x06;
    pub(super) const ALU64: u8 = 0x07;
}

/// `BPF_LD | BPF_IMM | BPF_DW`: the only instruction of two slots.
const LOAD_IMMEDIATE: u8 = 0x18;
const GOTO: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// `BPF_PSEUDO_CALL`: the callee is a function of the same object.
const PSEUDO_CALL: u8 = 1;

impl Instruction {
    pub(crate) fn new(bytes: &[u8; 8]) -> Self {
        let [code, registers, o0, o1, i0, i1, i2, i3] = *bytes;
        Instruction {
            code,
            source: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            immediate: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    fn class(self) -> u8 {
        self.code & 0x07
    }

    fn is_function_call(self) -> bool {
        self.code == CALL && self.source == PSEUDO_CALL
    }

    /// What this instruction is, if it was added after 4.18.
    fn newer_than_4_18(self) -> Option<&'static str> {
        const MODE: u8 = 0xe0;
        const MODE_SIGN_EXTENDED: u8 = 0x80;
        const MODE_ATOMIC: u8 = 0xc0;
        const ATOMIC_ADD: i32 = 0;
        const BYTE_SWAP: u8 = 0xd7;
        match self.class() {
            class::JMP32 => Some("a 32-bit jump (-mcpu=v3)"),
            class::STX if self.code & MODE == MODE_ATOMIC && self.immediate != ATOMIC_ADD => {
                Some("an atomic operation other than addition (-mcpu=v3)")
            }
            class::LDX if self.code & MODE == MODE_SIGN_EXTENDED => {
                Some("a sign-extending load (-mcpu=v4)")
            }
            class::ALU64 if self.code == BYTE_SWAP => Some("an unconditional byte swap (-mcpu=v4)"),
            class::ALU | class::ALU64 if self.offset != 0 => {
                Some("a signed division or move (-mcpu=v4)")
            }
            _ => None,
        }
    }

    /// Where execution can go from instruction `at`.
    fn successors(self, at: usize) -> [Option<isize>; 2] {
        let next = at as isize + if self.code == LOAD_IMMEDIATE { 2 } else { 1 };
        let target = next + isize::from(self.offset);
        match self.code {
            EXIT => [None, None],
            CALL => [Some(next), None],
            GOTO => [Some(target), None],
            _ if self.class() == class::JMP => [Some(next), Some(target)],
            _ => [Some(next), None],
        }
    }
}

/// One program's code.
pub(crate) struct Program<'a> {
    pub(crate) name: &'a str,
    pub(crate) instructions: Vec<Instruction>,
}

impl Program<'_> {
    /// `callee_at` names the function that an instruction calls, where that is known.
    pub(crate) fn check(
        &self,
        callee_at: impl Fn(usize) -> Option<String>,
    ) -> Result<(), Violation> {
        let program = || self.name.to_owned();
        let instructions = self.instructions.len();
        if instructions > MAX_INSTRUCTIONS {
            return Err(Violation::TooLong { program: program(), instructions });
        }
        let mut at = 0;
        while let Some(instruction) = self.instructions.get(at) {
            if instruction.is_function_call() {
                let callee = callee_at(at).unwrap_or_else(|| "a function".to_owned());
                return Err(Violation::FunctionCall { program: program(), callee });
            }
            if let Some(what) = instruction.newer_than_4_18() {
                return Err(Violation::NewInstruction { program: program(), what, at });
            }
            at += if instruction.code == LOAD_IMMEDIATE { 2 } else { 1 };
        }
        self.find_loop()
    }

    /// Searches depth first, as `check_cfg` in kernel/bpf/verifier.c does: an edge to an
    /// instruction that is still being explored closes a loop. A jump backwards need not be one.
    fn find_loop(&self) -> Result<(), Violation> {
        #[derive(Clone, Copy, PartialEq)]
        enum Visit {
            Never,
            Open,
            Done,
        }
        let mut visits = vec![Visit::Never; self.instructions.len()];
        let mut path = vec![(0, 0)];
        while let Some((at, edge)) = path.last_mut() {
            let at = *at;
            let Some(instruction) = self.instructions.get(at) else {
                return Err(Violation::WildJump { program: self.name.to_owned(), at });
            };
            visits[at] = Visit::Open;
            let Some(successor) = instruction.successors(at).get(*edge).copied() else {
                visits[at] = Visit::Done;
                path.pop();
                continue;
            };
            *edge += 1;
            let Some(to) = successor else { continue };
            let wild = || Violation::WildJump { program: self.name.to_owned(), at };
            let to = usize::try_from(to).map_err(|_| wild())?;
            match visits.get(to).ok_or_else(wild)? {
                Visit::Never => path.push((to, 0)),
                Visit::Open => {
                    return Err(Violation::Loop { program: self.name.to_owned(), from: at, to });
                }
                Visit::Done => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const R0_IS_0: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];
    const LOAD_MAP: [[u8; 8]; 2] = [[LOAD_IMMEDIATE, 0x11, 0, 0, 3, 0, 0, 0], [0; 8]];
    const ADD_ATOMICALLY: [u8; 8] = [0xdb, 0x21, 0, 0, 0, 0, 0, 0];
    const SWAP_ATOMICALLY: [u8; 8] = [0xdb, 0x21, 0, 0, 0xe1, 0, 0, 0];
    const CALL_HELPER: [u8; 8] = [0x85, 0, 0, 0, 14, 0, 0, 0];
    const CALL_FUNCTION: [u8; 8] = [0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff];
    const EXIT: [u8; 8] = [super::EXIT, 0, 0, 0, 0, 0, 0, 0];

    fn goto(offset: i8) -> [u8; 8] {
        [GOTO, 0, offset as u8, if offset < 0 { 0xff } else { 0 }, 0, 0, 0, 0]
    }

    /// `if r1 == 0 goto offset`
    fn if_zero(offset: i8) -> [u8; 8] {
        let [_, registers, rest @ ..] = goto(offset);
        let [o0, o1, i0, i1, i2, i3] = rest;
        [0x15, registers | 1, o0, o1, i0, i1, i2, i3]
    }

    /// `if w1 == 0 goto +0`
    const IF_ZERO_32: [u8; 8] = [0x16, 1, 0, 0, 0, 0, 0, 0];

    fn verdict(code: &[[u8; 8]]) -> Result<(), Violation> {
        let instructions = code.iter().map(Instruction::new).collect();
        Program { name: "probe", instructions }.check(|_| Some("memset".to_owned()))
    }

    #[rstest]
    #[case::straight(&[R0_IS_0, CALL_HELPER, ADD_ATOMICALLY, EXIT])]
    #[case::branch(&[if_zero(1), R0_IS_0, EXIT])]
    #[case::two_slots(&[LOAD_MAP[0], LOAD_MAP[1], EXIT])]
    #[case::back_without_a_loop(&[goto(2), R0_IS_0, EXIT, if_zero(-3), goto(-4)])]
    fn accepted(#[case] code: &[[u8; 8]]) {
        assert_eq!(verdict(code), Ok(()));
    }

    #[rstest]
    #[case::loop_to_itself(&[R0_IS_0, goto(-1), EXIT], "has a loop, from instruction 1 back to 1")]
    #[case::conditional_loop(&[R0_IS_0, CALL_HELPER, if_zero(-2), EXIT],
        "has a loop, from instruction 2 back to 1")]
    #[case::falls_off_the_end(&[R0_IS_0], "jumps out of itself at instruction 0")]
    #[case::jumps_before_the_start(&[if_zero(-3), EXIT], "jumps out of itself at instruction 0")]
    #[case::memset(&[R0_IS_0, CALL_FUNCTION, EXIT], "calls memset, ")]
    #[case::jump_32(&[IF_ZERO_32, EXIT], "uses a 32-bit jump (-mcpu=v3) at instruction 0")]
    #[case::swap(&[R0_IS_0, SWAP_ATOMICALLY, EXIT], "uses an atomic operation other than addition")]
    #[case::long(&[R0_IS_0; 5000], "has 5000 instructions, and 4.18 allows 4096")]
    fn refused(#[case] code: &[[u8; 8]], #[case] why: &str) {
        let violation = verdict(code).unwrap_err().to_string();
        assert!(violation.starts_with(&format!("probe {why}")), "{violation}");
    }
}
