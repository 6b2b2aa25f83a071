//! Functions in the kernel's stack traces and registers.

use memchr::memmem::Finder;

use crate::part::Part;

/// One line of a stack trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The function, without what the compiler and the printer add to its name.
    pub(crate) function: &'a str,
    /// Whether the unwinder vouches for it: `? function` only happened to be on the stack.
    pub(crate) reliable: bool,
}

/// The frame that a line of a stack trace shows, if it is one.
///
/// `[<ffffffff81234567>] ? function.isra.3+0x12/0x34 [module]`, with or without each of its parts;
/// on 32-bit ARM `[<c0012345>] (function) from [<c0067890>] (caller+0x12/0x34)`, of which the second is
/// exact. Frames that a
/// symboliser marks `[inline]` are parts of the function in the next line, and none of their own.
pub(crate) fn frame(text: &str) -> Option<Frame<'_>> {
    let mut rest = after_addresses(text.trim_start().trim_start_matches('('));
    if let Some((callee, caller)) = rest.split_once(" from ")
        && !callee.contains('+')
    {
        let callee = callee.trim_matches(['(', ')', ' ']);
        let caller = after_addresses(caller).trim_start_matches('(');
        let function = located(caller).filter(|_| is_symbol(callee))?;
        return Some(Frame { function, reliable: true });
    }
    let mut reliable = !text.ends_with("(unreliable)");
    if let Some(guess) = rest.strip_prefix("? ") {
        reliable = false;
        rest = after_addresses(guess.trim_start());
    }
    rest = rest.strip_prefix('(').unwrap_or(rest);
    if let Some(function) = located(rest) {
        return Some(Frame { function, reliable });
    }
    // A symboliser knew the line, and replaced the offset by it: `function file.c:12`.
    let (symbol, place) = rest.split_once(' ')?;
    let whole = is_symbol(symbol) && is_source_line(place) && !rest.ends_with("[inline]");
    whole.then(|| Frame { function: base_name(symbol), reliable })
}

/// The function of `function+0x12/0x34`, at the beginning of a text.
pub(crate) fn located(text: &str) -> Option<&str> {
    let (symbol, offset) = text.split_once("+0x")?;
    let digits = offset.bytes().take_while(u8::is_ascii_hexdigit).count();
    let sized = offset.as_bytes().get(digits) == Some(&b'/');
    (digits > 0 && sized && is_symbol(symbol)).then(|| base_name(symbol))
}

/// What architectures call the register.
const INSTRUCTION_POINTERS: [&str; 13] = [
    "RIP: ",
    "EIP: ",
    "RIP  ",
    "IP: ",
    "PC is at ",
    "pc : ",
    "NIP [",
    "NIP: ",
    "epc : ",
    "epc   : ",
    "ERA: ",
    "Krnl PSW : ",
    "rip: ",
];

/// The function that the instruction pointer was in, where a line of registers tells it.
///
/// `None`: the line doesn't show the instruction pointer of the kernel; `Some(None)`: it points to no
/// function.
pub(crate) fn instruction_pointer(text: &str) -> Option<Option<&str>> {
    let name = INSTRUCTION_POINTERS.iter().find(|name| text.starts_with(**name))?;
    let mut rest = &text[name.len()..];
    if let Some((segment, after)) = rest.split_once(':')
        && segment.len() == 4
        && segment.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        const USER: [&str; 3] = ["0033", "0023", "0073"];
        if USER.contains(&segment) {
            return None;
        }
        rest = after;
    }
    if *name == "NIP [" {
        rest = rest.split_once(']').map_or(rest, |(_, after)| after);
    }
    let rest = after_bare_addresses(after_addresses(rest.trim_start()));
    Some(located(rest).or_else(|| {
        let (symbol, place) = rest.split_once(' ')?;
        (is_symbol(symbol) && is_source_line(place) && !rest.ends_with("[inline]"))
            .then(|| base_name(symbol))
    }))
}

/// Whether a text could be the first half of a line with a function.
pub(crate) fn could_begin_a_frame(text: &str) -> bool {
    static FROM: Part = Part::new(|| Finder::new(" from "));
    let rest = FROM.at(text).map_or(text, |from| &text[from + " from ".len()..]);
    let rest = after_addresses(rest.strip_prefix("? ").unwrap_or(rest));
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+/".contains(&byte);
    let alone = !rest.is_empty() && rest.bytes().all(part) && located(rest).is_none();
    alone || INSTRUCTION_POINTERS.iter().any(|name| text.starts_with(name))
}

/// A text behind addresses: `[<ffffffff81234567>]`, `[c000000000012345]`, `[<     inline     >]`.
pub(crate) fn after_addresses(mut text: &str) -> &str {
    while let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let inside = address.trim_matches(['<', '>', ' ']);
        let inside = inside.strip_prefix("0x").unwrap_or(inside);
        let is_address = inside.len() >= 4 && inside.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_address {
            break;
        }
        text = rest.trim_start();
    }
    text
}

