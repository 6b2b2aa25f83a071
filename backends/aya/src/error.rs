//! Aya's errors, with the stage and the reason that a report needs.

use std::error::Error;

use aya::{
    EbpfError,
    maps::{MapError, MapType},
    programs::ProgramError,
    sys::is_map_supported,
};
use kernlab_core::{backend::BackendError, outcome::Reason};

/// An error of a step that can fail in one way only.
pub(crate) fn failed(
    stage: impl Into<String>,
    reason: Reason,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> BackendError {
    BackendError { stage: stage.into(), reason, verifier_log: None, source: Some(source.into()) }
}

/// The object could not be opened, or its maps not created.
pub(crate) fn object_failed(error: EbpfError) -> BackendError {
    const STAGE: &str = "opening the BPF object";
    match error {
        EbpfError::MapError(error) => {
            let reason = match &error {
                MapError::CreateError { name, .. } if name == "events" => events_map_reason(),
                _ => Reason::LoadFailed,
            };
            failed(STAGE, reason, error)
        }
        // These would repeat their source in their own message.
        EbpfError::ParseError(error) => failed(STAGE, Reason::LoadFailed, error),
        EbpfError::BtfError(error) => failed(STAGE, Reason::LoadFailed, error),
        error => failed(STAGE, Reason::LoadFailed, error),
    }
}

/// A ring buffer is the only map that a kernel of the matrix can lack.
fn events_map_reason() -> Reason {
    match is_map_supported(MapType::RingBuf) {
        Ok(false) => Reason::HelperUnavailable,
        _ => Reason::LoadFailed,
    }
}

/// The kernel did not take a program.
pub(crate) fn load_failed(program: &str, error: ProgramError) -> BackendError {
    let stage = format!("loading {program}");
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let reason = refusal(&log);
            let mut error = failed(stage, reason, io_error);
            error.verifier_log = Some(log).filter(|log| !log.is_empty());
            error
        }
        error => failed(stage, Reason::LoadFailed, error),
    }
}

/// What a verifier log says. It is empty when the program never reached the verifier.
fn refusal(log: &str) -> Reason {
    // `check_helper_call`, kernel/bpf/verifier.c; the third wording replaced the second in 6.10.
    const UNKNOWN_HELPER: [&str; 3] =
        ["invalid func ", "unknown func ", "program of this type cannot use helper "];
    if log.is_empty() {
        Reason::LoadFailed
    } else if UNKNOWN_HELPER.iter().any(|wording| log.contains(wording)) {
        Reason::HelperUnavailable
    } else {
        Reason::VerifierRejected
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", Reason::LoadFailed)]
    #[case("0: (b7) r0 = 0\nback-edge from insn 103 to 99\n", Reason::VerifierRejected)]
    #[case("44: (85) call unknown#130\ninvalid func unknown#130\n", Reason::HelperUnavailable)]
    #[case(
        "4: (85) call bpf_probe_read_kernel#113\nunknown func bpf_probe_read_kernel#113\n",
        Reason::HelperUnavailable
    )]
    #[case(
        "4: (85) call bpf_loop#181\nprogram of this type cannot use helper bpf_loop#181\n",
        Reason::HelperUnavailable
    )]
    fn a_log_tells_the_reason(#[case] log: &str, #[case] reason: Reason) {
        let error = load_failed(
            "function_call",
            ProgramError::LoadError {
                io_error: io::Error::from_raw_os_error(22),
                verifier_log: aya_obj::VerifierLog::new(log.to_owned()),
            },
        );
        assert_eq!(error.reason, reason);
        assert_eq!(error.stage, "loading function_call");
        assert_eq!(error.verifier_log.unwrap_or_default(), log);
        assert!(!error.source.unwrap().to_string().contains("insn"), "the log is not repeated");
    }
}
