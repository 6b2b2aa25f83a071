//! Gets the files that QEMU passes to the guest through its firmware configuration device,
//! `fw_cfg`: docs/specs/fw_cfg.rst in QEMU's sources.
//!
//! Every machine of QEMU has the device, and it needs no driver: its ports or registers are in a fixed
//! place, so the same few lines work under every kernel. Its content belongs to the QEMU process and not to the
//! guest's checkpoint: a restored guest finds the current files.

#[cfg_attr(target_arch = "x86_64", path = "firmware/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "firmware/aarch64.rs")]
mod ports;
mod window;

use std::{io, path::Path};

use kernlab_proto::suite::ARCHIVES;

use self::{ports::Ports, window::Window};
use crate::{archives, guest_file::GuestFile};

/// The prefix of QEMU's `-fw_cfg name=`, before a file's path in the guest.
const PREFIX: &str = "opt/kernlab";

/// Selects the signature `QEMU`, which shows that the device exists.
const SIGNATURE: u16 = 0x00;
/// Selects a little-endian word of feature bits.
const FEATURES: u16 = 0x01;
/// Selects the list of files.
const DIR: u16 = 0x19;
/// A feature bit: the device can copy to memory by itself.
const HAS_DMA: u32 = 1 << 1;
/// The size of an entry of the list: size, selector, reserved, name; big-endian.
const ENTRY: usize = 64;

/// Why the files are not available.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FirmwareError {
    #[error("{how}: {0} (the kernel needs {needed})", how = ports::OPENED_BY, needed = ports::NEEDED)]
    Ports(#[source] io::Error),
    #[error("find QEMU's fw_cfg device")]
    NoDevice,
    #[error("copy from fw_cfg: {0}")]
    Copy(#[source] io::Error),
    #[error("write {path}: {source}{}", too_small(source))]
    Write { path: String, source: io::Error },
    #[error("unpack the files of {path}: {source}{}", too_small(source))]
    Unpack { path: String, source: io::Error },
}

/// What to do if the guest's memory is full.
fn too_small(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => " (give the guest more memory)",
        _ => "",
    }
}

/// One file of the device.
struct Handed {
    selector: u16,
    size: usize,
    /// Its absolute path in the guest.
    path: String,
}

/// Writes every injected file of the device to its path, executable, and unpacks every archive.
pub(crate) fn install() -> Result<(), FirmwareError> {
    let ports = Ports::open().map_err(FirmwareError::Ports)?;
    ports.select(SIGNATURE);
    if ports.take::<4>() != *b"QEMU" {
        return Err(FirmwareError::NoDevice);
    }
    ports.select(FEATURES);
    let features = u32::from_le_bytes(ports.take());
    let mut window = (features & HAS_DMA != 0).then(Window::open).transpose();
    let mut all = dir(&ports);
    all.sort_by(|one, other| one.path.cmp(&other.path));
    for injected in all {
        let written = match &mut window {
            Ok(Some(window)) => write(&injected, |copy| window.copy(&ports, &injected, copy)),
            // The kernel hides physical addresses: read byte by byte instead.
            Ok(None) | Err(_) => write(&injected, |copy| byte_by_byte(&ports, &injected, copy)),
        };
        written?;
    }
    Ok(())
}

/// A function that takes the bytes of a file, in order, chunk by chunk.
type Copy<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

fn write(
    injected: &Handed,
    fill: impl FnOnce(Copy<'_>) -> io::Result<()>,
) -> Result<(), FirmwareError> {
    if injected.path.starts_with(ARCHIVES) {
        return archives::unpack_from(fill)
            .map_err(|source| FirmwareError::Unpack { path: injected.path.clone(), source });
    }
    let failed = |source| FirmwareError::Write { path: injected.path.clone(), source };
    let mut file = GuestFile::open(Path::new(&injected.path), 0o755, false).map_err(failed)?;
    fill(&mut |bytes| file.write_all(bytes)).map_err(FirmwareError::Copy)
}

fn dir(ports: &Ports) -> Vec<Handed> {
    ports.select(DIR);
    let count = u32::from_be_bytes(ports.take());
    (0..count).filter_map(|_| entry(&ports.take())).collect()
}

/// Parses an entry of the list; none if it is no injected file.
fn entry(bytes: &[u8; ENTRY]) -> Option<Handed> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let (selector, rest) = rest.split_first_chunk::<2>()?;
    let name = rest.get(2..)?;
    let name = name.split(|&byte| byte == 0).next()?;
    let path = str::from_utf8(name).ok()?.strip_prefix(PREFIX)?;
    Some(Handed {
        selector: u16::from_be_bytes(*selector),
        size: usize::try_from(u32::from_be_bytes(*size)).ok()?,
        path: path.starts_with('/').then(|| path.to_owned())?,
    })
}

fn byte_by_byte(ports: &Ports, injected: &Handed, copy: Copy<'_>) -> io::Result<()> {
    ports.select(injected.selector);
    let mut left = injected.size;
    while left > 0 {
        let bytes = ports.take::<4096>();
        let length = left.min(bytes.len());
        copy(&bytes[..length])?;
        left -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(name: &[u8]) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..8].copy_from_slice(&[0, 0, 1, 2, 0, 0x21, 0, 0]);
        bytes[8..8 + name.len()].copy_from_slice(name);
        bytes
    }

    #[test]
    fn our_entries_are_told_by_their_names() {
        let injected = entry(&raw(b"opt/kernlab/bin/x")).unwrap();
        assert_eq!(
            (injected.size, injected.selector, injected.path.as_str()),
            (0x102, 0x21, "/bin/x")
        );
        for other in [&b"etc/acpi/tables"[..], b"opt/kernlabx", b"opt/kernlab", b"\xff"] {
            assert!(entry(&raw(other)).is_none());
        }
    }
}
