//! The format of a tracepoint, as tracefs shows it: Documentation/trace/events.rst.

use serde::{Deserialize, Serialize};

/// One field of a tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracepointField {
    /// `fd`.
    pub name: String,
    /// `unsigned int`; with the brackets of an array behind it.
    #[serde(rename = "type")]
    pub type_name: String,
    /// In bytes from the start of the record.
    pub offset: u32,
    /// In bytes.
    pub size: u32,
}

/// The fields in the text of a `format` file, in its order, without those that all tracepoints have.
/// Lines that say nothing of fields are passed over.
pub fn parse_format(text: &str) -> Vec<TracepointField> {
    text.lines().filter_map(field).filter(|field| !field.name.starts_with("common_")).collect()
}

/// `field:unsigned int fd; offset:16; size:8; signed:0;`, with tabs between the parts.
fn field(line: &str) -> Option<TracepointField> {
    let mut parts = line.trim().split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let mut number = |key: &str| -> Option<u32> { parts.next()?.strip_prefix(key)?.parse().ok() };
    let (offset, size) = (number("offset:")?, number("size:")?);
    // Stars may stand on either side of the space before the name, brackets behind it.
    let (declarator, brackets) = match declaration.find('[') {
        // `__data_loc char[] name` has them in its type.
        Some(at) if declaration.ends_with(']') => declaration.split_at(at),
        _ => (declaration, ""),
    };
    let start = declarator.rfind([' ', '*', ']']).map_or(0, |at| at + 1);
    let (type_name, name) = declarator.split_at(start);
    let type_name = format!("{}{brackets}", type_name.trim_end());
    Some(TracepointField { name: name.to_owned(), type_name, offset, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 6.19 prints it.
    const FORMAT: &str = "name: sys_enter_write\nID: 780\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
        \tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n\
        \tfield:const char * buf;\toffset:24;\tsize:8;\tsigned:0;\n\
        \tfield:char comm[16];\toffset:32;\tsize:16;\tsigned:0;\n\
        \tfield:__data_loc char[] __buf_val;\toffset:48;\tsize:4;\tsigned:0;\n\n\
        print fmt: \"fd: 0x%08lx\", ((unsigned long)(REC->fd))\n";

    #[test]
    fn fields_are_read_with_their_types() {
        let field = |name: &str, type_name: &str, offset, size| TracepointField {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            offset,
            size,
        };
        assert_eq!(
            parse_format(FORMAT),
            [
                field("__syscall_nr", "int", 8, 4),
                field("buf", "const char *", 24, 8),
                field("comm", "char[16]", 32, 16),
                field("__buf_val", "__data_loc char[]", 48, 4),
            ]
        );
    }

    #[test]
    fn other_text_has_no_fields() {
        assert_eq!(parse_format("field:int x; offset:a; size:4;\nfield:\n\u{e9}field:;;;"), []);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(field:)?.{0,60}(; offset:1; size:2;)?") {
            let _ = parse_format(&text);
        }
    }
}
