//! Shows progress: a bar on a terminal, a line per file elsewhere.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::building::Building;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use kernlab_kernels::{Event, Observer, Unpacked, chain};
use kernlab_vmtest::terminal::shown;

const DOWNLOAD: &str = "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";

/// The bar of the current download, with its rate and the time left.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    begun: Mutex<Instant>,
    building: Building,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let is_terminal = console_is_terminal();
        let target = match is_terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        Progress {
            bar,
            is_terminal,
            begun: Mutex::new(Instant::now()),
            building: Building::default(),
        }
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
        match event {
            Event::Wait { file } => {
                self.line(&format!("{kernel}: waiting for another process that downloads {file}"));
            }
            Event::Download { file, done, size } => {
                *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                self.bar.reset();
                if let Ok(style) = ProgressStyle::with_template(DOWNLOAD) {
                    self.bar.set_style(style);
                }
                self.bar.set_length(size);
                self.bar.set_position(done);
                self.bar.set_prefix(kernel.to_owned());
                self.bar.set_message(shown(file).into_owned());
                if !self.is_terminal {
                    let resumed = match done {
                        0 => String::new(),
                        done => format!(", {} already downloaded", HumanBytes(done)),
                    };
                    self.line(&format!(
                        "{kernel}: downloading {file} ({}{resumed})",
                        HumanBytes(size)
                    ));
                }
            }
            Event::Progress { done } => self.bar.set_position(done),
            Event::Downloaded => {
                let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
                let seconds = begun.elapsed().as_secs_f64();
                self.bar.finish_and_clear();
                self.line(&format!("{kernel}: downloaded in {seconds:.1} s"));
            }
            Event::AddressFailed { url, error } => {
                self.bar.finish_and_clear();
                self.line(&format!("{kernel}: {url}: {}", chain(error)));
            }
            Event::Unpack => self.line(&format!("{kernel}: unpacking")),
            build => {
                if let Some(line) = self.building.line(&build, self.is_terminal) {
                    self.bar.finish_and_clear();
                    self.line(&format!("{kernel}: {line}"));
                }
                if let Some(message) = self.building.message(&build) {
                    self.spin(kernel, message);
                }
            }
        }
    }
}
