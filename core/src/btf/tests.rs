use super::{sample::Builder, *};

/// `int handler(const struct qstr *name, u32 cookie)` and a `struct qstr` with an anonymous union.
fn sample() -> Vec<u8> {
    let mut b = Builder::new();
    let int = b.add(1, "unsigned int", 0, 4, &[32]);
    let u32_type = b.add(8, "u32", 0, int, &[]);
    let (hash, len) = (b.string("hash"), b.string("len"));
    let words = b.add(4, "", 2, 8, &[hash, u32_type, 0, len, u32_type, 32]);
    let union_type = b.add(5, "", 1, 8, &[0, words, 0]);
    let char_type = b.add(1, "unsigned char", 0, 1, &[8]);
    let const_char = b.add(10, "", 0, char_type, &[]);
    let text = b.add(2, "", 0, const_char, &[]);
    let name = b.string("name");
    let qstr = b.add(4, "qstr", 2, 16, &[0, union_type, 0, name, text, 64]);
    let const_qstr = b.add(10, "", 0, qstr, &[]);
    let qstr_pointer = b.add(2, "", 0, const_qstr, &[]);
    let cookie = b.string("cookie");
    let proto = b.add(13, "", 2, int, &[name, qstr_pointer, cookie, u32_type]);
    b.add(12, "handler", 1, proto, &[]);
    b.build()
}

#[test]
fn finds_fields_also_in_anonymous_members() {
    let btf = Btf::parse(sample()).unwrap();
    assert_eq!(btf.member_offset("qstr", "name"), Some(8));
    assert_eq!(btf.member_offset("qstr", "len"), Some(4));
    assert_eq!(btf.member_offset("qstr", "nothing"), None);
    assert_eq!(btf.member_offset("nothing", "name"), None);
}

#[test]
fn tells_its_newest_kind() {
    assert_eq!(Btf::parse(sample()).unwrap().newest_kind(), 13);
    let mut b = Builder::new();
    b.add(16, "double", 0, 8, &[]);
    b.add(1, "int", 0, 4, &[32]);
    assert_eq!(Btf::parse(b.build()).unwrap().newest_kind(), 16);
    assert_eq!(Btf::parse(Builder::new().build()).unwrap().newest_kind(), 0);
}

#[test]
fn spells_prototypes_as_c_does() {
    let btf = Btf::parse(sample()).unwrap();
    let prototype = btf.prototype("handler").unwrap();
    assert_eq!(prototype.to_string(), "(const struct qstr *name, u32 cookie)");
    let (number, parameter) = prototype.position(&["cookie"]).unwrap();
    assert_eq!((number, parameter.type_name.as_str()), (2, "u32"));
    assert_eq!(btf.prototype("qstr"), None);
}

#[test]
fn every_truncation_is_an_error() {
    let whole = sample();
    for len in 0..whole.len() {
        assert!(
            matches!(Btf::parse(whole[..len].to_vec()), Err(BtfError::Truncated { .. })),
            "{len} of {} bytes",
            whole.len()
        );
    }
}

#[test]
fn other_files_are_refused() {
    let error = Btf::parse(b"\x7fELF----------------------------".to_vec()).unwrap_err();
    assert_eq!(error.to_string(), "not little-endian BTF: magic is 0x457f, expected 0xeb9f");
    let mut b = Builder::new();
    b.add(31, "future", 0, 0, &[]);
    assert_eq!(Btf::parse(b.build()).unwrap_err(), BtfError::UnknownKind { id: 1, kind: 31 });
}

#[test]
fn a_type_that_contains_itself_ends() {
    let mut b = Builder::new();
    b.add(2, "", 0, 1, &[]);
    let own = b.add(4, "", 1, 8, &[0, 2, 0]);
    let name = b.string("loop");
    b.add(4, "outer", 1, 8, &[0, own, 0]);
    let proto = b.add(13, "", 1, 0, &[name, 1]);
    b.add(12, "f", 1, proto, &[]);
    let btf = Btf::parse(b.build()).unwrap();
    assert_eq!(btf.prototype("f"), None);
    assert_eq!(btf.member_offset("outer", "x"), None);
}

/// A structure with forty members of its own type, and one with a long name.
fn wide() -> Btf {
    let mut b = Builder::new();
    let long = b.string(&"n".repeat(MAX_NAME));
    let members: Vec<u32> = [0, 1, 0].repeat(40).into_iter().chain([long, 0, 0]).collect();
    b.add(4, "wide", 41, 8, &members);
    Btf::parse(b.build()).unwrap()
}

#[test]
fn a_type_that_contains_itself_many_times_ends() {
    assert_eq!(wide().member_offset("wide", "x"), None);
    assert_eq!(wide().member_offset("wide", &"n".repeat(MAX_NAME)), Some(0));
}

#[test]
fn a_listing_is_no_longer_than_its_types_can_make_it() {
    let btf = wide();
    let listing = btf.listing();
    let text: usize = listing.structures.values().flatten().flatten().map(String::len).sum();
    assert!((1000..=65 * btf.bytes.len()).contains(&text), "{text} bytes");
}

#[test]
fn no_kernel_has_longer_names_or_more_parameters() {
    let mut b = Builder::new();
    let name = b.string(&"n".repeat(MAX_NAME + 1));
    b.add(4, "s", 1, 8, &[name, 0, 0]);
    let parameters = |count: u32| [0, 0].repeat(count as usize);
    let many = b.add(13, "", MAX_PARAMETERS + 1, 0, &parameters(MAX_PARAMETERS + 1));
    let enough = b.add(13, "", MAX_PARAMETERS, 0, &parameters(MAX_PARAMETERS));
    b.add(12, "many", 1, many, &[]);
    b.add(12, "enough", 1, enough, &[]);
    let btf = Btf::parse(b.build()).unwrap();
    assert_eq!(btf.member_offset("s", &"n".repeat(MAX_NAME + 1)), None);
    assert_eq!(btf.prototype("many"), None);
    assert_eq!(btf.prototype("enough").unwrap().parameters.len(), MAX_PARAMETERS as usize);
}

#[test]
fn a_map_whose_type_contains_itself_has_none() {
    let mut b = Builder::new();
    let inner = b.string("inner");
    b.add(4, "endless", 1, 8, &[inner, 1, 0]);
    let map = b.add(14, "map", 0, 1, &[1]);
    b.add(15, ".maps", 1, 8, &[map, 0, 8]);
    assert!(Btf::parse(b.build()).unwrap().map_types().is_empty());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 0usize..400, byte: u8) {
        let mut bytes = sample();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(btf) = Btf::parse(bytes) {
            let _ = btf.prototype("handler");
            let _ = btf.member_offset("qstr", "len");
        }
    }
}
