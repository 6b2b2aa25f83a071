//! Made-up BTF for tests.

/// Writes BTF the way a compiler would, type by type.
#[derive(Default)]
pub(crate) struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Builder { strings: vec![0], ..Builder::default() }
    }

    pub(crate) fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        offset
    }

    pub(crate) fn add(
        &mut self,
        kind: u32,
        name: &str,
        vlen: u32,
        target: u32,
        tail: &[u32],
    ) -> u32 {
        let name = self.string(name);
        for word in [name, kind << 24 | vlen, target].iter().chain(tail) {
            self.types.extend(word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = Vec::new();
        for word in [0x0001_eb9f, 24, 0, types, types, strings] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }

    /// Adds a function, spelling types as C does: `const struct qstr *`, `u32`.
    pub(crate) fn function(&mut self, name: &str, parameters: &[(&str, &str)]) {
        let parameters: Vec<u32> = parameters
            .iter()
            .flat_map(|(type_name, name)| [self.string(name), self.type_named(type_name)])
            .collect();
        let proto = self.add(13, "", parameters.len() as u32 / 2, 0, &parameters);
        self.add(12, name, 1, proto, &[]);
    }

    /// Adds a structure of words.
    pub(crate) fn structure(&mut self, name: &str, fields: &[(&str, u32)]) {
        let word = self.add(1, "long", 0, 8, &[64]);
        let members: Vec<u32> = fields
            .iter()
            .flat_map(|&(field, offset)| [self.string(field), word, offset * 8])
            .collect();
        self.add(4, name, fields.len() as u32, 64, &members);
    }

    fn type_named(&mut self, spelling: &str) -> u32 {
        if let Some(inner) = spelling.strip_suffix(" *") {
            let inner = self.type_named(inner);
            self.add(2, "", 0, inner, &[])
        } else if let Some(inner) = spelling.strip_prefix("const ") {
            let inner = self.type_named(inner);
            self.add(10, "", 0, inner, &[])
        } else if let Some(name) = spelling.strip_prefix("struct ") {
            self.add(7, name, 0, 0, &[])
        } else {
            self.add(1, spelling, 0, 8, &[64])
        }
    }
}
