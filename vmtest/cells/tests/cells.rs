//! The cells of a planned run; see the crate's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    kernlab_cells::main()
}
