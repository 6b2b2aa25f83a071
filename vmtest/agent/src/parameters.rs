//! What the host says on the kernel's command line.

/// The parameters that are meant for the agent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// `kernlab.port`: the device of the protocol's port, without `/dev/`.
    pub(crate) port: String,
}

impl Parameters {
    /// Reads the text of `/proc/cmdline`. What is missing gets the value that fits a PC.
    pub(crate) fn parse(command_line: &str) -> Self {
        let port = command_line
            .split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix("kernlab.port="))
            .next_back()
            .unwrap_or("ttyS1");
        Parameters { port: port.to_owned() }
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
}
