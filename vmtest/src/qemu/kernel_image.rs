//! Which kernel a file has.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use kernlab_kernels::Arch;

use super::hardware::{Hardware, KernelImage};

/// The file can't be booted by QEMU.
#[derive(Debug, thiserror::Error)]
pub enum KernelImageError {
    /// The file can't be read.
    #[error("could not read the kernel image {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is no kernel image.
    #[error("{path} is not {expected}")]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
}

/// Detects the kind of a kernel's image from its header.
pub fn check_kernel_image(arch: Arch, path: &Path) -> Result<KernelImage, KernelImageError> {
    let hardware = Hardware::of(arch);
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(0x206).read_to_end(&mut header))
        .map_err(|source| KernelImageError::Read { path: path.to_owned(), source })?;
    (hardware.kernel_image)(&header).ok_or_else(|| KernelImageError::NotAKernel {
        path: path.to_owned(),
        expected: hardware.expected_image,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_of_its_architecture() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let elf = file("vmlinux", &kernlab_kernels::placeholder_kernel());
        let image = file("Image", &kernlab_kernels::placeholder_arm64_kernel());
        assert_eq!(check_kernel_image(Arch::X86_64, &elf).unwrap(), KernelImage::Elf);
        assert_eq!(
            check_kernel_image(Arch::Aarch64, &image).unwrap(),
            KernelImage::Arm64 { has_16k_pages: false }
        );
        let error = |arch, path: &Path| check_kernel_image(arch, path).unwrap_err().to_string();
        for path in [image, file("text", b"hello"), file("empty", b"")] {
            let error = error(Arch::X86_64, &path);
            assert!(error.contains("is not an x86-64 kernel image: expected a bzImage"), "{error}");
        }
        assert!(error(Arch::Aarch64, &elf).contains("is not an arm64 kernel image: expected an"));
        let missing = check_kernel_image(Arch::X86_64, &dir.path().join("missing"));
        assert!(matches!(missing, Err(KernelImageError::Read { .. })));
    }
}
