//! The guest's end of the protocol, in the hands of a program that has taken it from the agent.

use std::{
    fs::File,
    io::{self, Write},
    thread,
};

use kernlab_proto::{Exit, GuestMessage, HostMessage, RunReport, Stream, encode, log_mark};
use nix::{
    mount::{MsFlags, mount},
    sys::{ptrace, wait::waitpid},
    unistd::Pid,
};

use crate::arch;

#[path = "../../port.rs"]
mod port;

/// The port, which nobody else in the guest uses any more.
pub(crate) struct Takeover {
    port: port::Port,
    /// Beside the port, for what is no message.
    raw: File,
}

impl Takeover {
    /// Stops the agent, as a debugger would, and takes its port. It goes on when this program ends.
    pub(crate) fn seize() -> io::Result<Self> {
        let agent = Pid::from_raw(1);
        ptrace::attach(agent)?;
        waitpid(agent, None)?;
        Takeover::open()
    }

    /// Takes the port as PID 1, where no agent was started.
    pub(crate) fn open_as_init() -> io::Result<Self> {
        mount(Some("dev"), "/dev", Some("devtmpfs"), MsFlags::empty(), None::<&str>)?;
        Takeover::open()
    }

    fn open() -> io::Result<Self> {
        let port = port::Port::open(arch::PORT).map_err(io::Error::other)?;
        let raw = File::options().write(true).open(format!("/dev/{}", arch::PORT))?;
        Ok(Takeover { port, raw })
    }

    pub(crate) fn send(&mut self, message: &GuestMessage) -> io::Result<()> {
        self.port.send(message).map_err(io::Error::other)
    }

    /// Sends bytes that may be anything, and waits until they have left the machine.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.raw.write_all(bytes)?;
        self.port.flush().map_err(io::Error::other)
    }

    pub(crate) fn receive(&mut self) -> io::Result<HostMessage> {
        self.port.receive().map_err(io::Error::other)
    }

    /// Sends what a program of the guest seems to have written.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(kernlab_proto::CHUNK).try_for_each(|bytes| {
            self.send(&GuestMessage::Output { stream, bytes: bytes.to_vec() })
        })
    }

    /// Ends the program that the host waits for, and does what the agent would do from then on.
    pub(crate) fn end(&mut self, report: RunReport) -> io::Result<()> {
        self.send(&GuestMessage::Exited(report))?;
        self.obey()
    }

    /// Does what the agent does, and says that whatever it is told to run has ended well.
    pub(crate) fn obey(&mut self) -> io::Result<()> {
        loop {
            match self.receive()? {
                HostMessage::ReadKernelLog { mark } => {
                    let line = format!("<14>[    1.000000] {}\n", log_mark(mark));
                    self.write(Stream::KernelLog, line.as_bytes())?;
                    self.send(&GuestMessage::Done)?;
                }
                HostMessage::Run(_) | HostMessage::Proceed(_) => {
                    self.send(&GuestMessage::Exited(ended_well()))?;
                }
                HostMessage::Begin(_) | HostMessage::WriteFile { .. } | HostMessage::Prewarm => {
                    self.send(&GuestMessage::Done)?;
                }
                HostMessage::PowerOff | HostMessage::Taken | HostMessage::NotTaken => {
                    return sleep_for_ever();
                }
            }
        }
    }
}

/// A program that has ended as it should.
pub(crate) fn ended_well() -> RunReport {
    RunReport { exit: Exit::Code(0), duration_us: 1, dropped: 0, killed: 0, stuck: false }
}

/// The frame of a message.
pub(crate) fn frame(message: &GuestMessage) -> io::Result<Vec<u8>> {
    encode(message).map_err(io::Error::other)
}

pub(crate) fn sleep_for_ever() -> io::Result<()> {
    loop {
        thread::park();
    }
}
