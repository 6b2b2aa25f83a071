//! Where the programs of `inotify` go, and which arguments they read.

use kernlab_abi::{NAME_IS_QSTR, NAME_IS_STRING, ProgramConfig};

use super::{AttachPoint, Unsupported, kprobe};
use crate::{btf::Prototype, facts::KernelFacts, outcome::Reason};

/// `offsetof(struct qstr, name)`: a u64 of hash and length comes first on every release since
/// 3.9 (include/linux/dcache.h). Every kernel with BTF in the matrix checks it.
pub const QSTR_NAME: u32 = 8;

/// The functions that hand an event to an inotify group, newest first. Both are reached through a
/// pointer in `inotify_fsnotify_ops`, so neither is ever inlined.
///
/// `inotify_handle_inode_event` replaced the other in 5.11 (commit 1a2620a99803) and in 5.10.4.
pub const INOTIFY_HANDLERS: [&str; 2] = ["inotify_handle_inode_event", "inotify_handle_event"];

pub(super) fn attach(
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let Some(handler) = INOTIFY_HANDLERS.into_iter().find(|name| facts.has_symbol(name)) else {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has none of {}", INOTIFY_HANDLERS.join(", ")),
        ));
    };
    let prototype = match &facts.btf {
        // One prototype in all releases that have it: fs/notify/inotify/inotify_fsnotify.c.
        None if handler == "inotify_handle_inode_event" => Prototype::known(&[
            ("struct fsnotify_mark *", "inode_mark"),
            ("u32", "mask"),
            ("struct inode *", "inode"),
            ("struct inode *", "dir"),
            ("const struct qstr *", "name"),
            ("u32", "cookie"),
        ]),
        // The other passes the name as a string up to 5.1 and as a qstr from 5.2 on, and its
        // arguments changed places in 5.9.
        _ => facts.prototype(handler)?,
    };
    let position = |names: &[&str]| {
        prototype.position(names).ok_or_else(|| {
            Unsupported::new(
                Reason::SignatureChanged,
                format!("{handler} has no parameter {}: {prototype}", names.join(" or ")),
            )
        })
    };
    let (name_argument, name) = position(&["name", "file_name"])?;
    config.mask_argument = position(&["mask"])?.0;
    config.cookie_argument = position(&["cookie"])?.0;
    config.name_argument = name_argument;
    config.name_kind = match name.type_name.as_str() {
        "const struct qstr *" => NAME_IS_QSTR,
        "const unsigned char *" => NAME_IS_STRING,
        other => {
            return Err(Unsupported::new(
                Reason::SignatureChanged,
                format!("{handler} passes the name as {other}: {prototype}"),
            ));
        }
    };
    config.layout.qstr_name = match (&facts.btf, &facts.discovered) {
        // Not worth a search.
        (None, None) => QSTR_NAME,
        _ => facts.offset("qstr", "name")?,
    };
    Ok(vec![kprobe("inotify_rename", handler)])
}
