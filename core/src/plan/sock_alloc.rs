//! Where the program of `sock_alloc` goes, and where it finds a socket's type and family.

use kernlab_abi::ProgramConfig;

use super::{AttachPoint, Unsupported, kprobe};
use crate::{facts::KernelFacts, outcome::Reason};

/// What every socket goes through that gets a file, and so a descriptor: those of socket(2),
/// socketpair(2) and accept(2). `(struct socket *sock, int flags, const char *dname)` in net/socket.c,
/// in all releases from 4.18 on.
pub(crate) const SOCK_ALLOC_FILE: &str = "sock_alloc_file";

pub(super) fn attach(
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if !facts.has_symbol(SOCK_ALLOC_FILE) {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has no {SOCK_ALLOC_FILE}: CONFIG_NET"),
        ));
    }
    // The family is that of the operations, not that of the sock: accept(2) gives its socket a sock
    // only after it has given it a file, but takes the operations over from the listening socket
    // before that (do_accept, net/socket.c).
    let layout = &mut config.layout;
    layout.socket_type = facts.offset("socket", "type")?;
    layout.socket_ops = facts.offset("socket", "ops")?;
    layout.proto_ops_family = facts.offset("proto_ops", "family")?;
    Ok(vec![kprobe("sock_alloc", SOCK_ALLOC_FILE)])
}
