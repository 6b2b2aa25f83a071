//! The C side's view of `kernlab_abi` is what cbindgen makes of its source. To write it again:
//! `KERNLAB_UPDATE_ABI=1 cargo test -p kernlab-abi --test header`. The test is here, and not with the C
//! programs, because those don't compile while the header lacks what they use.

use std::{env, fs, path::Path};

/// What cbindgen is to export even if no function takes it: every structure.
fn structures(source: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("pub struct ")?.split_once(' ')?.0.to_owned());
    source.lines().filter_map(name).collect()
}

#[test]
fn the_header_is_generated_from_the_types() {
    let abi = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src/lib.rs", "src/file.rs"].map(|source| abi.join(source));
    let exported = sources.iter().flat_map(|path| structures(&fs::read_to_string(path).unwrap()));
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Tag,
        no_includes: true,
        pragma_once: true,
        autogen_warning: Some(
            "/* Generated from core/abi/src by core/abi/tests/header.rs. */".into(),
        ),
        export: cbindgen::ExportConfig { include: exported.collect(), ..Default::default() },
        ..Default::default()
    };
    let builder = cbindgen::Builder::new().with_config(config);
    let bindings = sources.iter().fold(builder, |builder, source| builder.with_src(source));
    let bindings = bindings.generate().unwrap();
    let mut generated = Vec::new();
    bindings.write(&mut generated);
    let header = abi.join("include/abi.h");
    if env::var_os("KERNLAB_UPDATE_ABI").is_some() {
        fs::write(&header, &generated).unwrap();
    }
    let committed = fs::read_to_string(&header).unwrap_or_default();
    let generated = String::from_utf8(generated).unwrap();
    assert!(
        committed == generated,
        "core/abi/include/abi.h is not what core/abi/src says: run KERNLAB_UPDATE_ABI=1 cargo test \
         -p kernlab-abi --test header"
    );
}
