//! Writes BPF instructions: Documentation/bpf/standardization/instruction-set.rst.

/// A register of the BPF machine.
#[derive(Clone, Copy)]
pub(crate) enum Register {
    R0,
    R1,
    R2,
    R3,
    R6 = 6,
    R7,
    R8,
    R9,
    /// Points to the end of the stack.
    Frame,
}

/// How much a load or store moves.
#[derive(Clone, Copy)]
pub(crate) enum Width {
    Word = 0x00,
    Double = 0x18,
}

/// When to jump. All comparisons are unsigned and of 64 bits.
#[derive(Clone, Copy)]
pub(crate) enum Condition {
    Equal = 0x10,
    Greater = 0x20,
    NotEqual = 0x50,
    Less = 0xa0,
}

/// A forward jump whose target is yet to come.
#[must_use = "a jump lands somewhere"]
pub(crate) struct Jump(usize);

/// A program in the making.
#[derive(Default)]
pub(crate) struct Assembler {
    code: Vec<u64>,
}

impl Assembler {
    fn push(&mut self, opcode: u8, to: u8, from: u8, offset: i16, immediate: i32) -> &mut Self {
        self.code.push(
            u64::from(opcode)
                | u64::from(from << 4 | to) << 8
                | u64::from(offset.cast_unsigned()) << 16
                | u64::from(immediate.cast_unsigned()) << 32,
        );
        self
    }

    /// `to = from`
    pub(crate) fn copy(&mut self, to: Register, from: Register) -> &mut Self {
        self.push(0xbf, to as u8, from as u8, 0, 0)
    }

    /// `to = value`, sign-extended.
    pub(crate) fn set(&mut self, to: Register, value: i32) -> &mut Self {
        self.push(0xb7, to as u8, 0, 0, value)
    }

    /// `to = value`, all 64 bits of it.
    pub(crate) fn set_long(&mut self, to: Register, value: u64) -> &mut Self {
        self.push(0x18, to as u8, 0, 0, (value as u32).cast_signed());
        self.push(0, 0, 0, 0, ((value >> 32) as u32).cast_signed())
    }

    /// `to` = the map behind this descriptor.
    pub(crate) fn set_map(&mut self, to: Register, map: i32) -> &mut Self {
        const BPF_PSEUDO_MAP_FD: u8 = 1;
        self.push(0x18, to as u8, BPF_PSEUDO_MAP_FD, 0, map);
        self.push(0, 0, 0, 0, 0)
    }

    /// `to += value`
    pub(crate) fn add(&mut self, to: Register, value: i32) -> &mut Self {
        self.push(0x07, to as u8, 0, 0, value)
    }

    /// `to >>= bits`
    pub(crate) fn shift_right(&mut self, to: Register, bits: i32) -> &mut Self {
        self.push(0x77, to as u8, 0, 0, bits)
    }

    /// `to = *(width *)(base + offset)`
    pub(crate) fn load(
        &mut self,
        width: Width,
        to: Register,
        base: Register,
        offset: i16,
    ) -> &mut Self {
        self.push(0x61 | width as u8, to as u8, base as u8, offset, 0)
    }

    /// `*(width *)(base + offset) = from`
    pub(crate) fn store(
        &mut self,
        width: Width,
        base: Register,
        offset: i16,
        from: Register,
    ) -> &mut Self {
        self.push(0x63 | width as u8, base as u8, from as u8, offset, 0)
    }

    /// `r0 = function(r1, ...)`
    pub(crate) fn call(&mut self, function: u32) -> &mut Self {
        self.push(0x85, 0, 0, 0, function.cast_signed())
    }

    /// `return r0`
    pub(crate) fn exit(&mut self) -> &mut Self {
        self.push(0x95, 0, 0, 0, 0)
    }

    /// `if (left condition right) goto ...`
    pub(crate) fn jump_if(&mut self, left: Register, when: Condition, right: Register) -> Jump {
        self.push(0x0d | when as u8, left as u8, right as u8, 0, 0);
        Jump(self.code.len() - 1)
    }

    /// `if (left condition value) goto ...`, the value sign-extended.
    pub(crate) fn jump_if_value(&mut self, left: Register, when: Condition, value: i32) -> Jump {
        self.push(0x05 | when as u8, left as u8, 0, 0, value);
        Jump(self.code.len() - 1)
    }

    /// The jump leads to the next instruction.
    pub(crate) fn land(&mut self, Jump(from): Jump) -> &mut Self {
        let distance = (self.code.len() - from - 1) as u16;
        self.code[from] |= u64::from(distance) << 16;
        self
    }

    /// The program.
    pub(crate) fn finish(self) -> Vec<u64> {
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as `llvm-objdump -d` shows them.
    #[test]
    fn instructions_are_encoded_as_the_kernel_reads_them() {
        let mut program = Assembler::default();
        program.load(Width::Double, Register::R1, Register::R6, 24);
        let skip = program.jump_if_value(Register::R1, Condition::NotEqual, -1);
        program.store(Width::Word, Register::Frame, -4, Register::R0);
        program.land(skip).exit();
        let expected: [[u8; 8]; 4] = [
            [0x79, 0x61, 0x18, 0, 0, 0, 0, 0],
            [0x55, 0x01, 0x01, 0, 0xff, 0xff, 0xff, 0xff],
            [0x63, 0x0a, 0xfc, 0xff, 0, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(program.finish(), expected.map(u64::from_le_bytes));
    }
}
