//! What a guest boots: the image, its modules and its BTF.

pub(crate) mod btf_archive;
pub(crate) mod error;
pub(crate) mod external_btf;
pub(crate) mod identity;
pub(crate) mod local;
pub(crate) mod members;
mod module_file;
pub(crate) mod modules;
mod packaged;
mod placeholder;
pub(crate) mod unpack;
pub(crate) mod vmlinux;

pub use self::{error::FilesError, placeholder::placeholder_kernel};
