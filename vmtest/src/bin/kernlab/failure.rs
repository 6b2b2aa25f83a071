//! Why a command failed.

use std::{
    error::Error,
    fmt, io,
    sync::atomic::{AtomicBool, Ordering},
};

use kernlab_cli::Exit;
use kernlab_core::outcome::Severity;
use kernlab_kernels::{OpenError, SelectError, StoreError, chain};
use kernlab_vmtest::{
    guest_programs::GuestProgramsError,
    report::exit_of,
    run::{Outcomes, RunError},
    suite::run::SuiteRunError,
    terminal,
};

/// An exit code, and the message for the user.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// The command line, or a file that it names, is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure { exit: Exit::Usage, message: message.into() }
    }

    /// A step that the user asked for failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Failure { exit: Exit::Failure, message: message.into() }
    }

    /// Something is missing or broke.
    pub(crate) fn infrastructure(error: &(dyn Error + 'static)) -> Self {
        Failure { exit: Exit::Infrastructure, message: chain(error) }
    }

    /// The same failure with a heading that names what it is about.
    pub(crate) fn of(self, heading: &str) -> Self {
        Failure { message: format!("{heading}{}", self.message), ..self }
    }

    /// Reports on standard error what went wrong.
    pub(crate) fn report(&self) -> Exit {
        match self.exit {
            // There was nothing to do.
            Exit::Success => say!("{}", self.message),
            _ => say!("error: {}", self.message),
        }
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match error {
            OpenError::Place(_)
            | OpenError::Document(_)
            | OpenError::Store(StoreError::NotAStore { .. }) => Exit::Usage,
            OpenError::Store(_) => Exit::Infrastructure,
        };
        Failure { exit, message: chain(&error) }
    }
}

impl From<GuestProgramsError> for Failure {
    fn from(error: GuestProgramsError) -> Self {
        let exit = match error {
            GuestProgramsError::None | GuestProgramsError::NotOfArch { .. } => Exit::Usage,
            GuestProgramsError::Unpack { .. } => Exit::Infrastructure,
        };
        Failure { exit, message: chain(&error) }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match error {
            RunError::NoCheckout
            | RunError::Select(_)
            | RunError::Allow(_)
            | RunError::Filter(_)
            | RunError::NoCells => Exit::Usage,
            RunError::NoGuestPrograms(_)
            | RunError::Dir { .. }
            | RunError::Unwritten { .. }
            | RunError::Nextest(_)
            | RunError::Census(_) => Exit::Infrastructure,
        };
        Failure { exit, message: chain(&error) }
    }
}

impl From<SuiteRunError> for Failure {
    fn from(error: SuiteRunError) -> Self {
        match error {
            SuiteRunError::Run(error) => error.into(),
            SuiteRunError::EmptyPart(_) => Failure { exit: Exit::Success, message: chain(&error) },
            SuiteRunError::Pack { ref source, .. } if source.is_about_the_store() => {
                Failure::infrastructure(&error)
            }
            SuiteRunError::Programs(error) => error.into(),
            SuiteRunError::Tools(error) => error.into(),
            SuiteRunError::Pack { .. }
            | SuiteRunError::Golden { .. }
            | SuiteRunError::NothingToUpdate
            | SuiteRunError::NoCells(_)
            | SuiteRunError::NoSuite { .. }
            | SuiteRunError::Glob(_) => Failure::usage(chain(&error)),
        }
    }
}

impl From<SelectError> for Failure {
    fn from(error: SelectError) -> Self {
        Failure { exit: Exit::Usage, message: chain(&error) }
    }
}

impl From<kernlab_kernels::Error> for Failure {
    fn from(error: kernlab_kernels::Error) -> Self {
        Failure::infrastructure(&error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::infrastructure(&error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::infrastructure(&error)
    }
}

/// A run's outcomes, and why its report could not be written, if so.
pub(crate) fn outcomes(
    ran: Result<Outcomes, impl Into<SuiteRunError>>,
) -> Result<(Outcomes, Option<Failure>), Failure> {
    match ran.map_err(Into::into) {
        Err(SuiteRunError::Run(RunError::Unwritten { outcomes, source })) => {
            Ok((*outcomes, Some((*source).into())))
        }
        ran => Ok((ran?, None)),
    }
}

/// The exit code of a run that has been shown. A failing cell outranks a report that could not be written.
pub(crate) fn exit_of_run(severity: Severity, unwritten: Option<Failure>) -> Result<Exit, Failure> {
    match unwritten {
        Some(failure) if severity != Severity::Failure => Err(failure),
        unwritten => {
            if let Some(failure) = unwritten {
                failure.report();
            }
            Ok(exit_of(severity))
        }
    }
}

/// Whether standard output could not be written.
static LOST_OUTPUT: AtomicBool = AtomicBool::new(false);

/// Writes text, in which nothing acts on a terminal, to standard output. It is no error if a reader such
/// as head(1) stops early.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    write(text).map_err(|error| Failure::from(error).of(&format!("{UNWRITABLE}: ")))
}

fn write(text: &str) -> io::Result<()> {
    match io::Write::write_all(&mut io::stdout(), terminal::shown(text).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

const UNWRITABLE: &str = "failed to write to standard output";

/// Like [`print()`], for those who can't tell whether it failed: the command fails in the end.
pub(crate) fn print_or_note(text: &str) {
    if let Err(error) = write(text) {
        note_lost_output(&error);
    }
}

/// Remembers that standard output could not be written, and says so the first time.
pub(crate) fn note_lost_output(why: &dyn fmt::Display) {
    if !LOST_OUTPUT.swap(true, Ordering::Relaxed) {
        say!("error: {UNWRITABLE}: {why}");
    }
}

/// Whether [`note_lost_output`] was called.
pub(crate) fn has_lost_output() -> bool {
    LOST_OUTPUT.load(Ordering::Relaxed)
}
