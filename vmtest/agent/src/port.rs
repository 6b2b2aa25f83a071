//! The serial port with the protocol.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
};

use kernlab_proto::{Decoder, FrameError, GuestMessage, HostMessage, encode};
use nix::sys::termios::tcdrain;

/// Why the port can't be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("could not open /dev/{device}: {error}")]
    Open { device: String, error: io::Error },
    #[error("could not set the port to raw mode: {0}")]
    Raw(#[source] nix::Error),
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the host broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the host closed the connection")]
    Closed,
}

/// The open port.
pub(crate) struct Port {
    device: File,
    decoder: Decoder<HostMessage>,
}

impl Port {
    /// Opens the port as a plain stream of bytes. Opening resets the receiver: bytes that the host
    /// sent before are lost, so the host waits until the agent has sent its hello.
    pub(crate) fn open(device: &str) -> Result<Self, PortError> {
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(format!("/dev/{device}"))
            .map_err(|error| PortError::Open { device: device.to_owned(), error })?;
        make_raw(&file).map_err(PortError::Raw)?;
        Ok(Port { device: file, decoder: Decoder::default() })
    }

    /// Hands one message to the kernel.
    pub(crate) fn send(&mut self, message: &GuestMessage) -> Result<(), PortError> {
        Ok(self.device.write_all(&encode(message)?)?)
    }

    /// Waits until all sent bytes have left the machine.
    pub(crate) fn flush(&mut self) -> Result<(), PortError> {
        Ok(tcdrain(&self.device).map_err(io::Error::from)?)
    }

    /// Waits for the next request.
    pub(crate) fn receive(&mut self) -> Result<HostMessage, PortError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            match self.device.read(&mut buffer) {
                Ok(0) => return Err(PortError::Closed),
                Ok(length) => self.decoder.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

nix::ioctl_read_bad!(get_settings, libc::TCGETS2, libc::termios2);
nix::ioctl_write_ptr_bad!(set_settings, libc::TCSETS2, libc::termios2);

/// Bits per second. QEMU does not slow bytes down to this rate, but it waits for the time of some
/// characters before it reports the end of a burst.
const SPEED: libc::speed_t = 115_200;

/// Disables echo, line buffering and control characters; eight bits. This uses the kernel's own
/// interface, because the C library's functions for the speed depend on the version of its shared
/// library.
fn make_raw(device: &File) -> nix::Result<()> {
    // SAFETY: all-zero bytes are a valid termios2: it holds integers only.
    let mut settings: libc::termios2 = unsafe { std::mem::zeroed() };
    // SAFETY: TCGETS2 writes a termios2, and `settings` is one that outlives the call.
    unsafe { get_settings(device.as_raw_fd(), &mut settings) }?;
    settings.c_iflag = 0;
    settings.c_oflag = 0;
    settings.c_lflag = 0;
    settings.c_cflag = libc::CS8 | libc::CREAD | libc::CLOCAL | libc::BOTHER;
    settings.c_ispeed = SPEED;
    settings.c_ospeed = SPEED;
    settings.c_cc[libc::VMIN] = 1;
    settings.c_cc[libc::VTIME] = 0;
    // SAFETY: TCSETS2 reads a termios2, and `settings` is one that outlives the call.
    unsafe { set_settings(device.as_raw_fd(), &settings) }.map(drop)
}
