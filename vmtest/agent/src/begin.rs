//! The first request. It gives a guest, which may have been restored from an old checkpoint, the
//! current time, new random bytes and its files.

use std::{fs::File, io, os::fd::AsRawFd, time::Duration};

use kernlab_proto::{Begin, GuestMessage};
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};

use crate::{
    firmware::{self, FirmwareError},
    parameters::Files,
};

/// Why a guest could not begin to work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error("mix random bytes into the kernel's: {0}")]
    Entropy(#[source] io::Error),
    #[error("set the clock: {0}")]
    Clock(#[source] nix::Error),
    #[error(transparent)]
    Files(#[from] FirmwareError),
}

/// The answer to the host, if everything succeeded.
pub(crate) fn begin(begin: &Begin, files: Files) -> Result<GuestMessage, BeginError> {
    add_entropy(&begin.entropy).map_err(BeginError::Entropy)?;
    let time = TimeSpec::from(Duration::from_nanos(begin.unix_time_ns));
    clock_settime(ClockId::CLOCK_REALTIME, time).map_err(BeginError::Clock)?;
    if !begin.has_files {
        return Ok(GuestMessage::Done);
    }
    let why = match files {
        Files::ByPort => "the kernel's command line says so".to_owned(),
        Files::ByFirmware => match firmware::install() {
            Ok(()) => return Ok(GuestMessage::Done),
            Err(error @ (FirmwareError::Ports(_) | FirmwareError::NoDevice)) => error.to_string(),
            Err(error) => return Err(error.into()),
        },
    };
    Ok(GuestMessage::FilesWanted { why })
}

/// `struct rand_pool_info` of include/uapi/linux/random.h, followed by the random bytes.
#[repr(C)]
struct RandomBytes {
    entropy_bits: libc::c_int,
    length: libc::c_int,
    bytes: [u8; 32],
}

// include/uapi/linux/random.h: the size in RNDADDENTROPY is that of the structure's head only.
nix::ioctl_write_ptr_bad!(
    rnd_add_entropy,
    nix::request_code_write!(b'R', 0x03, 2 * size_of::<libc::c_int>()),
    RandomBytes
);
nix::ioctl_none!(rnd_reseed_crng, b'R', 0x07);

/// Adds the bytes to the kernel's random generator and makes it use them at once.
fn add_entropy(bytes: &[u8; 32]) -> io::Result<()> {
    let random = File::open("/dev/urandom")?;
    let added = RandomBytes { entropy_bits: 256, length: 32, bytes: *bytes };
    // SAFETY: `added` is as long as its `length` says.
    unsafe { rnd_add_entropy(random.as_raw_fd(), &added) }?;
    // SAFETY: the call takes no argument.
    unsafe { rnd_reseed_crng(random.as_raw_fd()) }?;
    Ok(())
}
