//! The C side's view of `kernlab_abi` is what cbindgen makes of its source. To write it anew:
//! `KERNLAB_UPDATE_ABI=1 cargo test -p kernlab-libbpf --test abi`.

use std::{env, fs, path::Path};

const EXPORTED: [&str; 17] = [
    "ProgramConfig",
    "SysWriteEvent",
    "PendingWrite",
    "SockAllocEvent",
    "SocketWriteEvent",
    "PendingSocketWrite",
    "InotifyEvent",
    "CallEvent",
    "SyncEvent",
    "UserCallEvent",
    "PendingCall",
    "ReadEvent",
    "FileKey",
    "FileTotals",
    "PendingTransfer",
    "FileLifeEvent",
    "PendingUnlink",
];

#[test]
fn the_header_is_generated_from_the_types() {
    let abi = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/abi");
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Tag,
        no_includes: true,
        pragma_once: true,
        autogen_warning: Some(
            "/* Generated from core/abi/src by tests/abi.rs of kernlab-libbpf. */".into(),
        ),
        export: cbindgen::ExportConfig {
            include: EXPORTED.map(str::to_owned).to_vec(),
            ..Default::default()
        },
        ..Default::default()
    };
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(abi.join("src/lib.rs"))
        .with_src(abi.join("src/file.rs"))
        .generate()
        .unwrap();
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
         -p kernlab-libbpf --test abi"
    );
}
