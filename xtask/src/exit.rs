//! What the exit code of every command means.

pub(crate) use kernlab_cli::Exit;