/// A text behind the numbers that MIPS, LoongArch and s390 print in front of a function:
/// `0704c00180000000 000003ff8012a04e (function+0x12/0x34)`.
fn after_bare_addresses(mut text: &str) -> &str {
    while let Some((word, rest)) = text.split_once(' ') {
        if word.len() < 8 || !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            break;
        }
        text = rest.trim_start_matches([' ', '(']);
    }
    text
}

/// Whether a text begins with a line of source: `mm/slab.c:12`.
fn is_source_line(text: &str) -> bool {
    let Some((file, line)) = text.split_once(':') else { return false };
    let known = [".c", ".h", ".S", ".rs"].iter().any(|end| file.ends_with(end));
    known && !file.contains(' ') && line.starts_with(|char: char| char.is_ascii_digit())
}

/// Whether a text is a function's name; Rust's have brackets, colons and spaces.
pub(crate) fn is_symbol(text: &str) -> bool {
    let rust = text.starts_with(['<', '_']) || text.contains("::");
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$@".contains(&byte);
    let begins = text.starts_with(|char: char| char.is_ascii_alphabetic() || "_<.".contains(char));
    begins
        && text.len() <= 256
        && text.bytes().all(|byte| known(byte) || rust && b"<>: ,&*'[]{}#()".contains(&byte))
}

/// A function's name without what the compiler appends to it: `.isra.0`, `.constprop.1`, `.part.2`,
/// `.cold`, `.llvm.123`.
fn base_name(symbol: &str) -> &str {
    let end = symbol.char_indices().skip(1).find(|(_, char)| *char == '.').map(|(at, _)| at);
    match end {
        Some(end) if !symbol.starts_with('<') && !symbol.contains("::") => &symbol[..end],
        _ => symbol,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("vfs_read+0x12/0x340", Some(("vfs_read", true)))]
    #[case::module(" ext4_fill+0x12/0x340 [ext4]", Some(("ext4_fill", true)))]
    #[case::compiler(" do_it.isra.0.cold+0x1/0x2", Some(("do_it", true)))]
    #[case::address(" [<ffffffff81234567>] do_it+0x1/0x2", Some(("do_it", true)))]
    #[case::two_addresses("[c000000001] [c00000000000001f] do_it+0x1/0x2 (unreliable)", Some(("do_it", false)))]
    #[case::guessed(" [<ffffffff81234567>] ? do_it+0x1/0x2", Some(("do_it", false)))]
    #[case::symbolised(" do_it+0x1/0x2 fs/read_write.c:12", Some(("do_it", true)))]
    #[case::offset_replaced(" do_it fs/read_write.c:12", Some(("do_it", true)))]
    #[case::inline(" do_it fs/read_write.c:12 [inline]", None)]
    #[case::arm(" [<c0012345>] (do_it) from [<c0067890>] (caller+0x12/0x34)", Some(("caller", true)))]
    #[case::new_arm(" do_it from caller+0x12/0x34", Some(("caller", true)))]
    #[case::s390("([<000000000012345>] do_it+0x1/0x2)", Some(("do_it", true)))]
    #[case::user_backtrace("./prog(main+0x12) [0x401234]", None)]
    #[case::prose("hardirqs last enabled at (12): [<ffffffff81234567>] do_it+0x1/0x2", None)]
    #[case::message_from("Caller from somewhere", None)]
    fn frames_of_a_trace(#[case] text: &str, #[case] expected: Option<(&str, bool)>) {
        let found = frame(text).map(|frame| (frame.function, frame.reliable));
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case::x86("RIP: 0010:do_it+0x1/0x2 [module]", Some(Some("do_it")))]
    #[case::x86_with_address(
        "RIP: 0010:[<ffffffff81>]  [<ffffffff81>] do_it+0x1/0x2",
        Some(Some("do_it"))
    )]
    #[case::no_function("RIP: 0010:0x0", Some(None))]
    #[case::user("RIP: 0033:0x7f0000", None)]
    #[case::arm64("pc : do_it+0x1/0x2", Some(Some("do_it")))]
    #[case::arm("PC is at do_it+0x1/0x2", Some(Some("do_it")))]
    #[case::powerpc("NIP [c000000000012345] do_it+0x1/0x2", Some(Some("do_it")))]
    #[case::mips("epc   : 80412340 do_it+0x1/0x2 [module]", Some(Some("do_it")))]
    #[case::loongarch("ERA: ffff80000201004c do_it+0x1/0x2", Some(Some("do_it")))]
    #[case::s390(
        "Krnl PSW : 0704c00180000000 000003ff8012a04e (do_it+0x1/0x2)",
        Some(Some("do_it"))
    )]
    #[case::riscv_second_line("epc : ffffffff80b2014a ra : ffffffff80b20150", Some(None))]
    #[case::another_register("RSP: 0018:ffff", None)]
    fn instruction_pointers(#[case] text: &str, #[case] expected: Option<Option<&str>>) {
        assert_eq!(instruction_pointer(text), expected);
    }
}
