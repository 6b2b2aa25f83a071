//! Shows progress: a bar on a terminal, a line per file elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kernlab_kernels::{Event, Observer, Unpacked};
use kernlab_vmtest::terminal::shown;

use crate::preparing::Preparing;

const DOWNLOAD: &str = "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";

/// The bar of the current download, with its rate and the time left.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    preparing: Preparing,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let is_terminal = console_is_terminal();
        let target = match is_terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        Progress { bar, is_terminal, preparing: Preparing::default() }
    }

    /// Reports that a kernel can be booted.
    pub(crate) fn ready(&self, kernel: &Unpacked) {
        self.line(&format!("{}: {} is ready", kernel.id, kernel.release));
    }

    /// Prints a line, whether or not a bar is shown.
    pub(crate) fn note(&self, text: &str) {
        self.line(text);
    }

    /// Clears the bar to make room for an error message.
    pub(crate) fn failed(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows work of unknown length.
    fn spin(&self, kernel: &str, message: String) {
        if self.bar.is_finished() || self.bar.length().is_some() {
            self.bar.reset();
            self.bar.unset_length();
            if let Ok(style) = ProgressStyle::with_template("{prefix} {spinner} {wide_msg}") {
                self.bar.set_style(style);
            }
            self.bar.set_prefix(kernel.to_owned());
        }
        self.bar.set_message(shown(&message).into_owned());
        self.bar.tick();
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| say!("{text}"));
    }
}

fn console_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

impl Observer for Progress {
    fn notice(&self, line: &str) {
        self.line(&format!("note: {line}"));
    }

    fn observe(&self, kernel: &str, event: Event<'_>) {
        let line = self.preparing.line(kernel, &event, self.is_terminal);
        match event {
            Event::Download { file, done, size } => {
                self.bar.reset();
                if let Ok(style) = ProgressStyle::with_template(DOWNLOAD) {
                    self.bar.set_style(style);
                }
                self.bar.set_length(size);
                self.bar.set_position(done);
                self.bar.set_prefix(kernel.to_owned());
                self.bar.set_message(shown(file).into_owned());
            }
            Event::Progress { done } => self.bar.set_position(done),
            _ if line.is_some() => self.bar.finish_and_clear(),
            _ => {}
        }
        if let Some(line) = line {
            self.line(&line);
        }
        if let Event::Resolve { .. } | Event::Build { .. } | Event::Made { .. } = event
            && let Some(message) = self.preparing.message(kernel, &event)
        {
            self.spin(kernel, message);
        }
    }
}
