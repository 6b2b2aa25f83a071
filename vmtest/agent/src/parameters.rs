//! The agent's parameters on the kernel's command line.

/// The parameters for the agent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// `kernlab.port`: the device of the protocol's port, without `/dev/`.
    pub(crate) port: String,
    /// `kernlab.files`: `port` if the host has to send files, instead of QEMU's `fw_cfg` device.
    pub(crate) files: Files,
    /// `kernlab.root`: the disk with the root file system of programs, without `/dev/`.
    pub(crate) root: Option<String>,
}

/// How files get into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// From QEMU's `fw_cfg` device, if the agent can use it.
    ByFirmware,
    /// Through the protocol's port.
    ByPort,
}

impl Parameters {
    /// Parses the text of `/proc/cmdline`. Missing parameters get the value for a PC.
    pub(crate) fn parse(command_line: &str) -> Self {
        let value = |name: &str| {
            let words = command_line.split_ascii_whitespace();
            words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).next_back()
        };
        let port = value("kernlab.port").unwrap_or("ttyS1");
        let by_port =
            command_line.split_ascii_whitespace().any(|word| word == "kernlab.files=port");
        let files = if by_port { Files::ByPort } else { Files::ByFirmware };
        let root = value("kernlab.root").map(str::to_owned);
        Parameters { port: port.to_owned(), files, root }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_last_one_named() {
        for (line, port) in [
            ("console=ttyS0 kernlab.port=ttyAMA1 quiet", "ttyAMA1"),
            ("kernlab.port=a kernlab.port=b\n", "b"),
            ("quiet xkernlab.port=c", "ttyS1"),
        ] {
            assert_eq!(Parameters::parse(line).port, port, "{line}");
        }
    }

    #[test]
    fn files_come_from_qemu_unless_it_is_said_otherwise() {
        assert_eq!(Parameters::parse("quiet kernlab.files=port").files, Files::ByPort);
        assert_eq!(Parameters::parse("quiet kernlab.files=ports").files, Files::ByFirmware);
    }

    #[test]
    fn programs_have_a_root_of_their_own_if_a_disk_is_named() {
        assert_eq!(Parameters::parse("quiet kernlab.root=vda").root.as_deref(), Some("vda"));
        assert_eq!(Parameters::parse("kernlab.rooted=vda root=vdb").root, None);
    }
}
