//! What a guest boots: the image, its modules and its BTF.

mod arm64;
pub(crate) mod btf_archive;
pub(crate) mod error;
pub(crate) mod external_btf;
pub(crate) mod identity;
pub(crate) mod inspected;
pub(crate) mod local;
pub(crate) mod members;
mod module_file;
pub(crate) mod modules;
mod packaged;
mod placeholder;
pub(crate) mod unpack;
pub(crate) mod vmlinux;

pub(crate) use self::arm64::is_arm64;
pub use self::{
    arm64::btf as btf_of_image,
    error::FilesError,
    placeholder::{placeholder_arm64_kernel, placeholder_kernel},
};
